//! Names that the expansion must not take from where the struct stands.
#![no_implicit_prelude]
#![allow(non_camel_case_types, reason = "the names of primitive types are shadowed, too")]

mod core {}
mod std {}
mod defer_axum {}
struct Result;
struct Option;
struct Into;
struct Default;
struct Some;
struct Vec;
struct String;
struct Duration;
struct Policy;
struct Condition;
struct Job;
struct Deferred;
struct str;
struct u8;
struct u32;
fn defer() {}
fn try_defer() {}

#[derive(::defer_axum::Deferrable, ::serde::Serialize)]
#[defer(tries = 3, backoff = "1s..2s", timeout = "10s", on = "success", queue)]
struct SendWelcome {
    to: ::std::string::String,
    #[defer(default)]
    cc: ::core::option::Option<::std::string::String>,
}

impl ::defer_axum::Job for SendWelcome {
    async fn run(&self, _cx: &::defer_axum::JobContext) -> ::defer_axum::JobResult {
        ::core::result::Result::Ok(())
    }
}

#[derive(::defer_axum::Deferrable)]
struct Shadows(u8);

impl ::defer_axum::Job for Shadows {
    async fn run(&self, _cx: &::defer_axum::JobContext) -> ::defer_axum::JobResult {
        ::core::result::Result::Ok(())
    }
}

#[test]
fn the_expansion_takes_no_name_from_the_scope_of_the_struct() {
    let _ = || SendWelcome::defer("ada@example.com");
    let _ = || Shadows::defer(u8);
}

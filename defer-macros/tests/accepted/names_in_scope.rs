//! Fields that are named like a constant, a unit struct, a static or a function in scope.
#![allow(
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    reason = "some of these names are those of fields"
)]

use defer_axum::{Deferrable, Job, JobContext, JobResult};

const to: u8 = 1;
struct subject;
static copies: u8 = 1;
fn body() {}
const LIMIT: usize = 3;
const arg0: u8 = 1;
struct r#type;

#[derive(Deferrable)]
struct SendWelcome {
    to: String,
    subject: String,
    copies: u8,
    body: String,
    LIMIT: usize,
    r#type: u8,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
struct Tuple(u8, String);

impl Job for Tuple {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn fields_may_have_the_names_of_items_in_scope() {
    let _ = SendWelcome::try_defer("ada", "welcome", 1, "hello", 2, 3).is_err();
    let _ = Tuple::try_defer(1, "two").is_err();
}

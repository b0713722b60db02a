//! Parses `#[job(...)]`: the policy of the job, and the traits that its struct derives besides `Deferrable`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, Meta, Path, Token, parse::Parser, punctuated::Punctuated};

use crate::attr::Errors;

type Entries = Punctuated<Meta, Token![,]>;
type Traits = Punctuated<Path, Token![,]>;

/// The contents of `#[job(...)]`.
pub(crate) struct JobAttribute {
    /// The additional traits that the struct derives.
    pub(crate) derives: Vec<Path>,
    /// The contents of an equivalent `#[defer(...)]`.
    pub(crate) policy: TokenStream,
    pub(crate) is_queued: bool,
}

impl JobAttribute {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let Ok(entries) = Entries::parse_terminated.parse2(tokens.clone()) else {
            // This is an error of `#[defer(...)]`, too, which reports it.
            return Self { derives: Vec::new(), policy: tokens, is_queued: false };
        };
        if let Some(batch) = entries.iter().find(|entry| !is_of_one(entry)) {
            let text = "a function runs one job: derive `Deferrable` for a struct, and implement `BatchJob`";
            errors.push(Error::new_spanned(batch.path(), text));
        }
        let is_queued = entries.iter().any(|entry| entry.path().is_ident("queue"));
        let (lists, policy): (Vec<_>, Vec<_>) =
            entries.into_iter().filter(is_of_one).partition(|entry| entry.path().is_ident("derive"));
        let mut derives = Vec::new();
        for list in &lists {
            for derived in errors.ok(traits(list)).into_iter().flatten() {
                match refusal(&derived, is_queued) {
                    Some(text) => errors.push(Error::new_spanned(derived, text)),
                    None => derives.push(derived),
                }
            }
        }
        Self { derives, policy: quote!(#(#policy),*), is_queued }
    }
}

/// Returns whether the attribute is allowed on a job that runs by itself.
fn is_of_one(entry: &Meta) -> bool {
    !["batch", "within"].iter().any(|key| entry.path().is_ident(key))
}

fn traits(list: &Meta) -> syn::Result<Traits> {
    let expected = "expected traits in parentheses, as in `derive(Debug, PartialEq)`";
    let parsed = match list {
        Meta::List(list) => list.parse_args_with(Traits::parse_terminated).ok(),
        Meta::Path(_) | Meta::NameValue(_) => None,
    };
    parsed.ok_or_else(|| Error::new_spanned(list, expected))
}

/// Returns why the user cannot list this trait: the struct derives it already.
fn refusal(derived: &Path, is_queued: bool) -> Option<&'static str> {
    let path = derived.to_token_stream().to_string().replace(' ', "");
    match path.trim_start_matches("::") {
        "Deferrable" | "defer_axum::Deferrable" | "defer_core::Deferrable" => {
            Some("`#[job]` derives `Deferrable` by itself: leave it out")
        }
        "Serialize" | "serde::Serialize" | "Deserialize" | "serde::Deserialize" if is_queued => {
            Some("`queue` derives `Serialize` and `Deserialize` by itself: leave them out")
        }
        _ => None,
    }
}

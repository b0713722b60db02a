//! Lints that a careful crate denies.
#![deny(warnings, dead_code, missing_docs, missing_debug_implementations)]
#![deny(nonstandard_style, rust_2018_idioms, single_use_lifetimes)]
#![deny(unreachable_pub, unused, unused_qualifications)]
#![deny(clippy::all, clippy::pedantic)]
#![forbid(unsafe_code)]

use defer_axum::{Deferrable, Job, JobContext, JobResult};

mod private {
    #[derive(Clone, Debug)]
    pub(crate) struct Address(pub(crate) String);
}

/// Never deferred, and nothing of it is used.
#[derive(Debug, Deferrable)]
#[defer(tries = 3, backoff = "1s..2s", on = "success", blocking)]
#[allow(non_snake_case, reason = "the argument for this field must not be linted either")]
pub struct Unused {
    _userId: u32,
    address: private::Address,
    #[allow(dead_code, reason = "nobody reads it")]
    #[deprecated]
    old: u8,
    others: Vec<u8>,
}

impl Job for Unused {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        let _ = (&self.address.0, &self.others);
        Ok(())
    }
}

/// Deprecated.
#[deprecated]
#[derive(Debug, Deferrable)]
pub struct Old<T>(T);

#[allow(deprecated, reason = "a deprecated job is still a job")]
impl<T: Send + Sync + 'static> Job for Old<T> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        let _ = &self.0;
        Ok(())
    }
}

#[test]
fn the_derive_causes_no_warning() {
    let _ = private::Address(String::new());
}

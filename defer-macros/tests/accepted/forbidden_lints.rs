//! Lints that cannot be allowed: what the derive writes needs no `allow`.
#![forbid(dead_code, deprecated, unused, missing_docs, unreachable_pub)]
#![forbid(nonstandard_style, private_bounds, private_interfaces)]
#![forbid(clippy::all, clippy::pedantic)]

use defer_axum::{Deferrable, Job, JobContext, JobResult};

/// Only deferred.
#[derive(Debug, Deferrable)]
#[defer(tries = 3, backoff = "1s..2s", timeout = "1s", on = "success", blocking)]
pub struct SendWelcome {
    to: String,
    #[defer(default)]
    copies: u8,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        let _ = (&self.to, self.copies);
        Ok(())
    }
}

/// Private, and only tried to be deferred.
#[derive(Debug, Deferrable)]
struct Report<T>(T, u8);

impl<T: Send + Sync + 'static> Job for Report<T> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        let _ = (&self.0, self.1);
        Ok(())
    }
}

/// Takes numbers and flags as they are.
#[derive(Debug, Deferrable)]
struct Resize(u8, u16, bool, bool, bool);

impl Job for Resize {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        let _ = (self.0, self.1, self.2, self.3, self.4);
        Ok(())
    }
}

#[test]
fn the_derive_needs_no_allow() {
    let _ = Resize::try_defer(1, 2, true, false, true).is_err();
    let _ = SendWelcome::try_defer("ada@example.com").is_err();
    let _ = Report::<u16>::try_defer(1_u8, 2_u8).is_err();
}

//! Functions that are jobs, where lints are strict.
#![deny(warnings, dead_code, missing_docs, nonstandard_style, rust_2018_idioms, unused, unreachable_pub)]
#![deny(clippy::all, clippy::pedantic)]
#![allow(clippy::unused_async, reason = "a job is async even if it awaits nothing")]
#![forbid(unsafe_code)]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use defer_axum::{Deferrable, JobContext, JobError, JobResult, Runner};

type Sum = Arc<AtomicU32>;

/// Adds all of its arguments, at its second attempt.
///
/// # Errors
///
/// At its first.
#[defer_axum::job(tries = 2, backoff = "1ms", name = "add-all")]
pub async fn add_all(mut number: u32, text: String, others: Vec<u32>, cx: &JobContext) -> JobResult {
    if cx.attempt() == 1 {
        return Err(JobError::msg("not yet"));
    }
    number += text.parse::<u32>()?;
    number += others.iter().sum::<u32>();
    cx.state::<Sum>()?.fetch_add(number, Ordering::Relaxed);
    Ok(())
}

mod inner {
    use defer_axum::{JobContext, JobResult, job};

    /// Durable, though this crate does not name `serde`.
    #[job(queue)]
    pub(crate) async fn remember(
        what: String,
        #[defer(default)]
        #[serde(default)]
        times: Option<u8>,
        cx: &JobContext,
    ) -> JobResult {
        assert_eq!((what.as_str(), times), ("it", None));
        cx.state::<super::Sum>()?.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

/// Takes nothing.
#[cfg(test)]
#[deprecated]
#[defer_axum::job(crate = "defer_core")]
async fn nothing() -> JobResult {
    Ok(())
}

/// Not there.
#[defer_axum::job]
#[cfg(any())]
async fn other_system(what: Nowhere) -> JobResult {
    what.there_is_no_such_method()
}

#[tokio::test]
async fn a_function_takes_the_attributes_of_a_struct() {
    #[defer_axum::job]
    async fn r#in(r#type: &'static str) -> JobResult {
        assert_eq!(r#type, "function");
        Ok(())
    }

    let sum = Sum::default();
    let runner = Runner::builder().state(sum.clone()).build();
    defer_axum::scope(&runner, async {
        add_all::defer(1, "20", [300]);
        defer_axum::defer(inner::remember { what: "it".into(), times: None });
        inner::remember::try_defer("it").unwrap().on_success();
        r#in::defer("function");
        #[allow(deprecated, reason = "the test says that the attribute reaches the struct")]
        nothing::defer();
    })
    .await;
    runner.idle().await;
    assert_eq!((sum.load(Ordering::Relaxed), runner.stats().succeeded), (2321, 5));
    assert_eq!((add_all::NAME, add_all::POLICY.tries(), r#in::NAME), ("add-all", 2, "in"));
}

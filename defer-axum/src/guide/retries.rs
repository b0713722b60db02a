//! Retries: how often a failing job is tried, how long it waits in between, and what happens when it fails permanently.
//!
//! ```sh
//! cargo add defer-axum
//! cargo add tokio --features full
//! ```
//!
//! ```
//! use defer_axum::{Deferrable, Job, JobContext, JobError, JobResult, Runner, scope};
//!
//! #[derive(Deferrable)]
//! #[defer(tries = 3, backoff = "50ms..1s", timeout = "5s")]
//! struct CallPartner {
//!     order: u32,
//! }
//!
//! impl Job for CallPartner {
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         println!("order {}, attempt {}", self.order, cx.attempt());
//!         match (self.order, cx.attempt()) {
//!             (1, 3) => Ok(()),
//!             (1, _) => Err(JobError::msg("the partner does not answer")),
//!             _ => Err(JobError::msg("there is no such order").fatal()), // and never will be
//!         }
//!     }
//!
//!     async fn failed(&self, _cx: &JobContext, error: &JobError) {
//!         println!("order {} is given up: {error}", self.order);
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() {
//!     let runner = Runner::default();
//!     // `scope` stands in for a request.
//!     scope(&runner, async {
//!         CallPartner::defer(1);
//!         CallPartner::defer(2);
//!     })
//!     .await;
//!     runner.idle().await;
//!
//!     let stats = runner.stats();
//!     println!("{} succeeded, {} failed, {} tried again", stats.succeeded, stats.failed, stats.retried);
//! }
//! ```
//!
//! `cargo run` prints:
//!
//! ```text
//! order 1, attempt 1
//! order 2, attempt 1
//! order 2 is given up: there is no such order
//! order 1, attempt 2
//! order 1, attempt 3
//! 1 succeeded, 1 failed, 2 tried again
//! ```
//!
//! The second job does not wait for the first one's retry: a job that waits for a retry leaves its request's line.
//!
//! # Set the policy
//!
//! | `#[defer(..)]` | means | without it |
//! |---|---|---|
//! | `tries = 3` | three attempts in all | one attempt |
//! | `backoff = "500ms..30s"` | the wait before a retry doubles from the shortest to the longest, with jitter | `"500ms..30s"` |
//! | `backoff = "1s"` | the wait is always the same | |
//! | `timeout = "10s"` | an attempt that takes longer is dropped and counts as failed | no limit |
//!
//! Set a `timeout` on each job that calls another service. Otherwise a partner that never answers holds the job, and one of the
//! places of [running jobs](super::load), forever.
//!
//! # Return an error
//!
//! `?` works on every error: standard errors, boxed errors, `anyhow`, strings. [`JobError::msg`] creates one from a text. The error
//! decides what happens next:
//!
//! | error | then |
//! |---|---|
//! | any error | retried after the backoff, if there is an attempt left |
//! | [`.fatal()`](crate::JobError::fatal) | not retried: the job has failed |
//! | [`.retry_after(duration)`](crate::JobError::retry_after) | retried after this long, if there is an attempt left |
//! | [`JobError::snooze(duration)`](crate::JobError::snooze) | runs again after this long, without spending an attempt |
//!
//! For example, map the status of an HTTP response:
//!
//! ```
//! use std::time::Duration;
//!
//! use defer_axum::{JobError, JobResult};
//!
//! fn check(status: u16, retry_after: Option<u64>) -> JobResult {
//!     match (status, retry_after) {
//!         (200..300, _) => Ok(()),
//!         (429 | 503, Some(seconds)) => {
//!             Err(JobError::msg("the partner is busy").retry_after(Duration::from_secs(seconds)))
//!         }
//!         (400..500, _) => Err(JobError::msg(format!("the partner refused it: {status}")).fatal()),
//!         _ => Err(JobError::msg(format!("the partner answered {status}"))),
//!     }
//! }
//! assert!(check(404, None).is_err_and(|error| error.is_fatal()));
//! ```
//!
//! # Panics
//!
//! A panic is a failed attempt like any other, and affects no other job. [`is_panic`](crate::JobError::is_panic) tells it apart in
//! `failed` and in events.
//!
//! # When it fails permanently
//!
//! [`Job::failed`] is called once, after the last attempt or a fatal error, including a panic or a timeout. Use it to mark the work
//! as failed, as for order 2 above. An [event](super::seeing) reports the same for logs and alarms.
//!
//! # Make it safe to run twice
//!
//! A job that timed out may have done its work already, and the retry does it again. Make the work idempotent: write with `INSERT
//! .. ON CONFLICT DO NOTHING`, or send the other service an idempotency key. Use [`JobContext::id`] as the key: it stays the same
//! across attempts and differs between jobs.
//!
//! # Timeouts drop the future
//!
//! The future of `run` can be dropped at any `.await`. If a step must not be interrupted, run it in `tokio::spawn` and await the
//! task. A job that never awaits cannot be dropped: see [blocking jobs](super::load#jobs-that-block).
//!
//! [`JobError::msg`]: crate::JobError::msg
//! [`Job::failed`]: crate::Job::failed
//! [`JobContext::id`]: crate::JobContext::id

//! When a job fails: how often it is tried, how long it waits in between, and who hears that it is given up.
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
//!     // As a request does it, without one.
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
//! `cargo run` writes:
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
//! The second job did not wait for the first one's next attempt: that waits outside of the request's line.
//!
//! # Say how often
//!
//! | `#[defer(..)]` | means | without it |
//! |---|---|---|
//! | `tries = 3` | three attempts in all | one attempt |
//! | `backoff = "500ms..30s"` | the wait before another attempt: it doubles from the shortest to the longest, with jitter | `"500ms..30s"` |
//! | `backoff = "1s"` | always the same wait | |
//! | `timeout = "10s"` | an attempt that takes longer is dropped, and has failed | no limit |
//!
//! Give a `timeout` to each job that calls somebody else. Without one, a partner that never answers keeps the job, and its place
//! among those that may [run](super::load), for ever.
//!
//! # Return an error
//!
//! `?` works on every error: those of the standard library, boxed ones, `anyhow`'s, strings. [`JobError::msg`] makes one from a
//! text. What the error says besides decides what follows:
//!
//! | the error | what follows |
//! |---|---|
//! | as it is | another attempt after the backoff, while there are some |
//! | [`.fatal()`](crate::JobError::fatal) | none: the job is given up |
//! | [`.retry_after(duration)`](crate::JobError::retry_after) | another attempt, if there is one, after this long |
//! | [`JobError::snooze(duration)`](crate::JobError::snooze) | the same attempt again after this long; none is spent |
//!
//! An HTTP client's answer may become any of these:
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
//! A panic is a failed attempt like any other, and touches no other job. The error that `failed` and the events get
//! [`is_panic`](crate::JobError::is_panic).
//!
//! # When it is given up
//!
//! [`Job::failed`] is called once, after the last attempt or a fatal error, also after a panic or a timeout. Use it to mark what
//! the job was for, as `order 2` above. The same end is an [event](super::seeing) for logs and alarms.
//!
//! # Do it twice without harm
//!
//! A job that timed out may have done its work all the same, and another attempt does it again. So let the work bear it: write
//! with `INSERT .. ON CONFLICT DO NOTHING`, or send the other side a key by which it knows the second call. [`JobContext::id`] is
//! such a key: it is the same in each attempt and differs between jobs.
//!
//! # What is dropped at a timeout
//!
//! The future of `run` may be dropped at any `.await`. If a part must not be cut in two, give that part to `tokio::spawn`, and
//! await the task. A job that never awaits cannot be dropped: see [blocking jobs](super::load#jobs-that-block).
//!
//! [`JobError::msg`]: crate::JobError::msg
//! [`Job::failed`]: crate::Job::failed
//! [`JobContext::id`]: crate::JobContext::id

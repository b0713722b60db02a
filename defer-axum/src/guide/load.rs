//! Under load: how many jobs run and wait, and what happens beyond that.
//!
//! In this program ten requests arrive, 5 ms apart, and each defers a job that takes 200 ms. The runner has room for two running
//! and three waiting jobs:
//!
//! ```sh
//! cargo add defer-axum
//! cargo add tokio --features full
//! ```
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use defer_axum::{Overflow, Runner, defer_fn, scope};
//!
//! #[tokio::main]
//! async fn main() {
//!     for overflow in [Overflow::Wait, Overflow::Shed] {
//!         let runner = Runner::builder().max_running(2).max_pending(3).overflow(overflow).build();
//!         let began = Instant::now();
//!         for _ in 0..10 {
//!             tokio::time::sleep(Duration::from_millis(5)).await; // requests arrive one after another
//!             // `scope` stands in for a request.
//!             scope(&runner, async {
//!                 // Stands in for work.
//!                 defer_fn(|_cx| async { tokio::time::sleep(Duration::from_millis(200)).await });
//!             })
//!             .await;
//!         }
//!         println!("{overflow:?}: ten responses after {} ms", began.elapsed().as_millis());
//!         runner.idle().await;
//!
//!         let stats = runner.stats();
//!         println!("{overflow:?}: {} succeeded, {} shed", stats.succeeded, stats.shed);
//!     }
//! }
//! ```
//!
//! ```text
//! Wait: ten responses after 614 ms
//! Wait: 10 succeeded, 0 shed
//! Shed: ten responses after 65 ms
//! Shed: 5 succeeded, 5 shed
//! ```
//!
//! # The two bounds
//!
//! | | bounds | default |
//! |---|---|---|
//! | [`max_running`] | jobs that run concurrently | 1024 |
//! | [`max_pending`] | jobs whose response is over and that have not started, or that are in the backoff before a retry | 65,536 |
//!
//! The jobs of one request run one after another, so `max_running` also bounds how many requests have a running job.
//!
//! # When the runner is full
//!
//! | [`overflow`] | when full | use it for |
//! |---|---|---|
//! | [`Overflow::Wait`] (default) | holds each response until there is room for its jobs: clients wait, and nothing is lost | important work |
//! | [`Overflow::Shed`] | sends responses and drops the jobs that find no room, newest first, each with an event | work that you can afford to lose: analytics, cache warming |
//!
//! Holding responses is back-pressure: a client that waits sends no further request. Limit the number of open requests as well, for
//! example with tower's `ConcurrencyLimitLayer`, or they pile up where you do not see them.
//!
//! A [durable job](super#durable-jobs) neither holds its response nor is shed. Beyond `max_pending` it goes through its queue.
//!
//! No job holds capacity while it waits for more, so nothing deadlocks, even with `max_running(1)` and `max_pending(1)`.
//!
//! # Choosing the limits
//!
//! - `max_running`: the limit of the scarcest resource that jobs use. If each job holds one of 20 pooled connections, a 21st job
//!   only waits for one. If only one type uses the resource, limit [that type](super::production#limits) instead of the runner.
//! - `max_pending`: as many jobs as are still worth running when their turn comes. With `r` running jobs that take `t` seconds
//!   each, the last of `n` pending jobs waits about `n * t / r` seconds. Pending jobs stay in memory, with everything they own.
//! - `timeout`: set one on each job type that calls another service. A job that hangs takes up a place forever.
//!
//! Measure before you change the defaults: see [`Runner::load`] and [`Runner::stats`].
//!
//! # Look at it
//!
//! ```
//! use defer_axum::Runner;
//!
//! fn is_ready(runner: &Runner) -> bool {
//!     let load = runner.load();
//!     println!("{}/{} run, {}/{} wait", load.running, load.max_running, load.waiting, load.max_pending);
//!     load.held_responses == 0 && !load.shutdown_announced
//! }
//!
//! let runner = Runner::default();
//! assert!(is_ready(&runner));
//! assert_eq!(runner.stats().shed, 0);
//! ```
//!
//! `load()` describes this moment. `stats()` counts all jobs so far: how many were deferred, and how each of them ended. The best
//! alarm is [`Runner::oldest_pending`]: if it grows, jobs arrive faster than they finish. A readiness probe that fails while
//! responses are held sends traffic to other processes, if there are any.
//!
//! # Jobs that block
//!
//! A job that computes for a long time or calls blocking code occupies a thread of the runtime, and delays requests. Run it on
//! Tokio's blocking pool:
//!
//! ```
//! use defer_axum::{Deferrable, Job, JobContext, JobResult};
//!
//! #[derive(Deferrable)]
//! #[defer(blocking)]
//! struct Thumbnail {
//!     path: std::path::PathBuf,
//! }
//!
//! impl Job for Thumbnail {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         let image = std::fs::read(&self.path)?; // may block here
//!         println!("{} bytes to make smaller", image.len());
//!         Ok(())
//!     }
//! }
//! ```
//!
//! Nothing can stop a job while it blocks, neither its timeout nor a shutdown. After the timeout, other jobs go on. Those that must
//! not run beside it, because of their type's `max_running` or a serial key, wait until its thread returns. To find out which job
//! blocks a thread, use [`RunnerBuilder::stuck_after`].
//!
//! [`max_running`]: crate::RunnerBuilder::max_running
//! [`max_pending`]: crate::RunnerBuilder::max_pending
//! [`overflow`]: crate::RunnerBuilder::overflow
//! [`Overflow::Wait`]: crate::Overflow::Wait
//! [`Overflow::Shed`]: crate::Overflow::Shed
//! [`Runner::load`]: crate::Runner::load
//! [`Runner::stats`]: crate::Runner::stats
//! [`Runner::oldest_pending`]: crate::Runner::oldest_pending
//! [`RunnerBuilder::stuck_after`]: crate::RunnerBuilder::stuck_after

//! Under load: how many jobs run and wait, and what a server does that has more.
//!
//! Ten requests come, 5 ms apart, each with a job of 200 ms. The runner has room for two that run and three that wait:
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
//!             tokio::time::sleep(Duration::from_millis(5)).await; // they come one after another
//!             // As a request does it, without one.
//!             scope(&runner, async {
//!                 // In place of work.
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
//! | [`max_running`] | the jobs that run at the same time | 1024 |
//! | [`max_pending`] | the jobs whose response is over and that wait to start, or that are in the backoff before another attempt | 65,536 |
//!
//! One request's jobs run one after another, so `max_running` also bounds how many requests have a running job.
//!
//! # When it is full
//!
//! | [`overflow`] | a full runner | for |
//! |---|---|---|
//! | [`Overflow::Wait`], the default | holds each response back until there is room for its jobs: clients wait, nothing is lost | work that counts |
//! | [`Overflow::Shed`] | lets responses go and drops the jobs that find no room, the newest first, each with an event | work that may be missed: analytics, cache warming |
//!
//! Holding responses back is back-pressure: a client that waits does not send the next request meanwhile. Put a limit on open
//! requests in front, as tower's `ConcurrencyLimitLayer` does, or they pile up where you do not see them.
//!
//! A [durable job](super#durable-jobs) neither holds a response nor is shed: beyond `max_pending` it goes through its queue.
//!
//! Nobody keeps room while it waits for more, so nothing locks up at any bound, `max_running(1)` and `max_pending(1)` included.
//!
//! # Numbers to choose
//!
//! - `max_running`: as many as what your jobs use can take. If each holds a connection of a pool of 20, the 21st only waits for
//!   one. Where one type alone is scarce, limit the [type](super::production#limits), and leave the runner as it is.
//! - `max_pending`: as many as are still worth running when their turn comes. With `r` jobs running that take `t` seconds each,
//!   the last of `n` waits about `n * t / r` seconds. They are in memory meanwhile, with all they hold.
//! - `timeout`, for each type that calls somebody else. A job that hangs keeps its place for ever.
//!
//! Measure before you change the defaults: [`Runner::load`] and [`Runner::stats`] tell.
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
//! `load()` is about now, `stats()` about all jobs so far: how many were deferred and how each of them ended.
//! [`Runner::oldest_pending`] is the best alarm: if it grows, jobs come faster than they go. A readiness probe that fails while
//! responses are held sends requests to other processes, where there are any.
//!
//! # Jobs that block
//!
//! A job that computes for long, or calls what blocks, holds a thread of the runtime, and requests with it. Let it run on Tokio's
//! blocking pool:
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
//! Nothing can stop it while it blocks, neither its timeout nor a shutdown. Once it has timed out, others go on, but those that must not run
//! beside it, by its type's `max_running` or its serial key, wait until its thread returns. If you do not know which job it is that blocks,
//! [`RunnerBuilder::stuck_after`] finds it.
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

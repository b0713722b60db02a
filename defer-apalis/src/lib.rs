//! Jobs of [`defer-axum`](https://docs.rs/defer-axum) on a real queue: apalis 1.x on SQLite, Postgres or Redis.
//!
//! `#[defer(queue)]` on a job type moves its jobs to the runner's queue. The handler stays as it is. The response is held until
//! the queue has the jobs on disk, so a job behind an acknowledged request outlives a crash of the process.
//!
//! The [`guide`] begins with a program to kill, and goes on to workers, transactions, failures and what is not promised.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # mod program {
//! use axum::{Router, routing::post};
//! use defer_apalis::ApalisQueue;
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deferrable, Serialize, Deserialize)]
//! #[defer(queue, tries = 3)]
//! struct SendWelcome {
//!     to: String,
//! }
//!
//! impl Job for SendWelcome {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         println!("welcome, {}", self.to);
//!         Ok(())
//!     }
//! }
//!
//! async fn sign_up() -> &'static str {
//!     SendWelcome::defer("ada@example.com"); // on disk before the client has its answer
//!     "check your mail"
//! }
//!
//! # pub async fn run(url: &str, signal: impl Future<Output = ()> + Send + Clone + 'static) -> Result<(), Box<dyn std::error::Error>> {
//! let queue = ApalisQueue::connect(url).await?; // such as "sqlite:queue.db"
//! let runner = Runner::builder().queue(queue.clone()).build();
//! let worker = queue.worker(runner.clone()).job::<SendWelcome>();
//! let worker = tokio::spawn(worker.run_until(signal.clone())); // in this process or in another
//!
//! let app = Router::new().route("/sign-up", post(sign_up)).layer(DeferLayer::new(runner.clone()));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! defer_axum::serve(listener, app, runner).with_graceful_shutdown(signal).await?;
//! worker.await??;
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     program::run("sqlite::memory:", std::future::ready(())).await
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! # What is promised
//!
//! - A job runs at least once. It runs again if its worker dies in it, within 15 s, and that counts as an attempt: a job that
//!   kills its process is given up when it is out of tries, one with a single try after the second time. It may also run again after a push that took longer than the
//!   [push timeout](defer_core::RunnerBuilder::push_timeout) and had arrived all the same, then in this process. Its
//!   [`JobId`](defer_core::JobId) is the same each time, and the queue never stores an id twice.
//! - A failed attempt goes back to the queue with its backoff, in whole seconds, and survives a restart meanwhile. So does a
//!   job that [snoozes](defer_core::JobError::snooze), with as many attempts left as before.
//! - You can ask the queue what [became](ApalisQueue::status) of a job, from any process, until you let it
//!   [forget](ApalisQueue::forget_done) those that succeeded.
//! - While the queue's database is away, jobs run in the process that deferred them.
//! - The jobs of one request are not kept in order on a queue.
//!
//! # Which storage
//!
//! | feature | URL | when | on disk |
//! |---|---|---|---|
//! | `sqlite` (default) | `sqlite:queue.db` | one machine; nothing to install | at each commit: WAL, `synchronous = FULL` |
//! | `postgres` | `postgres://user@host/db` | several machines, or a service that has one | at each commit, as Postgres is set up; needs the extension `hstore` |
//! | `redis` | `redis://host` | several machines | with `appendfsync always`; with Redis' defaults up to a second is lost |
//!
//! For TLS to Postgres, turn on a TLS feature of sqlx in your own `Cargo.toml`.
//!
//! This crate uses apalis' tables, keys and queries, so that its board shows the jobs. apalis' own workers are not used:
//! theirs know nothing of a [`Runner`](defer_core::Runner), and its jobs must not be theirs.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "postgres")]
pub use apalis_postgres;
#[cfg(feature = "sqlite")]
pub use apalis_sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sqlx;

pub mod guide;

mod commit;
mod error;
mod heartbeat;
mod queue;
mod store;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod transaction;
mod worker;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::transaction::QueueTransaction;
pub use self::{error::Error, queue::ApalisQueue, worker::Worker};
pub use defer_core::{JobStatus, queue::FailedJob, queue::QueueCounts as Counts};

/// The README's example, compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

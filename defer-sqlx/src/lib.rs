//! Durable jobs for [`defer-axum`](https://docs.rs/defer-axum), in SQLite or Postgres.
//!
//! The [guide] has these chapters:
//!
//! - [First durable job](guide::first_job): a program that survives `kill -9`
//! - [Where a job runs](guide::running): in its own process or through the queue, after a crash, without the database
//! - [Workers](guide::workers): run jobs in this process or in another, and deploy new versions
//! - [Pushing](guide::pushing): store a job from a command, in your own transaction, in another language
//! - [Keys, delays, priorities](guide::keys): which job runs next, and which does not run
//! - [Operating](guide::operating): inspect the queue, retry failed jobs, read the tables
//! - [Recipes](guide::recipes): programs for common tasks
//! - [Not guaranteed](guide#not-guaranteed): the limits
//!
//! A durable job is a deferred job that survives a crash. Put `queue` on its type. The handler does not change:
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
//! use defer_sqlx::SqlxQueue;
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
//! async fn stop_signal() {
//!     if tokio::signal::ctrl_c().await.is_err() {
//!         std::future::pending::<()>().await;
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let queue = SqlxQueue::connect("sqlite:jobs.db").await?;
//!     let runner = Runner::builder().queue(queue.clone()).build();
//!     let worker = queue.worker(runner.clone()).job::<SendWelcome>();
//!
//!     let app = Router::new().route("/sign-up", post(sign_up)).layer(DeferLayer::new(runner));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app)
//!         .with_worker(worker)
//!         .with_graceful_shutdown(stop_signal())
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! 1. The job is on disk before the client has its answer. Concurrent requests share one commit.
//! 2. After the response, the job runs in this process like any deferred job: in its request's order, with access to the request
//!    and the response.
//! 3. If the process dies before the job has ended, another process runs it, or the same one after a restart.
//!
//! # Guarantees
//!
//! - A job runs at least once. It runs once as long as no process dies, and none is stopped or cut off from the database for nine
//!   seconds.
//! - It does not start before its response is over.
//! - The jobs of a request run in the order in which they were deferred, as long as they run [in this
//!   process](guide::running#two-ways-to-run).
//! - After a crash, other processes take over the jobs within 15 s. A death does not count as an attempt.
//! - While the database is unreachable, jobs run in the process that deferred them, [or the request is
//!   refused](guide::running#when-the-database-is-unreachable), as you choose.
//! - A worker only takes the types that you gave it. A job that it cannot read waits for a process that can.
//!
//! # Databases
//!
//! | feature | URL | use it for | on disk |
//! |---|---|---|---|
//! | `sqlite` (default) | `sqlite:jobs.db` | one machine; nothing to install | at each commit: WAL, `synchronous = FULL` |
//! | `postgres` | `postgres://user@host/db` | several machines, or a service that already uses Postgres | at each commit, unless the server's `fsync` is off |
//!
//! The tables are created at the first start. They need no extension and no schema of their own. For TLS to Postgres, turn on a TLS
//! feature of [`sqlx`] in your own `Cargo.toml`.
//!
//! The other features let [`push_in`](SqlxQueue::push_in) use the transactions of other database clients. [`QueueTransaction`]
//! lists them.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, unused, reason = "without a database there is no use of it")
)]

pub mod guide;

pub use sqlx;

mod engine;
mod error;
mod push;
mod queue;
#[cfg(test)]
mod simulation;
mod store;
mod worker;

pub use self::{
    error::Error,
    push::{Insert, Push, QueueTransaction, Value},
    queue::{SqlxQueue, SqlxQueueBuilder, StoredJob},
    worker::Worker,
};
pub use defer_core::{
    JobStatus,
    queue::{Cancel, FailedJob, QueueCounts},
};

/// The README's example, compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

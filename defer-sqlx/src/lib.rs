//! Durable jobs for [`defer-axum`](https://docs.rs/defer-axum), in SQLite or Postgres.
//!
//! A durable job is a deferred job that a crash does not lose. Say `queue` on its type. The handler stays as it is:
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
//! 1. Before the client has its answer, the job is on disk. Concurrent requests share one commit.
//! 2. After the response the job runs in this process, as any deferred job does: in its request's order, with its request and the
//!    response.
//! 3. If the process dies before the job has ended, another process runs it, or the same one once it has started again.
//!
//! The [`guide`] begins with a program to kill. It goes on to workers, your own transactions, outages, and what is not promised.
//!
//! # What is promised
//!
//! - A job runs at least once. It runs once as long as no process dies, and none is stopped or cut off from the database for nine
//!   seconds.
//! - It does not start before its response is over.
//! - The jobs of a request run in the order in which they were deferred, as long as they run [here](guide#two-ways-to-run).
//! - After a crash its jobs are taken over within 15 s, and a death is not an attempt.
//! - While the database is away, jobs run in the process that deferred them. [Or the request is refused, if you prefer
//!   that](guide#when-the-database-is-away).
//! - A worker takes only the types that you gave it. What it cannot read waits for a process that can.
//!
//! # Which database
//!
//! | feature | URL | take it for | on disk |
//! |---|---|---|---|
//! | `sqlite` (default) | `sqlite:jobs.db` | one machine; nothing to install | at each commit: WAL, `synchronous = FULL` |
//! | `postgres` | `postgres://user@host/db` | several machines, or a service that has one | at each commit, unless the server's `fsync` is off |
//!
//! The tables are made at the first start. They need no extension and no schema of their own. For TLS to Postgres, turn on a TLS
//! feature of [`sqlx`] in your own `Cargo.toml`.
//!
//! The other features are for [`push_in`](SqlxQueue::push_in) the transactions of other database clients. [`QueueTransaction`] lists
//! them.

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

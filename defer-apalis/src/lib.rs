//! Durable jobs for [`defer-axum`](https://docs.rs/defer-axum), in any storage of apalis 1.x.
//!
//! Use this crate if you run apalis already, or want your jobs in Redis. A `#[defer(queue)]` job is pushed to a storage of apalis
//! before the client has its answer, and runs in an apalis worker, in this process or another. If you have SQLite or Postgres,
//! [`defer-sqlx`](https://docs.rs/defer-sqlx) promises more: see [below](#compared-with-defer-sqlx).
//!
//! # Example
//!
//! With `apalis-core = "1"` and `apalis-redis = "1"`:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use apalis_core::{backend::ext::BackendExt as _, error::WorkerError, worker::builder::WorkerBuilder};
//! use apalis_redis::{Config, RedisStorage};
//! use axum::{Router, routing::post};
//! use defer_apalis::{ApalisQueue, ApalisWorker, Message};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobId, JobResult, Runner};
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
//!     SendWelcome::defer("ada@example.com"); // in Redis before the client has its answer
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
//!     let redis = apalis_redis::connect("redis://127.0.0.1/").await?;
//!     let storage = RedisStorage::<Message>::new(redis).with_config(Config::default().queue("mail"));
//!     let queue = ApalisQueue::new(storage.clone());
//!     let runner = Runner::builder().queue(queue.clone()).build();
//!
//!     let handler = queue.handler(runner.clone()).job::<SendWelcome>();
//!     let worker = ApalisWorker::new(runner.clone(), move |stop| {
//!         // Each worker needs a name of its own.
//!         WorkerBuilder::new(format!("mail-{}", JobId::unique()))
//!             .backend(storage.clone().poll_with_interval(Duration::from_millis(500)))
//!             .build(handler.clone())
//!             .run_until(async move { Ok::<_, WorkerError>(stop.await) })
//!     });
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

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod handler;
mod message;
mod queue;
mod worker;

pub use self::{
    error::Error, handler::JobHandler, message::Message, queue::ApalisQueue, worker::ApalisWorker,
};

/// The README's example, compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

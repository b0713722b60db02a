//! Your first durable job: a mail that survives `kill -9`.
//!
//! Add `queue` to a job's attributes, connect a queue, and run a worker beside the server:
//!
//! ```sh
//! cargo new durable-jobs && cd durable-jobs
//! cargo add axum defer-axum defer-sqlx
//! cargo add serde --features derive
//! cargo add tokio --features full
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//!
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
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         let response = cx.response().ok_or("no response")?;
//!         println!("mail to {}, after a response that was {}", self.to, response.delivery());
//!         tokio::time::sleep(Duration::from_secs(5)).await; // time to kill the process
//!         println!("sent to {}", self.to);
//!         Ok(())
//!     }
//! }
//!
//! async fn sign_up(email: String) -> &'static str {
//!     SendWelcome::defer(email); // on disk before the client has its answer
//!     "check your mail\n"
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
//!         .with_graceful_shutdown(stop_signal())
//!         .with_worker(worker)
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! Start it with `cargo run`. In another terminal, sign up, and kill the program while it sends the mail:
//!
//! ```sh
//! curl -d ada@example.com http://127.0.0.1:3000/sign-up
//! sleep 1
//! pkill -KILL -x durable-jobs
//! ```
//!
//! Start it again. The two processes print:
//!
//! ```text
//! mail to ada@example.com, after a response that was sent
//! mail to ada@example.com, after a response that was unknown
//! sent to ada@example.com
//! ```
//!
//! The first process ran the job like any other: after the response, knowing how the response ended. It died before it could store
//! that the job was done. The second process saw no heartbeat from the first for about twelve seconds, and ran the job again.
//! It knows the status that was answered, but not whether the client received it: the delivery is
//! [`Unknown`](defer_core::Delivery::Unknown).
//!
//! The example only stops at Ctrl-C. To handle SIGTERM, see [the chapter on
//! shutdown](https://docs.rs/defer-axum/latest/defer_axum/guide/shutdown/).
//!
//! Give the jobs a SQLite file of their own, as above. SQLite has one writer at a time: in a shared file, a long write transaction
//! of yours delays every durable response.

//! When a job must outlive its process: a guide to the queue. The [guide of `defer-axum`] has the rest.
//!
//! Jobs of a `#[defer(queue)]` type go to the runner's queue, and the response is held until the queue has them on disk. So
//! whoever got an answer gets the mail, whatever becomes of the process.
//!
//! ```sh
//! cargo new queued-jobs && cd queued-jobs
//! cargo add axum defer-axum defer-apalis
//! cargo add serde --features derive
//! cargo add tokio --features full
//! ```
//!
#![cfg_attr(feature = "sqlite", doc = "```no_run")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! use std::time::Duration;
//!
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
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         println!("attempt {} for {}", cx.attempt(), self.to);
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
//!     let queue = ApalisQueue::connect("sqlite:queue.db").await?;
//!     let runner = Runner::builder().queue(queue.clone()).build();
//!     let worker = queue.worker(runner.clone()).job::<SendWelcome>();
//!     let worker = tokio::spawn(worker.run_until(stop_signal()));
//!
//!     let app = Router::new().route("/sign-up", post(sign_up)).layer(DeferLayer::new(runner.clone()));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app, runner).with_graceful_shutdown(stop_signal()).await?;
//!     worker.await??;
//!     Ok(())
//! }
//! ```
//!
//! Start it with `cargo run`. In another terminal sign up, and kill the program in the middle of its mail:
//!
//! ```sh
//! curl -d ada@example.com http://127.0.0.1:3000/sign-up
//! sleep 1
//! pkill -KILL -x queued-jobs
//! ```
//!
//! Start it again. The two processes write:
//!
//! ```text
//! attempt 1 for ada@example.com
//! attempt 2 for ada@example.com
//! sent to ada@example.com
//! ```
//!
//! The second process found the worker of the first one silent, took the job over, and counted the lost run as an attempt. That
//! takes up to 15 s.
//!
//! The example stops at Ctrl-C only. For SIGTERM see [the chapter on
//! shutdowns](https://docs.rs/defer-axum/latest/defer_axum/guide/shutdown/).
//!
//! # Which storage
//!
//! The [crate's page](crate#which-storage) has the table. On one machine take SQLite: there is nothing to install. Take Postgres
//! where your service has one, and Redis where several machines share one and a lost second is no loss, or with `appendfsync
//! always`.
//!
//! ```sh
//! cargo add defer-apalis --no-default-features --features postgres
//! ```
//!
//! The URL chooses: `postgres://user@host/db`, `redis://host`.
//!
//! # Where the worker runs
//!
//! The worker above shares the server's process and its runner. In a program of its own it needs the same job types and state,
//! and no server. Any number of workers share a queue.
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use std::time::Duration;
//!
//! use defer_apalis::ApalisQueue;
//! use defer_axum::Runner;
//!
//! async fn work(url: &str, stop: impl Future<Output = ()>) -> Result<(), defer_apalis::Error> {
//!     let queue = ApalisQueue::connect(url).await?;
//!     let runner = Runner::builder().build(); // with the state that the jobs ask for
//!     let worker = queue.worker(runner).job::<SendWelcome>().concurrency(8).drain_timeout(Duration::from_secs(20));
//!     worker.run_until(stop).await // then waits for the jobs that it has
//! }
//! ```
//!
//! Name every type with `.job::<..>()`: a job whose name no worker knows fails, and says so. A process that only defers needs no
//! worker, and one that only works needs no server.
//!
//! # In your transaction
//!
//! A job that belongs to a row is stored with that row or not at all, on SQLite and Postgres:
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_apalis::{ApalisQueue, sqlx::{self, SqlitePool}};
//!
//! async fn sign_up(pool: &SqlitePool, queue: &ApalisQueue, email: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tx = pool.begin().await?;
//!     sqlx::query("INSERT INTO users (email) VALUES (?1)").bind(email).execute(&mut *tx).await?;
//!     queue.push_in(&mut tx, SendWelcome { to: email.to_owned() }).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! The queue is [`ApalisQueue::sqlite(pool)`](crate::ApalisQueue::sqlite), on the same pool. What the worker then runs is a job
//! without a request: neither its route nor its tenant is stored.
//!
//! # When it fails
//!
//! Attempts, backoff, timeouts and `failed` are those of the [job's
//! type](https://docs.rs/defer-axum/latest/defer_axum/guide/retries/). Between two attempts the job is in the queue, and survives
//! a restart. A job that is given up stays there, with its error, until you let it run again:
//!
//! ```
//! # use defer_apalis::ApalisQueue;
//! async fn retry_all(queue: &ApalisQueue) -> Result<(), defer_apalis::Error> {
//!     for job in queue.failed(100).await? {
//!         println!("{} {} after {} attempts: {}", job.name, job.id, job.attempts, job.error);
//!         queue.retry(job.id).await?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The [dashboard](https://docs.rs/defer-axum/latest/defer_axum/dashboard/) shows them too, with a button if you enable it. Jobs
//! that succeeded are kept until you call [`forget_done`](crate::ApalisQueue::forget_done), so call it once an hour.
//!
//! # At least once
//!
//! | happens | so |
//! |---|---|
//! | a worker dies in a job, or right after it | it runs again, and may have done its work before |
//! | a push takes longer than the [push timeout] and arrives all the same | it runs here and from the queue |
//! | the database is away when a job is deferred | it runs in this process, and `QueueFailed` is the event |
//!
//! So write jobs that may run twice: use `cx.id()` as the key by which the other side knows the second call. It stays the same.
//!
//! # What is not promised
//!
//! - Order: the jobs of one request may run in any order, on several workers at the same time.
//! - After the response: a worker may begin before the response was sent.
//! - Exactly once: see above.
//! - `cx.response()`: it is `None` in a worker, and `cx.request()` too. Put what the job needs into its fields, or
//!   [carry](https://docs.rs/defer-axum/latest/defer_axum/guide/production/#the-tenant-the-user) it.
//! - Old jobs fit new code: a field that you add needs `#[serde(default)]`, a type that you rename `#[defer(alias = "OldName")]`.
//!
//! [guide of `defer-axum`]: https://docs.rs/defer-axum/latest/defer_axum/guide/
//! [push timeout]: https://docs.rs/defer-axum/latest/defer_axum/struct.RunnerBuilder.html#method.push_timeout

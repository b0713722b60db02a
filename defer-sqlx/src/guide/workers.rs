//! Workers: they take the jobs that are ready, and run them on their runner.
//!
//! Give a worker every type that your handlers defer, and the runner of your
//! [`DeferLayer`](https://docs.rs/defer-axum/latest/defer_axum/middleware/struct.DeferLayer.html). Most jobs then run in the
//! process that deferred them, and the worker takes the rest, including those that other processes leave.
//!
//! A worker in a program of its own needs the same job types and state, but no server:
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use std::time::Duration;
//!
//! use defer_axum::Runner;
//! use defer_sqlx::SqlxQueue;
//!
//! async fn work(url: &str, stop: impl Future<Output = ()> + Send) -> Result<(), defer_sqlx::Error> {
//!     let queue = SqlxQueue::connect(url).await?;
//!     let runner = Runner::builder().queue(queue.clone()).build(); // with the state that the jobs ask for
//!     let worker = queue.worker(runner).job::<SendWelcome>().concurrency(16).drain_timeout(Duration::from_secs(20));
//!     worker.run_until(stop).await
//! }
//! ```
//!
//! Any number of workers can share a queue. A process that only defers needs no worker: its jobs then go through the queue. A
//! process learns of due jobs immediately if it made them ready itself, and otherwise within a second.
//!
//! At its signal, a worker stops taking jobs. It waits for the jobs that it has, up to its drain timeout, and returns when it has
//! stored how they ended. [`with_worker`](https://docs.rs/defer-axum/latest/defer_axum/serve/struct.Serve.html#method.with_worker)
//! passes on the server's signal.
//!
//! In a test, `worker.run_until_empty().await?` runs the stored jobs and returns when none is left.
//!
//! # Rolling deploys
//!
//! Old and new processes can share a queue for any length of time:
//!
//! | change | you | old processes |
//! |---|---|---|
//! | add a job type | do nothing | leave it alone: a worker only takes the types that it was given |
//! | add a field | put `#[serde(default)]` on it, so stored jobs can still be read | put jobs aside that they cannot read |
//! | rename a type | add `#[defer(alias = "OldName")]` | leave the new name alone |
//! | remove a type | keep it until none of its jobs is left | run the remaining jobs |
//! | update this crate | do nothing: migrations only add tables and columns | work on the newer tables |
//!
//! If a process cannot read a job, it logs a warning and puts the job aside. This does not count as an attempt. The job is tried
//! again after 30 s, then less often, at least every ten minutes, and fails after a day. If no process takes a type, its jobs wait,
//! and the log names the type after a minute.

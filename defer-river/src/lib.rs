//! Durable jobs for [`defer-axum`](https://docs.rs/defer-axum), worked by [River](https://riverqueue.com) on SQLite or Postgres.
//!
//! A durable job is a deferred job that survives a crash. Give the runner a [`RiverQueue`], and the jobs of `#[defer(queue)]`
//! types go to River: its clients run them, in this process or in another, and its UI shows them. The handler does not change:
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
//! use defer_river::RiverQueue;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deferrable, Serialize, Deserialize)]
//! #[defer(queue, tries = 3, timeout = "30s")]
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
//!     let queue = RiverQueue::connect("sqlite:jobs.db").await?; // or postgres://..
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
//! 1. When the handler has answered, the durable jobs of the request are inserted into `river_job` in one statement, as River's
//!    `pending`, which no client of River's takes. Concurrent requests share one commit. The response waits for it.
//! 2. When the response is over, they become `available`. Their metadata says how it ended, and has the route, the request id,
//!    the trace context and the captured extensions. So a worker anywhere has the same `cx.response()` and `cx.request()`.
//! 3. A client of River's takes each job and runs it on a [`Runner`](defer_core::Runner), with its state, policy, limits, spans,
//!    events and counts. How the attempt ended is written into River's row.
//!
//! # Which queue to take
//!
//! | | no queue | `defer-sqlx` | `defer-river` |
//! |---|---|---|---|
//! | take it if | a job may be lost with its process | you want durable jobs and nothing else | you run River already, need workers in another language, or want its UI and periodic jobs |
//! | a job runs | in its process, after its response | in its process, after its response; another's after a crash | in whichever process takes it, after its response |
//! | jobs of a request run | one after another, in their order | the same | start in their order, and do not wait for each other |
//! | `serial`, `at_most_every`, `replace` | yes | yes | in memory only: see below |
//! | durable jobs a second, [measured](https://github.com/defer-axum/defer-axum/blob/main/benches/queue/RESULTS.md), Postgres, 32 connections | | 4,528 | 917 |
//! | workers in other languages | no | they can store jobs | they can store and run jobs |
//!
//! If you take this one because you may need River one day, take `defer-sqlx`: [changing later](#move-from-defer-sqlx) is one
//! line.
//!
//! # What is guaranteed
//!
//! | | here | by |
//! |---|---|---|
//! | after the response | A job does not start before its response is over, unless it was [pushed](RiverQueue::push). | this crate |
//! | outcome | Every worker knows the status and the delivery. After a crash, it knows the status as the layer saw it, and the delivery is `Unknown`. | this crate |
//! | at least once | A job runs until one attempt has succeeded, has failed for good, or was cancelled. It runs once if no process dies or is cut off meanwhile. | River |
//! | a process dies while a response is open | Its jobs are available within 15 s of its death, or of the start of the next process. | this crate |
//! | a process dies while it runs a job | The job runs again when River has found that: [see below](#after-a-crash). | River |
//! | attempts | `tries`, `backoff`, `timeout` and `fatal` of the job's type, in the process that runs it. A fatal error ends the job as River's `discarded`. A snooze is River's, and no attempt. | the runner and River |
//! | a job that defers | Its durable jobs are stored in one transaction with its end if it succeeds or fails for good. If it is tried again, they are stored shortly before that. | this crate |
//! | `delay` | The job does not start early, by the database's clock. A delay of more than five seconds may be five seconds late. | River |
//! | `unique` | Among jobs with a key, one waits or runs. The others end as duplicates of it. | River's index |
//! | `priority` | 1 and more is River's 1, 0 is 2, -1 is 3, and less is 4. | River |
//! | [`pause`](RiverQueue::pause) | By type. | this crate |
//! | one bad job | It stops no other. What River cannot store runs in memory, and `QueueFailed` says so. | this crate |
//!
//! Not guaranteed, and different from `defer-sqlx`:
//!
//! - River has no serial keys, no `at_most_every`, and no `replace`. A job that has one when it is stored is not stored: it runs in
//!   the process that deferred it, which keeps the promise among its own jobs. An event `QueueFailed` tells you. With
//!   `OnQueueFailure::Refuse`, the request is refused. A key that is set later is ignored, with a warning.
//! - `unique`: a `defer-sqlx` job gives its key up when it is taken. Here it keeps it until it has ended, as any job of River's: a
//!   change that comes while the job runs is left out.
//! - A job of a request does not wait for the one before it. With [`concurrency(1)`](Worker::concurrency) in one worker process,
//!   and without retries, it does.
//! - A job waits for the next time that River fetches, which is at most every 100 ms. So one worker process starts at most ten times
//!   its [`concurrency`](Worker::concurrency) a second. `worker.river(|river| river.fetch_cooldown(..))` sets another time.
//! - An attempt has a second to answer when it is stopped, at its [limit](#after-a-crash), by a worker that does not wait any
//!   longer, or because it was cancelled. One that blocks its thread for longer cannot be stopped: the job may run again elsewhere
//!   meanwhile, and the end of the first attempt is then left out.
//! - A job that waits for its place on the runner until its limit is given back, as no attempt, and taken again. If there is
//!   always more than the runner can run, give its worker a [`concurrency`](Worker::concurrency) that the runner can run.
//! - The dashboard shows counts and jobs, and its actions on a job or a type work. It shows no processes and no groups of
//!   failures.
//! - Progress is known in the process that runs the job, and not stored.
//! - A worker that is cancelled by [`cancel`](RiverQueue::cancel) in another process hears of it by River's notification. One that
//!   is connecting at that moment does not: cancel again.
//!
//! # After a crash
//!
//! **Held jobs**, whose response was open. Each process raises a number in the table `defer_river_holders` every 2.9 seconds, on
//! a thread and a connection of its own, and looks at the others'. One whose number has stood still through four beats of the
//! process that looks, over nine seconds of that process's clock, is dead, and its jobs are made available. No clock of two
//! machines is compared, and an outage of the database kills nobody. A job with `on = "success"` is then judged by the status that
//! the layer saw. A job with a `when(..)` condition fails, because nobody can ask it anymore. A process that was stopped for so long
//! and goes on has lost the jobs that it held, although their responses may still be open.
//!
//! **Running jobs** are found by River's rescuer, which the leader among River's clients runs. It has no beats to look at: it takes
//! an attempt for dead five seconds after its limit: its type's `timeout` and [a minute](Worker::margin), or [an
//! hour](Worker::job_timeout) for a type without a timeout. So **give each durable type a timeout**: it is how long a job waits
//! after a crash. If the leader itself has died, add the time until there is a new one, about 20 s. A death is no attempt: the job
//! runs again as the same `cx.attempt()`. Ten deaths are allowed, which is why `max_attempts` is ten more than `tries`.
//!
//! # Share a database
//!
//! - Services that share a database need queues with different [names](RiverQueueBuilder::name): a worker takes jobs of its queue
//!   only. Counts, failed jobs, the dashboard and pauses are of all queues in the database.
//! - On Postgres, a write waits for at most a second for a lock that another transaction has, such as the unique key of a job that
//!   you store in an open one. It is put aside then, and tried again, and others are not held up. On SQLite, an open transaction
//!   that writes holds up all.
//! - A leader of River's **discards** stuck jobs whose type it does not know. If the workers on one database take different types,
//!   or there are other programs' River clients, call
//!   [`without_leader_election`](Worker::without_leader_election) on all that do not know every type, and let one lead that does.
//! - A worker takes only the types that you gave it. Jobs of other types wait.
//! - A job that a worker cannot read waits for another version of the program: it is snoozed for 30 s to 10 min, is no attempt, and
//!   fails after a day.
//! - River deletes completed and cancelled jobs after 24 hours and discarded ones after 7 days. Other times are set with
//!   [`Worker::river`] and `ClientBuilder::maintenance`, which also has the rescuer's times: set `with_rescue_after` too.
//!
//! # Other languages
//!
//! River's own tables are used as River's other clients use them, so River UI shows the jobs, and any client can insert and run
//! them. `queue` is the name that you [gave](RiverQueueBuilder::name), `default` by default.
//!
//! | column | has |
//! |---|---|
//! | `kind` | the name of the job type: the struct's, or `#[defer(name = "..")]`. 1 to 127 bytes |
//! | `args` | the job as serde writes it as JSON. `{"defer_json": ".."}` instead if there is a NUL (`\u0000`) in it, which Postgres' `jsonb` refuses: the text is the JSON |
//! | `metadata` | `{"defer": {..}}` |
//! | `defer.id` | the job's id, unique by the index `defer_river_job_id` |
//! | `defer.request` | an object of texts: `route`, `request_id`, `traceparent`, `tracestate`, and each captured extension as JSON; or, with a NUL in it, a text of that JSON |
//! | `defer.response` | `status`, `delivery`, `bytes_sent`, `elapsed_ms`; there once the response is over |
//! | `defer.status` | the status as the layer saw it |
//! | `defer.holder`, `defer.condition` | while the job is held: by which process, and `success` or `when` |
//! | `defer.change` | a mark of the last change that this crate made |
//! | `defer.ended`, `defer.of` | `skipped`, or `duplicate` and of which job |
//!
//! To store a job from another language, insert it with a client of River's: `kind` and `args` are enough. It has no id of this
//! crate then, so [`status`](RiverQueue::status) and the dashboard do not know it. To run one, register a worker for its `kind`.
//!
//! Two tables are this crate's, `defer_river_holders` and `defer_river_paused`, and one index on `river_job`. They are created at
//! the first start, after River's, or by [you](RiverQueueBuilder::migrate). On a large `river_job` of Postgres, create the index
//! beforehand and concurrently: `RiverQueue::postgres_migrations()` has its statement, and the first start adds what is missing.
//!
//! # Move from defer-sqlx
//!
//! Change the line where the queue is made. Everything else that a service usually calls has the same name and shape.
//!
//! ```diff
//! -let queue = SqlxQueue::connect(url).await?;
//! +let queue = RiverQueue::connect(url).await?;
//! ```
//!
//! Jobs that `defer-sqlx` has stored stay in its tables: before the old version is gone, run its worker with `run_until_empty()` in
//! a command.
//!
//! # Databases
//!
//! | feature | URL |
//! |---|---|
//! | `sqlite` (default) | `sqlite:jobs.db`, a file |
//! | `postgres` | `postgres://user@host/db` |
//!
//! On SQLite, the queue sets WAL and `synchronous = FULL`, and River writes every few seconds even when it is idle. For TLS to
//! Postgres, turn on a TLS feature of [`sqlx`] in your own `Cargo.toml`.
//!
//! # Licence
//!
//! This crate is MIT or Apache-2.0, at your option. It depends on [`riverqueue`] and `riverqueue-migrate`, which are under the
//! Mozilla Public License 2.0: you may use them in a program under any licence, and have to publish the changes that you make to
//! their own files. They need Rust 1.95.

#![cfg_attr(docsrs, feature(doc_cfg))]
mod engine;
mod error;
mod queue;
mod store;
mod worker;

pub use riverqueue;
pub use sqlx;

pub use self::{
    error::Error,
    queue::{Push, QueueTransaction, RiverQueue, RiverQueueBuilder},
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

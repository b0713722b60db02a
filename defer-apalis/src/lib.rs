//! Durable jobs for [`defer-axum`](https://docs.rs/defer-axum), in any storage of apalis 1.x.
//!
//! Use this crate if you run apalis already, or want your jobs in Redis. A `#[defer(queue)]` job is pushed to a storage of apalis
//! before the client has its answer, and runs in an apalis worker, in this process or another. If you have SQLite or Postgres,
//! [`defer-sqlx`](https://docs.rs/defer-sqlx) promises more: see [below](#compared-with-defer-sqlx).
//!
//! # Example
//!
//! With `apalis-core = "1"`, `apalis-redis = "1"`, and `redis = "1"` with the features `connection-manager` and `tokio-comp`:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use apalis_core::{backend::ext::BackendExt as _, error::WorkerError, worker::builder::WorkerBuilder};
//! use apalis_redis::{Client, Config, RedisStorage};
//! use axum::{Router, routing::post};
//! use defer_apalis::{ApalisQueue, ApalisWorker, Message};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobId, JobResult, Runner};
//! use redis::aio::ConnectionManagerConfig;
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
//!     // By default, an answer that takes longer than 500 ms fails the worker.
//!     let patient = ConnectionManagerConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
//!     let redis = Client::open("redis://127.0.0.1/")?.get_connection_manager_with_config(patient).await?;
//!     let storage = RedisStorage::<Message>::new(redis).with_config(Config::default().queue("mail"));
//!     let queue = ApalisQueue::new(storage.clone());
//!     let runner = Runner::builder().queue(queue.clone()).build();
//!
//!     let handler = queue.handler(runner.clone()).job::<SendWelcome>();
//!     let worker = ApalisWorker::new(handler, move |handler, stop| {
//!         // Each worker needs a name of its own.
//!         WorkerBuilder::new(format!("mail-{}", JobId::unique()))
//!             .backend(storage.clone().poll_with_interval(Duration::from_millis(500)))
//!             .build(handler)
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
//!
//! # Who promises what
//!
//! apalis cannot hold a job until its response is over, so it has it at once: before the client has its answer, and gone from the
//! process that deferred it. From then on, what apalis and the storage promise is what holds.
//!
//! | promise | by |
//! |---|---|
//! | A job is in the storage before its response goes out. If the storage fails or does not answer within the [push timeout](defer_core::RunnerBuilder::push_timeout), the job runs in the process that deferred it, with a warning. If the storage has stored it nevertheless, it runs twice | this crate |
//! | A push survives a crash | the storage: for Redis, see its `appendonly` and `appendfsync` |
//! | Attempts, backoff, timeouts, snoozes and fatal errors follow the job's policy in the process that runs it, with the runner's state, limits, spans, events and counts | this crate |
//! | A job knows its route, request id, trace and captured extensions, and the status of its response. Nobody knows whether the client got it: [`Delivery::Unknown`](defer_core::Delivery::Unknown) | this crate |
//! | No panic reaches apalis, which would end the worker and leave its tasks running (1.0.0), and no `RetryAfterError`, of which each storage makes something else | this crate |
//! | A job that a shutdown stops is pushed again, and this is no attempt | this crate |
//! | The tasks of a worker that dies go to another one | the storage: on Redis when the worker has been silent for [`orphaned_duration`](https://docs.rs/apalis-redis/1/apalis_redis/struct.Config.html), five minutes by default (1.0.0: ten heartbeats of 30 s). A death is no attempt |
//! | A job runs at least once. Use [`cx.id()`](defer_core::JobContext::id) as an idempotency key: it is the same each time | both |
//!
//! Each attempt and each snooze is a task of its own, which is pushed before the one before it is acknowledged. So apalis sees
//! tasks that are done, and for each job that has failed permanently one that is killed. Any other error means that the next
//! attempt could not be pushed: then the storage does what it does with a task that failed. Redis runs it again.
//!
//! A job that no worker of yours can read, because it is of a later version of the program, is no attempt either: it waits 30 s,
//! then longer, and fails after about a day.
//!
//! # What apalis does not keep
//!
//! - **Running jobs whose worker fails.** When the storage fails or does not answer in time, apalis ends the worker and drops what
//!   it was running. Those jobs are stopped, and run again when the storage takes the worker for dead.
//! - **An exact end.** Nothing tells when apalis has taken an acknowledgement, or whether it fetches. If the storage takes more than
//!   about a second to answer while a worker stops, jobs that it ran or handed back can run again. A job that comes due at the last
//!   moment can wait until the storage takes the worker for dead.
//! - **Order.** A worker takes all due tasks, up to 1,000 at a time, and its runner runs them side by side, up to
//!   [`max_running`](defer_core::RunnerBuilder::max_running). One that has 1,000 fetches a batch every 10 s, and hands it back.
//!   Serial keys and `max_running` of a type hold in each process by itself. Priorities have no effect.
//! - **Unique keys, `replace` and `at_most_every`.** A push with such a job is an error, and all durable jobs of its request run in
//!   the process that deferred them, with a warning.
//! - **Looking into the queue.** [`Runner::status`](defer_core::Runner::status) and the dashboard do not see what is in the storage,
//!   and [`Runner::cancel`](defer_core::Runner::cancel) fails for a job that was pushed. Use apalis' own tools.
//! - **`on_queue_failure(Refuse)`** has no effect: it needs a queue that holds jobs.
//!
//! # Setting up a worker
//!
//! - Give the storage a queue of its own. In JSON, a task that is not a [`Message`] is killed; in other formats it ends the worker.
//! - Add no retries, timeout or `catch_panic` of apalis: the job's policy has them.
//! - Run it on a Tokio runtime, in an [`ApalisWorker`]: beside a server, or by its
//!   [`run`](defer_core::queue::RunWorker::run) with a signal of yours, after which you [shut down](defer_core::Runner::shutdown)
//!   the runner. Otherwise nothing limits how long apalis waits for jobs, and on Redis it can wait forever: see there.
//!
//! On Redis (apalis-redis 1.0.0):
//!
//! - Give the connection a long response timeout, as in the example. By default, redis waits 500 ms (1.8.1): one later answer fails
//!   the worker, and a later answer to a push is an error although the job is stored.
//! - Use `poll_with_interval`, with an interval that is longer than Redis takes to answer. Otherwise an idle worker only looks for
//!   tasks each second.
//! - Have a worker running. Once more than about 8,000 tasks are due that no worker has taken, each worker ends with "too many
//!   results to unpack" (seen with 9,000; 7,000 are fine), for as long as they are there. Workers that stop hand back what they
//!   have: do not stop eight full ones in the same second.
//! - A limit on the worker, such as apalis' `concurrency`, needs `Config::batch_size(1)`. Otherwise the worker sends no heartbeat
//!   while fetched tasks wait for the limit, and after `orphaned_duration` others run what it is running.
//! - Tasks that have ended stay, until you call `vacuum_before` of apalis' `Vacuum`. Keep them for longer than `orphaned_duration`,
//!   or set `Config::idempotency_ttl` to longer than that: Redis knows a second push of the same attempt only by the first task, or
//!   by its key. `vacuum` deletes the tasks at once, and without a time to live, apalis-redis deletes the key at once.
//! - Delays count whole seconds; this crate waits for the rest.
//!
//! # Compared with `defer-sqlx`
//!
//! | | in memory | `defer-sqlx` | `defer-apalis` |
//! |---|---|---|---|
//! | starts after the response | yes | yes | as soon as a worker takes it |
//! | in the order deferred | yes | in its own process | no |
//! | knows how the response ended | all of it | all of it | the status |
//! | survives SIGKILL | no | runs within 15 s | the storage's: Redis, after five minutes by default |
//! | several machines | no | Postgres | the storage's: Redis |
//! | periodic jobs, other languages | no | any client can insert | apalis' |
//! | keys (`unique`, `serial`) across processes | no | yes | no |
//! | dashboard | yes | yes | only what runs; apalis has its own |
//!
//! # Conformance
//!
//! The queue passes [`check_queue`](https://docs.rs/defer-core/latest/defer_core/testing/fn.check_queue.html), on apalis' storage in
//! memory and on Redis. It has no [`hold`](defer_core::queue::Queue::hold) and no [`inspect`](defer_core::queue::Queue::inspect), so
//! the suite leaves out the promises of these. Other storages of apalis are not tested here: they need `Clone`, and should store a
//! task once for its id or its idempotency key, as the suite checks.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod drain;
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

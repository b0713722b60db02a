//! Where a durable job runs: in the process that deferred it, or through the queue, which other processes share.
//!
//! # Two ways to run
//!
//! The durable jobs of a request are written when its handler has answered, and the response waits for that. When the response is
//! over, each job goes one of two ways:
//!
//! | | here | through the queue |
//! |---|---|---|
//! | if | none of the reasons on the right applies | the job is delayed, has a [serial or unique key](super::keys), or its type is paused; this process has no worker for the type on the same runner; the runner is full or shutting down |
//! | runs | in the process that deferred it, in its request's line and order | as soon as it is due and a worker in any process has room for it |
//! | sees | its request, the response, extensions and state, like any job | the method, the matched path, how the response ended, captured extensions; no headers and no query |
//! | writes | two: stored, done | four: stored, ready, taken, done |
//!
//! All jobs of a request share one decision about whether the runner is full. A durable job never holds its response for lack of
//! room and is never shed: beyond [`max_pending`](defer_core::RunnerBuilder::max_pending) it goes through the queue.
//!
//! A failed attempt is retried through the queue, after its backoff, so the retry survives a restart. Attempts, backoff and timeout
//! are those of the [job's type](https://docs.rs/defer-axum/latest/defer_axum/guide/retries/) in the process that runs it.
//!
//! Wherever a job is deferred, it is on disk before it starts:
//!
//! - A streaming body holds the frame during which it deferred a job.
//! - A job in memory that defers a durable one stores it immediately.
//! - A durable job stores the jobs that it defers together with its own end, in one commit. If it dies before that, they were never
//!   deferred, and its next run defers them.
//!
//! # When the database is unreachable
//!
//! If a write fails, or takes longer than [`push_timeout`](defer_core::RunnerBuilder::push_timeout) (5 s), its jobs run in this
//! process, after their response. The event [`QueueFailed`](defer_core::event::JobEventKind::QueueFailed) and a warning report it.
//! Such jobs are not durable. They count as pending, and are never shed. After a write that timed out, responses wait at most 100
//! ms until one has succeeded.
//!
//! If an answer without a durable job is worse than no answer, refuse the request instead:
//!
//! ```
//! # async fn example() -> Result<(), defer_sqlx::Error> {
//! use defer_axum::{Runner, queue::OnQueueFailure};
//! use defer_sqlx::SqlxQueue;
//!
//! # let url = "sqlite:jobs.db";
//! let queue = SqlxQueue::connect(url).await?;
//! let runner = Runner::builder().queue(queue).on_queue_failure(OnQueueFailure::Refuse).build();
//! # drop(runner);
//! # Ok(())
//! # }
//! ```
//!
//! The client gets 503 Service Unavailable, and none of the request's durable jobs runs. Its other jobs do. This covers jobs that
//! were deferred before the handler answered.
//!
//! Everything else waits and tries again: when the database answers, the ends of jobs are stored, and workers take jobs again.
//! Each transaction has a deadline, and a connection in doubt is closed. You never need to restart the service, however the
//! database went away. A write that arrives late or twice changes nothing.
//!
//! # After a crash
//!
//! Every process that holds or runs jobs has a row in `defer_holders`, and increments a counter there every three seconds. It uses
//! a thread and a connection of its own, so a busy service keeps counting. The other processes of the queue watch these counters.
//! If one does not change through four looks and for at least nine seconds, its process is considered dead. Clocks of different
//! machines are never compared. While the database is unreachable, nobody can look, and nobody is considered dead.
//!
//! The jobs of a dead process are ready for others within 15 s of its death. If no other process is running, they are ready within
//! 15 s of the next start.
//!
//! | event | effect |
//! |---|---|
//! | a process dies while it has a job | the job is ready immediately. A death does not count as an attempt |
//! | another one dies with the same job | the job waits up to 10 s, then 20 s, doubling up to 21 minutes. This separates a job that kills its process from the jobs around it |
//! | that happens ten times | the job fails, with this reason |
//! | a process dies before the response is over | the job runs. `cx.response()` has the status that the handler answered, and `Delivery::Unknown` |
//! | the job has `on = "success"` | that status decides |
//! | the job has a `when(..)` that was not evaluated yet | the job fails, because its closure is gone |
//! | a process is stopped, or cut off from the database, for nine seconds | it loses its jobs, and others run them. It stops those that it still runs once it learns of this. Its late writes change nothing, and log a warning |
//!
//! A job starts here only if the database confirmed within the last nine seconds that this process is alive. Otherwise the job
//! waits for the next confirmation.

//! Keys, delays, priorities and pauses: which job runs next, and which does not run.
//!
//! | you want to | for a deferred job | for a pushed job |
//! |---|---|---|
//! | drop a job while the same one waits | `SyncCart::defer(42).unique("sync:42")` | `queue.push(job).unique("sync:42")` |
//! | run jobs one at a time, in order | `Book::defer(7).serial("account:7")` | `queue.push(job).serial("account:7")` |
//! | run a job later | `Remind::defer(7).delay(duration)` | `queue.push(job).delay(duration)` |
//! | run urgent jobs first | `#[defer(queue, priority = 10)]` on the type | the same, or `queue.push(job).priority(10)` |
//! | pause a type | [`queue.pause("SendWelcome")`](crate::SqlxQueue::pause) and [`resume`](crate::SqlxQueue::resume) | the same |
//!
//! - **Unique.** A job claims its key when it becomes ready, after its response, and releases it when a worker takes the job. A
//!   change that arrives while the job runs is therefore not missed. A job whose key is already claimed ends as a duplicate: see
//!   [`Deferred::is_duplicate`](defer_core::Deferred::is_duplicate), and from any process, [`status`](crate::SqlxQueue::status).
//!   Two transactions that are open at the same time do not wait for each other, so both jobs run.
//! - **Serial.** Jobs run in the order in which they became ready, across all processes. An index in the database ensures that no
//!   two run at the same time. A job keeps its turn while it waits for a retry. A delayed or paused job lets others pass.
//! - **Delay.** It counts from the end of the response, or from the push, by the database's clock.
//! - **Priority.** From -32768 to 32767, 0 by default. It orders the jobs that workers take. A job that runs in its own process
//!   keeps its place in its request's line.
//! - **Pause.** It applies to every process and survives restarts. Other processes learn of it within three seconds. Running jobs
//!   go on.

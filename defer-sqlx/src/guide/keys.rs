//! Keys, delays, priorities and pauses: control which job runs next, and which does not run.
//!
//! | you want to | for a deferred job | for a pushed job |
//! |---|---|---|
//! | drop a job while the same one waits | `SyncCart::defer(42).unique("sync:42")` | `queue.push(job).unique("sync:42")` |
//! | run only the latest of many jobs | `Index::defer(42).unique("index:42").replace()` | `queue.push(job).unique("index:42").replace()` |
//! | run a job now, and then not for a while | `Scan::defer(42).at_most_every("scan:42", duration)` | `queue.push(job).at_most_every("scan:42", duration)` |
//! | run jobs one at a time, in order | `Book::defer(7).serial("account:7")` | `queue.push(job).serial("account:7")` |
//! | run a job later | `Remind::defer(7).delay(duration)` | `queue.push(job).delay(duration)` |
//! | run urgent jobs first | `#[defer(queue, priority = 10)]` on the type | the same, or `queue.push(job).priority(10)` |
//! | pause a type | [`queue.pause("SendWelcome")`](crate::SqlxQueue::pause) and [`resume`](crate::SqlxQueue::resume) | the same |
//!
//! - **Unique.** A job claims its key when it becomes ready, after its response, and releases it when a worker takes the job. A
//!   change that arrives while the job runs is therefore not missed. A job whose key is already claimed ends as a duplicate: see
//!   [`Deferred::is_duplicate`](defer_core::Deferred::is_duplicate), and from any process, [`status`](crate::SqlxQueue::status).
//!   Two transactions that are open at the same time do not wait for each other, so both jobs run.
//! - **Replace.** A job with `replace` takes the place of the job that has claimed its key. This happens when the new job becomes
//!   ready, unless a worker has taken the old one. The old job ends as a duplicate of the new one, which is due when the old one
//!   was. With `replace_within` it is due after its own delay, but at most that long after the first. The
//!   [`status`](crate::SqlxQueue::status) of each replaced job leads to the last one. Replacing changes another job, so deferred
//!   and pushed jobs can do it, and `push_in` and `insert` cannot.
//! - **At most every.** If another job with the same key was taken less than that long ago when a worker takes a job, the job
//!   ends as a duplicate of the other. Its retries are not checked again.
//! - **Serial.** Jobs run in the order in which they became ready, across all processes. An index in the database ensures that no
//!   two run at the same time. A job keeps its turn while it waits for a retry. Other jobs pass a delayed or paused job.
//! - **Delay.** Counts from the end of the response, or from the push, by the database's clock.
//! - **Priority.** From -32768 to 32767, 0 by default. Workers take ready jobs with a higher priority first. A job that runs in
//!   its own process keeps its place in its request's line.
//! - **Pause.** Applies to every process and survives restarts. Other processes learn of it within three seconds. Running jobs
//!   continue.

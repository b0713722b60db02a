//! Operating a queue: inspect it, retry failed jobs, and read its tables.
//!
//! ```
//! # use defer_sqlx::SqlxQueue;
//! async fn retry_all(queue: &SqlxQueue) -> Result<(), defer_sqlx::Error> {
//!     let counts = queue.counts().await?;
//!     println!("{} wait, {} run, the oldest is due for {:?}", counts.pending, counts.running, counts.oldest_due);
//!     for job in queue.failed(100).await? {
//!         println!("{} {} after {} attempts: {}", job.name, job.id, job.attempts, job.error);
//!         queue.retry(job.id).await?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! [`retry`](crate::SqlxQueue::retry) gives a failed job all its attempts again, and [`discard`](crate::SqlxQueue::discard) deletes
//! it. [`status`](crate::SqlxQueue::status) returns the status of any job. [`cancel`](crate::SqlxQueue::cancel) cancels a job
//! that
//! has not ended; a process that is running it learns of that within three seconds.
//!
//! `status` also returns a job's progress, as set with `cx.set_progress(..)`, to every process. Progress is written at most once a
//! second, together with other writes, while the database answers. `Runner::status`, `watch` and `cancel` ask the queue about jobs
//! that they do not know, so a client can ask any process.
//!
//! The [dashboard](https://docs.rs/defer-axum/latest/defer_axum/dashboard/) shows the counts and the failed jobs, with a button to
//! retry one if you enable it. Each count stops at 10,000, so the cost does not grow with the number of jobs.
//!
//! Finished jobs are kept for ten minutes, and failed ones for thirty days. The [builder](crate::SqlxQueueBuilder) changes both,
//! and the queue's name. If several services share a database, give their queues different names.
//!
//! # The tables
//!
//! `defer_jobs` has one row per job. You may read all of it, and insert rows with these columns:
//!
//! | column | type | |
//! |---|---|---|
//! | `id` | text | a ULID: 26 upper-case letters and digits. Required |
//! | `name` | text | the name of the job type. Required |
//! | `payload` | text | the job as JSON. Required |
//! | `queue` | text | the queue's name; `default` if omitted |
//! | `due` | integer | when it may run, in milliseconds since 1970; now if omitted |
//! | `priority` | integer | 0 if omitted |
//! | `serial_key` | text | the serial key; none if omitted |
//! | `throttle_key`, `throttle_every` | text, integer | the job is dropped if another with this key started less than that many milliseconds before; none if omitted |
//! | `metadata` | text | a JSON object of strings, such as `{"route": "POST /sign-up"}`; `{}` if omitted |
//!
//! All other columns belong to the queue. The most useful one to read is `state`:
//!
//! | `state` | the job |
//! |--:|---|
//! | 0 | is held by the process that deferred it |
//! | 1 | is ready, once it is `due` |
//! | 2 | was taken by a worker |
//! | 3 | succeeded |
//! | 4 | failed; `error` says why |
//! | 5 | was skipped: its condition was false |
//! | 6 | was cancelled |
//! | 7 | is a duplicate of `duplicate_of` |
//!
//! `progress` is the progress of an attempt: the `claim` under which it runs, a space, and JSON. If the claim differs from the
//! row's, the progress is from an earlier attempt.
//!
//! `defer_holders` lists the processes, `defer_pauses` the paused types, `defer_starts` when the last job of each `throttle_key`
//! started, and `defer_migrations` the migrations applied to these tables. A role that may not create tables works if they exist: with [`migrate(false)`](crate::SqlxQueueBuilder::migrate), none
//! is created.

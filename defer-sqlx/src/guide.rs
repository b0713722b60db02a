//! A guide to durable jobs: from the first one to production. The [guide of `defer-axum`] has the rest.
//!
//! | chapter | answers |
//! |---|---|
//! | [Your first durable job](#your-first-durable-job) | What does it look like, and what if I kill it? |
//! | [Two ways to run](#two-ways-to-run) | Where and when does a durable job run? |
//! | [Workers](#workers) | In this process or in another? What about a rolling deploy? |
//! | [Jobs without a request](#jobs-without-a-request) | How do I store a job from a command, in my own transaction, or in another language? |
//! | [Keys, delays, priorities, pauses](#keys-delays-priorities-pauses) | Which job runs next, and which does not run? |
//! | [When the database is away](#when-the-database-is-away) | What do my clients notice? |
//! | [Who runs it after a crash](#who-runs-it-after-a-crash) | And when? How often? |
//! | [Look after it](#look-after-it) | What waits, what failed, and how do I run it again? |
//! | [The tables](#the-tables) | What may I read and write myself? |
//! | [What is not promised](#what-is-not-promised) | |
//!
//! # Your first durable job
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
//! Start it with `cargo run`. In another terminal sign up, and kill the program in the middle of its mail:
//!
//! ```sh
//! curl -d ada@example.com http://127.0.0.1:3000/sign-up
//! sleep 1
//! pkill -KILL -x durable-jobs
//! ```
//!
//! Start it again. The two processes write:
//!
//! ```text
//! mail to ada@example.com, after a response that was sent
//! mail to ada@example.com, after a response that was unknown
//! sent to ada@example.com
//! ```
//!
//! The first process ran the job as it runs any other: after the response, knowing how that ended. It died before it could say that
//! the job was done. The second process saw no sign of life from the first for about twelve seconds, and ran the job again. It knows
//! the status that was answered, but not whether the client got it: the delivery is
//! [`Unknown`](defer_core::Delivery::Unknown).
//!
//! The example stops at Ctrl-C only. For SIGTERM see [the chapter on
//! shutdowns](https://docs.rs/defer-axum/latest/defer_axum/guide/shutdown/).
//!
//! Give the jobs a SQLite file of their own, as above. SQLite has one writer at a time: in a file that you share with them, a long write
//! transaction of yours holds up every durable response.
//!
//! # Two ways to run
//!
//! The durable jobs of a request are written when its handler has answered, and the response waits for that. When the response is
//! over, each job goes one of two ways:
//!
//! | | here | through the queue |
//! |---|---|---|
//! | which | all others | the job is delayed, has a [serial or unique key](#keys-delays-priorities-pauses), or its type is paused; this process has no worker for the type on the same runner; the runner is full, or shuts down |
//! | runs | in the process that deferred it, in its request's line and order | as soon as it is due and a worker, in any process, has a place for it |
//! | sees | its request, the response, extensions and state, as any job | the method, the matched path, how the response ended, captured extensions; no headers and no query |
//! | writes | two: stored, done | four: stored, ready, taken, done |
//!
//! Whether the runner is full is decided once for all jobs of a request. A durable job never holds up a response for want of room, and is
//! never shed: beyond [`max_pending`](defer_core::RunnerBuilder::max_pending) it goes through the queue.
//!
//! If an attempt fails, the next one goes through the queue, after its backoff. It survives a restart meanwhile. Attempts, backoff and
//! timeout are those of the [job's type](https://docs.rs/defer-axum/latest/defer_axum/guide/retries/), as the process that runs it
//! has them.
//!
//! Wherever a job is deferred, it is on disk before it starts:
//!
//! - A body that streams holds the frame during which it deferred a job.
//! - A job in memory that defers a durable one stores it at once.
//! - A durable job stores what it defers together with its own end, in one commit. If it dies before that, it never deferred them, and
//!   its next run does.
//!
//! # Workers
//!
//! A worker takes jobs that are ready, and runs them on its runner. Give it every type that your handlers defer, and the runner of your
//! [`DeferLayer`](https://docs.rs/defer-axum/latest/defer_axum/middleware/struct.DeferLayer.html): then most jobs run in the process that deferred
//! them. The worker also takes what other processes leave.
//!
//! A worker in a program of its own needs the same job types and state, and no server:
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
//! Any number of workers can share a queue. A process that only defers needs no worker: its jobs then go through the queue. Due jobs are
//! known at once in the process that made them ready, and elsewhere within a second.
//!
//! At its signal a worker takes no more jobs. It waits for those that it has, for at most its drain timeout, and returns when their ends
//! are written. [`with_worker`](https://docs.rs/defer-axum/latest/defer_axum/serve/struct.Serve.html#method.with_worker) does that at the
//! server's signal.
//!
//! In a test, `worker.run_until_empty().await?` runs what is stored and returns when nothing is left.
//!
//! ## Rolling deploys
//!
//! Old and new processes may share a queue for as long as you like:
//!
//! | you | do | and the old processes |
//! |---|---|---|
//! | add a job type | nothing | leave it alone: a worker takes only the types that it was given |
//! | add a field | `#[serde(default)]` on it, so that stored jobs can still be read | put a job aside that they cannot read |
//! | rename a type | `#[defer(alias = "OldName")]` | leave the new name alone |
//! | remove a type | keep it until no job of it waits | run what is left |
//! | update this crate | nothing: migrations only add tables and columns | work on the newer tables |
//!
//! A job that a process cannot read is put aside with a warning. That is no attempt. It is tried again after 30 s, then less often, up to
//! every ten minutes, and fails after a day. A type that nobody takes waits, and after a minute the log names it.
//!
//! # Jobs without a request
//!
//! A command, a timer or a consumer pushes:
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use std::time::Duration;
//!
//! use defer_sqlx::SqlxQueue;
//!
//! async fn remind(queue: &SqlxQueue) -> Result<(), defer_sqlx::Error> {
//!     queue.push(SendWelcome { to: "ada@example.com".into() }).await?;
//!     queue.push(SendWelcome { to: "grace@example.com".into() }).delay(Duration::from_secs(3600)).await?;
//!     Ok(())
//! }
//! ```
//!
//! The job is ready as soon as it is stored, and has neither a request nor a response.
//!
//! ## In your own transaction
//!
//! A job that belongs to a row is stored with that row, or not at all:
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_sqlx::{SqlxQueue, sqlx::{self, SqlitePool}};
//!
//! async fn sign_up(pool: &SqlitePool, queue: &SqlxQueue, email: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
//!     sqlx::query("INSERT INTO users (email) VALUES (?1)").bind(email).execute(&mut *tx).await?;
//!     queue.push_in(&mut tx, SendWelcome { to: email.to_owned() }).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! The queue has to be in the same database. [`SqlxQueue::sqlite(&pool)`](crate::SqlxQueue::sqlite) and
//! [`SqlxQueue::postgres(&pool)`](crate::SqlxQueue::postgres) connect to the one that the pool is for. They take the pool's options and
//! none of its connections, so that neither gets in the other's way.
//!
//! Each feature below adds a client. [`QueueTransaction`](crate::QueueTransaction) has the types and versions.
//!
//! SeaORM, with `sea-orm` or `sea-orm-2`:
//!
#![cfg_attr(feature = "sea-orm", doc = "```")]
#![cfg_attr(not(feature = "sea-orm"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_sqlx::SqlxQueue;
//! use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
//!
//! async fn sign_up(db: &DatabaseConnection, queue: &SqlxQueue) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tx = db.begin().await?;
//!     tx.execute_unprepared("INSERT INTO users (email) VALUES ('ada@example.com')").await?;
//!     queue.push_in(&mut tx, SendWelcome { to: "ada@example.com".into() }).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! Diesel, by diesel-async, with `diesel-async-postgres` or `diesel-async-sqlite`. On SQLite run `PRAGMA busy_timeout = 5000` on its
//! connections, which otherwise fail as soon as another connection writes:
//!
#![cfg_attr(feature = "diesel-async-postgres", doc = "```")]
#![cfg_attr(not(feature = "diesel-async-postgres"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_sqlx::SqlxQueue;
//! use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
//!
//! type Error = Box<dyn std::error::Error + Send + Sync>;
//!
//! async fn sign_up(connection: &mut AsyncPgConnection, queue: &SqlxQueue) -> Result<(), Error> {
//!     connection
//!         .transaction::<_, Error, _>(async |connection| {
//!             diesel::sql_query("INSERT INTO users (email) VALUES ('ada@example.com')").execute(connection).await?;
//!             queue.push_in(connection, SendWelcome { to: "ada@example.com".into() }).await?;
//!             Ok(())
//!         })
//!         .await
//! }
//! ```
//!
//! tokio-postgres, with `tokio-postgres`:
//!
#![cfg_attr(feature = "tokio-postgres", doc = "```")]
#![cfg_attr(not(feature = "tokio-postgres"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_sqlx::SqlxQueue;
//!
//! async fn sign_up(client: &mut tokio_postgres::Client, queue: &SqlxQueue) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tx = client.transaction().await?;
//!     tx.execute("INSERT INTO users (email) VALUES ($1)", &[&"ada@example.com"]).await?;
//!     queue.push_in(&mut tx, SendWelcome { to: "ada@example.com".into() }).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! sqlx 0.8, with `sqlx-0_8-sqlite` or `sqlx-0_8-postgres`, looks as sqlx 0.9 does. For any other client,
//! [`insert`](crate::SqlxQueue::insert) returns the statement and its values.
//!
//! ## In another language
//!
//! The table is documented, and anyone may insert into it. A job needs an id, a name and a payload:
//!
//! ```python
//! import json, secrets, sqlite3, time
//!
//! LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
//!
//! def new_id():  # a ULID: 48 bits of time, and 80 random ones
//!     number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
//!     return "".join(LETTERS[number >> shift & 31] for shift in range(125, -1, -5))
//!
//! with sqlite3.connect("jobs.db") as connection:  # commits at its end
//!     connection.execute(
//!         "INSERT INTO defer_jobs (id, name, payload) VALUES (?, ?, ?)",
//!         (new_id(), "SendWelcome", json.dumps({"to": "ada@example.com"})),
//!     )
//! ```
//!
//! The name is that of the job type, and the payload is the type's JSON, as `serde` writes it. [The tables](#the-tables) lists the columns
//! that you may set besides.
//!
//! # Keys, delays, priorities, pauses
//!
//! | you want | on a deferred job | pushed |
//! |---|---|---|
//! | to leave a job out while the same waits | `SyncCart::defer(42).unique("sync:42")` | `queue.push(job).unique("sync:42")` |
//! | to run the latest of many, once | `Index::defer(42).unique("index:42").replace()` | `queue.push(job).unique("index:42").replace()` |
//! | to run a job at most so often | `Scan::defer(42).at_most_every("scan:42", duration)` | `queue.push(job).at_most_every("scan:42", duration)` |
//! | to run jobs one at a time, in order | `Book::defer(7).serial("account:7")` | `queue.push(job).serial("account:7")` |
//! | to run a job later | `Remind::defer(7).delay(duration)` | `queue.push(job).delay(duration)` |
//! | urgent jobs first | `#[defer(queue, priority = 10)]` on the type | the same, or `queue.push(job).priority(10)` |
//! | to hold a type back | [`queue.pause("SendWelcome")`](crate::SqlxQueue::pause) and [`resume`](crate::SqlxQueue::resume) | the same |
//!
//! - **Unique.** A job claims its key when it becomes ready, after its response, and gives it up when a worker takes it. So a change that
//!   comes while the job runs is not missed. A job that finds its key claimed ends as a duplicate:
//!   [`Deferred::is_duplicate`](defer_core::Deferred::is_duplicate) says so, and [`status`](crate::SqlxQueue::status) does in every process. Two
//!   transactions that are open at the same time do not wait for each other. Both jobs then run.
//! - **Replace.** When a job becomes ready that replaces, the one that has claimed its key ends as a duplicate of it, if it was not taken, and
//!   the new one has its place: it is due when that was, or with `replace_within` after its own delay, but no later than so long after
//!   the first. `status` of each leads to the last. It changes another job, so it is for deferred and pushed jobs, not for
//!   `push_in` and `insert`.
//! - **At most every.** When a job is taken, and another with its key was taken less than so long before, it ends as a duplicate of that one.
//!   Its further attempts are not asked again.
//! - **Serial.** The order is that in which the jobs became ready, in all processes. An index of the database sees to it that no two run
//!   at a time. A job keeps its turn while it waits for its next attempt. A delayed or paused one lets others pass.
//! - **Delay.** It counts from the end of the response, or from the push, by the database's clock.
//! - **Priority.** From -32768 to 32767, 0 by default. It orders what workers take. A job that runs in its own process has its place in
//!   its request's line.
//! - **Pause.** It holds in every process, and survives restarts. Other processes hear of it within three seconds. Jobs that run go on.
//!
//! # When the database is away
//!
//! A write that fails, or takes longer than [`push_timeout`](defer_core::RunnerBuilder::push_timeout) (5 s), leaves its jobs to run in
//! this process, after their response. The event [`QueueFailed`](defer_core::event::JobEventKind::QueueFailed) and a warning say so. Such
//! jobs are not durable. They count among the pending ones, and are never shed. After a write that timed out, responses wait 100 ms at most until
//! one has succeeded.
//!
//! Where an answer without a durable job is worse than none, refuse the request instead:
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
//! The client gets 503 Service Unavailable, and none of the request's durable jobs runs. Its other jobs do. This covers what was deferred
//! before the handler answered.
//!
//! Everything else waits and tries again: ends of jobs are written once the database answers, and workers take jobs again. Each
//! transaction has a deadline, and a connection in doubt is closed. You need not restart the service, however the database went away.
//! A write that arrives late or twice changes nothing.
//!
//! # Who runs it after a crash
//!
//! Every process that holds or runs jobs has a row in `defer_holders`, and raises a counter there every three seconds. It does so on a
//! thread and a connection of its own, so that a busy service still counts. The other processes of the queue look at these counters. If one
//! stands still through four looks, and for at least nine seconds, its process is taken for dead. No clocks of two machines are compared. While
//! the database is away nobody can look, and nobody is taken for dead.
//!
//! A dead process's jobs are ready for others within 15 s of its death. If no other process is there, they are ready within 15 s of the
//! next start.
//!
//! | what happens | so |
//! |---|---|
//! | a process dies while it has a job | the job is ready at once. A death is no attempt |
//! | it dies again with the same job | the job waits up to 10 s, then 20 s, doubling up to 21 minutes. So a job that kills its process parts from its neighbours |
//! | that happens ten times | the job fails, and says so |
//! | it dies before the response was over | the job runs. `cx.response()` has the status that the handler answered, and `Delivery::Unknown` |
//! | the job had `on = "success"` | that status decides |
//! | the job had a `when(..)` that was not asked yet | the job fails, because nobody can ask any more |
//! | a process is stopped, or cut off from the database, for nine seconds | it has lost its jobs, and others run them. It stops those that it still runs once it hears of that. What it wrote late changes nothing, and is a warning |
//!
//! A job starts here only if the database confirmed within the last nine seconds that this process is alive. Otherwise the job waits for
//! the next confirmation.
//!
//! # Look after it
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
//! [`retry`](crate::SqlxQueue::retry) gives a failed job all its attempts again, and [`discard`](crate::SqlxQueue::discard) deletes it.
//! [`status`](crate::SqlxQueue::status) tells what became of any job, and [`cancel`](crate::SqlxQueue::cancel) cancels one that has not ended. A
//! process that runs it hears of that within three seconds.
//!
//! A job that says how far it is, with `cx.set_progress(..)`, is seen by every process: `status` returns it. It is written once a second
//! at most, with whatever else is written, as long as the database answers. `Runner::status`, `watch` and `cancel` ask the queue about jobs
//! that they do not know, so that a client may ask any process.
//!
//! The [dashboard](https://docs.rs/defer-axum/latest/defer_axum/dashboard/) shows the counts and the failed jobs, with a button to run
//! one again if you enable it. Each count stops at 10,000, so that a look costs the same however many jobs there are.
//!
//! Jobs that are done are kept for ten minutes, and failed ones for thirty days. The [builder](crate::SqlxQueueBuilder) changes both, and the
//! queue's name. Give services that share a database queues of different names.
//!
//! # The tables
//!
//! `defer_jobs` has one row for each job. You may read all of it, and insert rows with these columns:
//!
//! | column | type | |
//! |---|---|---|
//! | `id` | text | a ULID: 26 letters and digits, upper case. Required |
//! | `name` | text | the name of the job type. Required |
//! | `payload` | text | the job as JSON. Required |
//! | `queue` | text | the queue's name; `default` without it |
//! | `due` | integer | when it may run, in milliseconds since 1970; now without it |
//! | `priority` | integer | 0 without it |
//! | `serial_key` | text | the serial key; none without it |
//! | `throttle_key`, `throttle_every` | text, integer | the job is left out if another with this key has started less than so many milliseconds before; none without them |
//! | `metadata` | text | a JSON object of texts, such as `{"route": "POST /sign-up"}`; `{}` without it |
//!
//! Everything else is the queue's own. `state` is what you will look for:
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
//! `progress` is how far an attempt says that it is: the `claim` under which it runs, a blank, and JSON. Under another claim it is of an
//! earlier attempt.
//!
//! `defer_holders` has the processes, `defer_pauses` the types that are paused, `defer_starts` when the last job of each
//! `throttle_key` started, and `defer_migrations` what was applied to these tables. A role
//! that may not create tables works where they exist. [`migrate(false)`](crate::SqlxQueueBuilder::migrate) creates none.
//!
//! # What is not promised
//!
//! - **Exactly once.** A job whose process died may have done its work. Use `cx.id()` as the key by which the other side knows the
//!   second call: it is the same in every run.
//! - **Order through the queue.** Jobs that go that way run when a place is free. Use a serial key where order counts.
//! - **Your row and a deferred job in one commit.** Only [`push_in`](#in-your-own-transaction) gives you that. If the process dies between your
//!   commit and the handler's answer, a deferred job was not stored yet.
//! - **A deferred job's children after a crash.** They come with their parent's end, or with its next run.
//! - **On disk is what your server says.** Commits wait for the disk whatever the role's
//!   `synchronous_commit` is; a Postgres server with `fsync = off` may lose the last ones.
//! - **The same policy everywhere.** Attempts and timeouts are those of the process that runs the job.
//!
//! [guide of `defer-axum`]: https://docs.rs/defer-axum/latest/defer_axum/guide/

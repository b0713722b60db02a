//! Features you need in production. Each is one line of code, and costs nothing if you do not use it.
//!
//! | you want to | use | durable jobs in the queue |
//! |---|---|---|
//! | [wrap every attempt in middleware](#middleware) | [`RunnerBuilder::around`] | on each worker's runner |
//! | [know the tenant or the user](#tenants-and-users) | [`DeferLayer::capture_extension`], [`Defer::insert_extension`] | stored with the job |
//! | [act when a job fails permanently](#when-a-job-fails-permanently) | [`Job::failed`] | after the last attempt |
//! | [wait as long as another service asks](#wait-as-long-as-another-service-asks) | [`JobError::retry_after`], [`JobError::snooze`] | the same |
//! | [limit how many jobs of a type run](#limits) | `#[defer(max_running = 4)]` | on each worker's runner |
//! | [run jobs in order, one at a time](#one-at-a-time) | [`Deferred::serial`] | across processes |
//! | [drop duplicates](#no-duplicates) | [`Deferred::unique`] | across processes |
//! | [run only the latest of many jobs](#the-latest-of-many) | [`Deferred::replace`], [`Deferred::replace_within`] | across processes |
//! | [run a job now, and then not for a while](#not-too-often) | [`Deferred::at_most_every`] | across processes |
//! | [run a job concurrently](#run-concurrently) | `#[defer(concurrent)]` | each job runs on its own anyway |
//! | [run jobs of many requests together](#together) | `#[defer(batch = 50, within = "500ms")]` | the same |
//! | [find a job that blocks its thread](#jobs-that-block) | [`RunnerBuilder::stuck_after`] | on each worker's runner |
//! | [show a client the status of a job](#job-status) | [`Runner::status`] | `SqlxQueue::status`, from any process |
//!
//! # Middleware
//!
//! Wraps every attempt, like middleware around a handler: set up context, measure, or refuse to run. The function sees the job's
//! name, id, attempt and context, and its result.
//!
//! ```
//! use defer_axum::Runner;
//!
//! tokio::task_local! {
//!     static LOCALE: &'static str;
//! }
//!
//! let runner = Runner::builder()
//!     .around(|cx, next| Box::pin(async move {
//!         let result = LOCALE.scope("de", next).await; // the job, or what is further in
//!         if let Err(error) = &result {
//!             eprintln!("{} {}, attempt {}: {error}", cx.name(), cx.id(), cx.attempt());
//!         }
//!         result
//!     }))
//!     .build();
//! ```
//!
//! It is a function and not a `tower` layer. A service per job would have to be created, cloned and polled for readiness, and its
//! request would have to own what the function can borrow.
//!
//! # Tenants and users
//!
//! A job runs when its request is gone. You name each value that it takes over from the request, so a job never runs as the wrong
//! user because a task-local happened to be set.
//!
//! ```
//! use axum::{Extension, Router, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Tenant(String);
//!
//! #[derive(Deferrable)]
//! struct Invoice;
//!
//! impl Job for Invoice {
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         let Tenant(name) = cx.extension()?; // an error that says what is missing, never a default
//!         println!("an invoice for {name}");
//!         Ok(())
//!     }
//! }
//!
//! let app: Router = Router::new()
//!     .route("/orders", post(|| async { Invoice::defer(); }))
//!     .layer(DeferLayer::new(Runner::default()).capture_extension::<Tenant>())
//!     .layer(Extension(Tenant("acme".into()))); // the layer that sets it is outside
//! ```
//!
//! If only the handler knows the value, the handler sets it with [`Defer::insert_extension`].
//!
//! # When a job fails permanently
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobError, JobResult};
//! # struct Orders;
//! # impl Orders { async fn mark(&self, _: u64, _: String) {} }
//! #[derive(Deferrable)]
//! #[defer(tries = 5)]
//! struct NotifyPartner {
//!     order: u64,
//! }
//!
//! impl Job for NotifyPartner {
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         // ..
//! #       Ok(())
//!     }
//!
//!     async fn failed(&self, cx: &JobContext, error: &JobError) {
//!         if let Ok(orders) = cx.state::<Orders>() {
//!             orders.mark(self.order, format!("the partner was not told: {error}")).await;
//!         }
//!     }
//! }
//! ```
//!
//! `failed` is called once, before the job ends, including after a panic or a timeout.
//!
//! # Wait as long as another service asks
//!
//! ```
//! # use defer_axum::{JobError, JobResult};
//! # use std::time::Duration;
//! fn check(status: u16, retry_after: u64, is_open: bool) -> JobResult {
//!     if !is_open {
//!         return Err(JobError::snooze(Duration::from_secs(3600))); // spends no attempt
//!     }
//!     match status {
//!         200 => Ok(()),
//!         429 => Err(JobError::msg("busy").retry_after(Duration::from_secs(retry_after))),
//!         status => Err(JobError::msg(format!("answered {status}"))), // the policy's backoff
//!     }
//! }
//! # let _ = check;
//! ```
//!
//! # Limits
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! #[derive(Deferrable)]
//! #[defer(max_running = 4)] // the renderer has four licences
//! struct RenderPdf {
//!     order: u64,
//! }
//! # impl Job for RenderPdf {
//! #     async fn run(&self, _: &JobContext) -> JobResult { let _ = self.order; Ok(()) }
//! # }
//! ```
//!
//! The fifth job waits in its request's line, and so do the jobs behind it. It holds no permit of the runner.
//!
//! # One at a time
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable)]
//! # struct Book { account: u64 }
//! # impl Job for Book {
//! #     async fn run(&self, _: &JobContext) -> JobResult { let _ = self.account; Ok(()) }
//! # }
//! async fn transfer() {
//!     let account = 7;
//!     Book::defer(account).serial(format!("account:{account}"));
//! }
//! # let _ = transfer;
//! ```
//!
//! The order holds across requests: jobs run in the order in which their responses ended. A job keeps its turn while it is retried.
//!
//! # No duplicates
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # use std::time::Duration;
//! # #[derive(Deferrable)]
//! # struct SyncCart { cart: u64 }
//! # impl Job for SyncCart {
//! #     async fn run(&self, _: &JobContext) -> JobResult { let _ = self.cart; Ok(()) }
//! # }
//! async fn change_cart() {
//!     // However often the cart changes within five seconds, it is synchronized once.
//!     let sync = SyncCart::defer(42).unique("sync:42").delay(Duration::from_secs(5));
//!     if sync.is_duplicate() {
//!         tracing::debug!("another one is waiting");
//!     }
//! }
//! # let _ = change_cart;
//! ```
//!
//! The first job stays, with its fields: pass only the id, and read the current value when the job runs. Two kinds of jobs do not
//! count: those that are running, because they may have read the old value, and those that may still be skipped, with `on =
//! "success"` or `when(..)`. For a durable job, only its queue knows, and only later: `is_duplicate` returns false in the handler,
//! and [`status`](crate::Runner::status) has the answer. Within one request, [`Deferred::key`] keeps the last job instead of the
//! first.
//!
//! A unique key is not an idempotency key: once the first job has started, another one can run. To handle a webhook only once,
//! store the keys you have seen in a table of your own, and use `serial` to run the jobs of one key one after another.
//!
//! # The latest of many
//!
//! If the last job counts and not the first, let each job replace the one that is waiting:
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # use std::time::Duration;
//! # #[derive(Deferrable)]
//! # struct PushToken { token: u64 }
//! # impl Job for PushToken {
//! #     async fn run(&self, _: &JobContext) -> JobResult { let _ = self.token; Ok(()) }
//! # }
//! # #[derive(Deferrable)]
//! # struct IndexDocument { document: u64 }
//! # impl Job for IndexDocument {
//! #     async fn run(&self, _: &JobContext) -> JobResult { let _ = self.document; Ok(()) }
//! # }
//! async fn sync() {
//!     // Five seconds after the first of them, the last token is sent.
//!     PushToken::defer(7).unique("push:42").replace().delay(Duration::from_secs(5));
//! }
//!
//! async fn edit() {
//!     // After a pause of two seconds, and after a minute at the latest.
//!     IndexDocument::defer(42)
//!         .unique("index:42")
//!         .replace_within(Duration::from_secs(60))
//!         .delay(Duration::from_secs(2));
//! }
//! # let _ = (sync, edit);
//! ```
//!
//! A running job is never replaced, so no change is missed. A replaced job is a duplicate of the job that took its place, and its
//! id leads to that job, through any number of replacements.
//!
//! # Not too often
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # use std::time::Duration;
//! # #[derive(Deferrable)]
//! # struct FindConflicts { repository: u64 }
//! # impl Job for FindConflicts {
//! #     async fn run(&self, _: &JobContext) -> JobResult { let _ = self.repository; Ok(()) }
//! # }
//! async fn webhook() {
//!     // Now, and then not for a minute, however many webhooks come.
//!     FindConflicts::defer(42).at_most_every("conflicts:42", Duration::from_secs(60));
//! }
//! # let _ = webhook;
//! ```
//!
//! Jobs deferred within that minute are dropped, so only the next job may see their changes. If no change may be missed, use
//! `unique` with a delay.
//!
//! # Run concurrently
//!
//! The jobs of one request run one after another. A concurrent job leaves that line, so the others do not wait for it:
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! #[derive(Deferrable)]
//! #[defer(concurrent)]
//! struct WarmCache;
//! # impl Job for WarmCache {
//! #     async fn run(&self, _: &JobContext) -> JobResult { Ok(()) }
//! # }
//! ```
//!
//! # Together
//!
//! One INSERT of fifty rows costs little more than an INSERT of one. A batch job runs once for the jobs of many requests:
//!
//! ```
//! use defer_axum::{BatchJob, Deferrable, JobContext, JobResult};
//! # struct Database;
//! # impl Database { async fn insert(&self, _: &[Visit]) -> Result<(), std::io::Error> { Ok(()) } }
//!
//! #[derive(Deferrable)]
//! #[defer(batch = 50, within = "500ms", tries = 3)]
//! struct Visit {
//!     path: String,
//! }
//!
//! impl BatchJob for Visit {
//!     async fn run(visits: &[Self], cx: &JobContext) -> JobResult {
//!         cx.state::<Database>()?.insert(visits).await?;
//!         Ok(())
//!     }
//! }
//! ```
//!
//! A batch starts when it has 50 jobs, when its first job has waited for half a second, or when a shutdown begins. Every job keeps its
//! own id, events and count. If a batch fails, its jobs are retried together. Each job makes its last attempt by itself, so that one
//! bad row does not make the others fail: set `tries` to at least 2. With `queue`, the jobs are durable.
//!
//! A batch has no `cx.request()`, because its jobs come from many requests: put what you need into the job. See [`BatchJob`] for the
//! details.
//!
//! # Jobs that block
//!
//! A job that computes for a long time or calls blocking code occupies a thread of the runtime, and even its timeout cannot stop
//! it. `Runner::builder().stuck_after(Duration::from_secs(5))` names such a job in the log and in an event. Run it on the blocking
//! pool with `#[defer(blocking)]`.
//!
//! # Job status
//!
//! ```
//! use axum::{Router, extract::{Path, State}, http::StatusCode, routing::get};
//! use defer_axum::{JobId, Runner};
//!
//! async fn status(State(runner): State<Runner>, Path(id): Path<String>) -> Result<String, StatusCode> {
//!     let id: JobId = id.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
//!     let status = runner.status(id).await.ok_or(StatusCode::NOT_FOUND)?;
//!     Ok(status.to_string()) // "pending", "running", "succeeded", ..
//! }
//!
//! let runner = Runner::builder().keep_outcomes(10_000).build(); // of those that have ended
//! let app: Router = Router::new().route("/exports/{id}", get(status)).with_state(runner);
//! ```
//!
//! Get the id from [`Deferred::id`]. Ids can be guessed, so check that the client may ask.
//!
//! # A client that waits
//!
//! Answer 202 Accepted with the job's id. The client follows the job with [`watch_sse`], which sends its progress as server-sent
//! events, and cancels it with [`Runner::cancel`]. [Progress over SSE](super::recipes#progress-over-sse) and [Cancel a job
//! later](super::recipes#cancel-a-job-later) are whole programs. Both work for durable jobs too, whichever process runs them.
//!
//! [`RunnerBuilder::around`]: crate::RunnerBuilder::around
//! [`RunnerBuilder::stuck_after`]: crate::RunnerBuilder::stuck_after
//! [`DeferLayer::capture_extension`]: crate::DeferLayer::capture_extension
//! [`Defer::insert_extension`]: crate::Defer#method.insert_extension
//! [`Job::failed`]: crate::Job::failed
//! [`JobError::retry_after`]: crate::JobError::retry_after
//! [`JobError::snooze`]: crate::JobError::snooze
//! [`Deferred::serial`]: crate::Deferred::serial
//! [`BatchJob`]: crate::BatchJob
//! [`Deferred::unique`]: crate::Deferred::unique
//! [`Deferred::replace`]: crate::Deferred::replace
//! [`Deferred::replace_within`]: crate::Deferred::replace_within
//! [`Deferred::at_most_every`]: crate::Deferred::at_most_every
//! [`Deferred::key`]: crate::Deferred::key
//! [`Deferred::id`]: crate::Deferred::id
//! [`Runner::cancel`]: crate::Runner::cancel
//! [`watch_sse`]: crate::watch_sse
//! [`Runner::status`]: crate::Runner::status

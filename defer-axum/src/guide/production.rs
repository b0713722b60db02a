//! What production asks of a job. Each part is one line of yours, and costs nothing where it is not used.
//!
//! | you want to | use | a durable job, through the queue |
//! |---|---|---|
//! | [do something around each run](#around-each-run) | [`RunnerBuilder::around`] | on each worker's runner |
//! | [know the tenant or the user](#the-tenant-the-user) | [`DeferLayer::capture_extension`], [`Defer::insert_extension`] | stored with the job |
//! | [hear that a job is given up](#when-a-job-is-given-up) | [`Job::failed`] | at its last attempt |
//! | [wait as long as the other side says](#when-the-other-side-says-when) | [`JobError::retry_after`], [`JobError::snooze`] | the same |
//! | [limit how many of a type run](#limits) | `#[defer(max_running = 4)]` | for each worker's runner |
//! | [run jobs in order, one at a time](#one-at-a-time) | [`Deferred::serial`] | in all processes |
//! | [leave out what is waiting already](#no-duplicates) | [`Deferred::unique`] | in all processes |
//! | [run a job beside the others](#side-by-side) | `#[defer(concurrent)]` | each job is on its own anyway |
//! | [run jobs of many requests together](#together) | `#[defer(batch = 50, within = "500ms")]` | the same |
//! | [find a job that blocks its thread](#jobs-that-block) | [`RunnerBuilder::stuck_after`] | on each worker's runner |
//! | [tell a client what became of a job](#what-became-of-it) | [`Runner::status`] | `SqlxQueue::status`, from any process |
//!
//! # Around each run
//!
//! As a middleware is around a handler: set what a job expects to be set, measure, refuse. It sees the job's name, id, attempt
//! and context, and what comes of it.
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
//! It is a function and not a `tower` layer: a service for each job would have to be made, cloned and polled for readiness,
//! and its request would have to own what it can borrow here.
//!
//! # The tenant, the user
//!
//! A job runs when its request is gone. What it takes over from there is named, one by one, so that it never runs as somebody
//! else because a task-local happened to be set.
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
//! Where it is known only further in, the handler hands it over: [`Defer::insert_extension`].
//!
//! # When a job is given up
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
//! It is called once, also after a panic or a timeout, before the job has ended.
//!
//! # When the other side says when
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
//! The fifth waits in its request's line, without a permit of the runner's, and the jobs behind it wait with it.
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
//! Across requests, in the order in which their responses ended. A job that is tried again keeps its turn.
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
//! The first job stays, with its fields: give it the id alone, and let it read the current value when it runs. A job that runs does not
//! count, because it may have read what was there before the change; nor does one that may yet be skipped, with `on = "success"` or
//! `when(..)`. Of a durable job only its queue knows, later: `is_duplicate` is false in the handler, and
//! [`status`](crate::Runner::status) tells. Within one request [`Deferred::key`] keeps the last job instead of the first.
//!
//! A unique key is no idempotency key: once the first job has started, another runs too. To handle a webhook once, keep the keys that
//! were seen in a table of your own, and let `serial` run the jobs of one key one after another.
//!
//! # Side by side
//!
//! One request's jobs run one after another. One that the others need not wait for leaves that line:
//!
//! ```
//! # Together
//!
//! Fifty rows cost one INSERT little more than one row does. Let the jobs of many requests run together:
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
//! A batch starts when it has 50 jobs, when its first job has waited for half a second, or when a shutdown begins. Each job still
//! has its own id, event and count. If a batch fails, its jobs are tried again together, and the last time each by itself, so that one
//! bad row does not take the others with it: give such a type at least two `tries`. With `queue` the jobs are durable, and the ends of a
//! batch share a commit.
//!
//! There is no `cx.request()` in a batch, because there are many requests: put what you need into the job. [`BatchJob`] has the rest.
//!
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! #[derive(Deferrable)]
//! #[defer(concurrent)]
//! struct WarmCache;
//! # impl Job for WarmCache {
//! #     async fn run(&self, _: &JobContext) -> JobResult { Ok(()) }
//! # }
//! ```
//!
//! # Jobs that block
//!
//! A job that computes for long, or calls what blocks, holds a thread of the runtime, and not even its timeout can stop it.
//! `Runner::builder().stuck_after(Duration::from_secs(5))` names it in the log and to your hooks. Then let it run on the blocking
//! pool, with `#[defer(blocking)]`.
//!
//! # What became of it
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
//! The id is that of [`Deferred::id`]. It is no secret, and others can be guessed from it: check that the client may ask.
//!
//! # A client that waits
//!
//! A handler defers the job and answers 202 Accepted with its id. The job says how far it is, a page follows that by server-sent
//! events, and a button cancels it:
//!
//! ```
//! use axum::{Router, extract::{Path, State}, http::StatusCode, response::Response, routing::{delete, get, post}};
//! use defer_axum::{
//!     Cancel, DeferLayer, Deferrable, Job, JobContext, JobId, JobResult, Runner, watch_sse,
//! };
//!
//! #[derive(Deferrable)]
//! struct Import {
//!     lines: Vec<String>,
//! }
//!
//! impl Job for Import {
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         for (done, line) in self.lines.iter().enumerate() {
//!             store(line).await; // cancelled, the job is dropped here
//!             cx.set_progress(done + 1)?;
//!         }
//!         Ok(())
//!     }
//! }
//! # async fn store(_: &str) {}
//!
//! async fn import(body: String) -> (StatusCode, String) {
//!     let lines: Vec<String> = body.lines().map(str::to_owned).collect();
//!     (StatusCode::ACCEPTED, Import::defer(lines).id().to_string())
//! }
//!
//! async fn progress(State(runner): State<Runner>, Path(id): Path<JobId>) -> Response {
//!     watch_sse(&runner, id).await
//! }
//!
//! async fn cancel(State(runner): State<Runner>, Path(id): Path<JobId>) -> StatusCode {
//!     match runner.cancel(id).await {
//!         Cancel::Cancelled => StatusCode::NO_CONTENT,
//!         Cancel::Asked => StatusCode::ACCEPTED, // it runs, and ends soon
//!         Cancel::Ended => StatusCode::CONFLICT,
//!         Cancel::Unknown => StatusCode::NOT_FOUND,
//!         _ => StatusCode::SERVICE_UNAVAILABLE, // the queue cannot be reached
//!     }
//! }
//!
//! let runner = Runner::builder().keep_outcomes(10_000).build();
//! let app: Router = Router::new()
//!     .route("/imports", post(import))
//!     .route("/imports/{id}", delete(cancel))
//!     .route("/imports/{id}/progress", get(progress))
//!     .layer(DeferLayer::new(runner.clone()))
//!     .with_state(runner);
//! ```
//!
//! [`watch_sse`] says what an event has in it, and [`Runner::cancel`] what becomes of a job that runs. A job that has to tidy up
//! waits for [`JobContext::cancelled`]. All of it holds for durable jobs, in whichever process they run. `examples/import` is the whole
//! of it, with a page.
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
//! [`Deferred::key`]: crate::Deferred::key
//! [`Deferred::id`]: crate::Deferred::id
//! [`JobContext::cancelled`]: crate::JobContext::cancelled
//! [`Runner::cancel`]: crate::Runner::cancel
//! [`watch_sse`]: crate::watch_sse
//! [`Runner::status`]: crate::Runner::status

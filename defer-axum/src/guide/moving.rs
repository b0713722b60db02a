//! Moving to `defer-axum` from `tokio::spawn`, FastAPI's `BackgroundTasks`, or Laravel's `defer()` and queued jobs.
//!
//! # From `tokio::spawn`
//!
//! ```
//! use defer_axum::defer_fn;
//!
//! async fn before(email: String) -> &'static str {
//!     tokio::spawn(async move { println!("mail to {email}") });
//!     "check your mail"
//! }
//!
//! async fn after(email: String) -> &'static str {
//!     defer_fn(move |_cx| async move { println!("mail to {email}") });
//!     "check your mail"
//! }
//! ```
//!
//! As with `tokio::spawn`, the future has to be `Send + 'static`. Add the [`DeferLayer`] and [`serve`](crate::serve()), as in [the
//! first job](super::first_job).
//!
//! | Tokio | `defer-axum` | difference |
//! |---|---|---|
//! | `tokio::spawn(future)` | `defer_fn(\|_cx\| future)` | starts after the response, not beside the handler |
//! | a `JoinHandle` | a [`Deferred`] | cancels, delays and sets conditions; cannot be awaited |
//! | an `Arc` cloned into each task | [state](super::state) of the runner | jobs ask for it by type |
//! | a semaphore | [limits](super::load) of the runner | hold responses, or shed jobs |
//! | a loop around `sleep` | `tries`, `backoff` | see [retries](super::retries) |
//! | `TaskTracker` and `CancellationToken` | [`with_graceful_shutdown`](super::shutdown) | reports unfinished jobs |
//! | a panic that nobody sees | an error in the log, and an [event](super::seeing) | |
//!
//! Keep `tokio::spawn` for work that the response needs, that has to start immediately, or that lives as long as the process.
//!
//! # From FastAPI's `BackgroundTasks`
//!
//! Before:
//!
//! ```python
//! from fastapi import BackgroundTasks, FastAPI
//!
//! app = FastAPI()
//!
//! def write_log(message: str):
//!     with open("log.txt", mode="a") as log:
//!         log.write(message + "\n")
//!
//! @app.post("/notify/{email}")
//! async def notify(email: str, tasks: BackgroundTasks):
//!     tasks.add_task(write_log, f"a note to {email}")
//!     return "on its way"
//! ```
//!
//! After:
//!
//! ```sh
//! cargo add axum defer-axum
//! cargo add tokio --features full
//! ```
//!
//! ```rust,no_run
//! use std::{fs::OpenOptions, io::Write};
//!
//! use axum::{Router, extract::Path, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult};
//!
//! #[derive(Deferrable)]
//! #[defer(blocking)] // writes to a file
//! struct WriteLog {
//!     message: String,
//! }
//!
//! impl Job for WriteLog {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         let mut log = OpenOptions::new().create(true).append(true).open("log.txt")?;
//!         writeln!(log, "{}", self.message)?;
//!         Ok(())
//!     }
//! }
//!
//! async fn notify(Path(email): Path<String>) -> &'static str {
//!     WriteLog::defer(format!("a note to {email}"));
//!     "on its way\n"
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let app = Router::new()
//!         .route("/notify/{email}", post(notify))
//!         .layer(DeferLayer::default());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await
//! }
//! ```
//!
//! ```sh
//! curl -X POST http://127.0.0.1:3000/notify/ada@example.com
//! cat log.txt
//! ```
//!
//! ```text
//! on its way
//! a note to ada@example.com
//! ```
//!
//! | FastAPI | `defer-axum` | difference |
//! |---|---|---|
//! | `tasks: BackgroundTasks` as a parameter | nothing | functions that the handler calls can defer, too |
//! | `tasks.add_task(f, x)` | `WriteLog::defer(x)`, or `defer_fn` | |
//! | tasks run in order | the jobs of one request run in order | an error does not stop the jobs behind it |
//! | `def` tasks run in a thread pool | `#[defer(blocking)]` | other jobs must not block |
//! | no tasks after an exception in the handler | jobs always run | `#[defer(on = "success")]` skips them after a failure |
//! | no retries, no limits | `tries`, `timeout`, [limits](super::load) | |
//! | Celery for more | [`#[defer(queue)]`](super#durable-jobs) | the handler does not change, and the job still runs after the response |
//!
//! # From Laravel
//!
//! Before:
//!
//! ```php
//! use function Illuminate\Support\defer;
//!
//! Route::post('/orders', function (Request $request) {
//!     $order = Order::create($request->validated());
//!     defer(fn () => Metrics::report($order), 'metrics');
//!     SendReceipt::dispatch($order->id);
//!     return $order->id;
//! });
//! ```
//!
//! After:
//!
//! ```
//! use defer_axum::{Deferrable, Job, JobContext, JobResult, defer_fn};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deferrable, Serialize, Deserialize)]
//! #[defer(queue, tries = 3, backoff = "10s", timeout = "60s")]
//! struct SendReceipt {
//!     order: u64,
//! }
//!
//! impl Job for SendReceipt {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         println!("the receipt of order {}", self.order);
//!         Ok(())
//!     }
//! }
//!
//! async fn order() -> String {
//!     let order = 7; // stored
//!     defer_fn(move |_cx| async move { println!("order {order} counts") }).on_success().key("metrics");
//!     SendReceipt::defer(order);
//!     order.to_string()
//! }
//! ```
//!
//! | Laravel | `defer-axum` | difference |
//! |---|---|---|
//! | `defer(fn)` | `defer_fn(..).on_success()` | without `on_success` it runs after every response, like `->always()` |
//! | `defer(fn, 'name')`, `defer()->forget('name')` | [`.key("name")`](crate::Deferred::key), [`defer.cancel_key("name")`](crate::Defer#method.cancel_key) | |
//! | `Job::dispatch($x)` | `Job::defer(x)` of a `#[defer(queue)]` type | the response waits until the job is on disk; the job runs after the response |
//! | `dispatchAfterResponse` | `Job::defer(x)` without `queue` | |
//! | `handle()` and its injected services | [`Job::run`] and `cx.state::<T>()?` | |
//! | `$tries`, `backoff()`, `$timeout` | `tries`, `backoff`, `timeout` | backoff has jitter; all jobs of a type share one policy |
//! | `$this->release(60)` | [`JobError::snooze`] | does not spend an attempt |
//! | `$this->fail($e)`, `failed()` | `error.fatal()`, [`Job::failed`] | |
//! | `->delay(60)` | [`.delay(duration)`](crate::Deferred::delay) | |
//! | `onQueue('high')` | `#[defer(queue, priority = 10)]` | one queue with priorities |
//! | `ShouldBeUnique` | [`unique`](super::production#no-duplicates) | a running job does not count |
//! | `WithoutOverlapping` | [`serial`](super::production#one-at-a-time) | also keeps the order |
//! | job middleware | [`around`](super::production#middleware) | applies to all jobs of a runner |
//! | `DB::transaction` with `afterCommit` | `queue.push_in(&mut tx, job)` | stores the job in the transaction itself |
//! | `queue:work` | `queue.worker(runner).job::<SendReceipt>()` | in the server's process or another |
//! | `queue:failed`, `queue:retry` | `queue.failed(..)`, `queue.retry(..)` | also on the [dashboard](super::seeing#a-page) |
//! | `Queue::fake()`, `Bus::fake()` | a [`Recorder`](super::testing) | one for each test |
//!
//! [`DeferLayer`]: crate::DeferLayer
//! [`Deferred`]: crate::Deferred
//! [`Job::run`]: crate::Job::run
//! [`Job::failed`]: crate::Job::failed
//! [`JobError::snooze`]: crate::JobError::snooze

//! Recipes: whole programs for common tasks. Paste one into `src/main.rs` and run it.
//!
//! | task | recipe |
//! |---|---|
//! | limit how often each tenant's jobs run | [A rate limit per tenant](#a-rate-limit-per-tenant) |
//! | show a client the progress of its job | [Progress over SSE](#progress-over-sse) |
//! | take back a job that has not run yet | [Cancel a job later](#cancel-a-job-later) |
//! | record every request, including those that authentication refuses | [Audit refused requests](#audit-refused-requests) |
//! | make one report a night, however many processes run | [A nightly report for the whole fleet] |
//! | store a job from a command line or a script | [Jobs from a command] |
//! | run a job at eight tomorrow | [At a wall-clock time] |
//! | split work up, and run a job when all parts are done | [Fan-out with a last job] |
//! | store a job in a transaction of SeaORM or another client | [In another client's transaction] |
//! | keep secrets out of the database | [Encrypted fields] |
//!
//! The last six need [durable jobs](super#durable-jobs) and are in the guide of `defer-sqlx`. [What it does not
//! do](#what-it-does-not-do) says where to look for the rest.
//!
//! The programs on this page need:
//!
//! ```sh
//! cargo add axum defer-axum tracing-subscriber
//! cargo add serde --features derive
//! cargo add tokio --features full
//! ```
//!
//! # A rate limit per tenant
//!
//! A partner allows each tenant a limited number of calls. A job that comes too early returns [`JobError::snooze`], which
//! reschedules it without spending an attempt. The tenant's [serial](crate::Deferred::serial) key keeps the jobs in order: only the
//! first of them checks the limit, and the others wait behind it without taking up the runner.
//!
//! ```
//! use std::{
//!     collections::HashMap,
//!     sync::Mutex,
//!     time::{Duration, Instant},
//! };
//!
//! use defer_axum::{JobContext, JobError, JobResult, Runner, job, scope};
//!
//! /// Allows each tenant one call per interval.
//! struct RateLimit {
//!     interval: Duration,
//!     next_call: Mutex<HashMap<String, Instant>>,
//! }
//!
//! impl RateLimit {
//!     fn new(interval: Duration) -> Self {
//!         Self { interval, next_call: Mutex::default() }
//!     }
//!
//!     /// Succeeds if the tenant may call now. Otherwise the error reschedules the job, without spending an attempt.
//!     fn check(&self, tenant: &str) -> JobResult {
//!         let now = Instant::now();
//!         let mut next_call = self.next_call.lock().map_err(|_| "the lock is poisoned")?;
//!         let next = next_call.entry(tenant.to_owned()).or_insert(now);
//!         if *next > now {
//!             return Err(JobError::snooze(*next - now));
//!         }
//!         *next = now + self.interval;
//!         Ok(())
//!     }
//! }
//!
//! #[job(tries = 3, timeout = "10s")]
//! async fn call_partner(tenant: String, order: u32, cx: &JobContext) -> JobResult {
//!     cx.state::<RateLimit>()?.check(&tenant)?;
//!     println!("{tenant}: order {order}");
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() {
//!     let interval = Duration::from_millis(200);
//!     let runner = Runner::builder().state(RateLimit::new(interval)).build();
//!     let start = Instant::now();
//!     for order in 1..=3 {
//!         // `scope` stands in for a request.
//!         scope(&runner, async {
//!             call_partner::defer("acme", order).serial("acme");
//!         })
//!         .await;
//!     }
//!     runner.idle().await;
//!     assert!(start.elapsed() >= 2 * interval);
//! }
//! ```
//!
//! ```text
//! acme: order 1
//! acme: order 2
//! acme: order 3
//! ```
//!
//! The three lines appear 200 ms apart. Retries count against the limit too, since every attempt checks it. To allow bursts,
//! replace `RateLimit` with a keyed limiter of the crate `governor`. The limit holds within this process. To share one among
//! processes, keep it in your database or in Redis.
//!
//! # Progress over SSE
//!
//! The handler answers 202 Accepted with the job's id. The job reports its progress, and [`watch_sse`] sends it to the client as
//! server-sent events.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use axum::{
//!     Router,
//!     extract::{Path, State},
//!     http::StatusCode,
//!     response::Response,
//!     routing::{get, post},
//! };
//! use defer_axum::{DeferLayer, JobContext, JobId, JobResult, Runner, job, watch_sse};
//!
//! #[job]
//! async fn import(rows: u32, cx: &JobContext) -> JobResult {
//!     for row in 1..=rows {
//!         tokio::time::sleep(Duration::from_secs(1)).await; // stands in for the work
//!         cx.set_progress(format!("{row} of {rows}"))?; // any type that implements `Serialize`
//!     }
//!     Ok(())
//! }
//!
//! async fn start_import() -> (StatusCode, String) {
//!     (StatusCode::ACCEPTED, import::defer(3).id().to_string())
//! }
//!
//! async fn progress(State(runner): State<Runner>, Path(id): Path<JobId>) -> Response {
//!     watch_sse(&runner, id).await
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     tracing_subscriber::fmt().init();
//!     let runner = Runner::builder().keep_outcomes(10_000).build();
//!     let app = Router::new()
//!         .route("/imports", post(start_import))
//!         .route("/imports/{id}/progress", get(progress))
//!         .layer(DeferLayer::new(runner.clone()))
//!         .with_state(runner);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await
//! }
//! ```
//!
//! ```sh
//! id=$(curl -s -X POST http://127.0.0.1:3000/imports)
//! curl -N http://127.0.0.1:3000/imports/$id/progress
//! ```
//!
//! ```text
//! data: {"status":"running","final":false}
//!
//! data: {"status":"running","progress":"1 of 3","final":false}
//!
//! data: {"status":"running","progress":"2 of 3","final":false}
//!
//! data: {"status":"running","progress":"3 of 3","final":false}
//!
//! data: {"status":"succeeded","final":true}
//! ```
//!
//! In the browser:
//!
//! ```js
//! const events = new EventSource(`/imports/${id}/progress`);
//! events.onmessage = ({ data }) => {
//!   const job = JSON.parse(data);
//!   document.title = job.progress ?? job.status;
//!   if (job.final) events.close(); // or the browser reconnects
//! };
//! ```
//!
//! Ids can be guessed: check that the client may see the job. With `#[job(queue)]`, any process can answer `/progress`.
//! `examples/import` adds a page with a progress bar and a button that cancels the import.
//!
//! # Cancel a job later
//!
//! Undo for mail: it goes out after five seconds, unless the client cancels it by its id.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use axum::{
//!     Router,
//!     extract::{Path, State},
//!     http::StatusCode,
//!     routing::{delete, post},
//! };
//! use defer_axum::{Cancel, DeferLayer, JobId, JobResult, Runner, job};
//!
//! #[job(tries = 3, timeout = "10s")]
//! async fn send_mail(to: String) -> JobResult {
//!     println!("sent to {to}");
//!     Ok(())
//! }
//!
//! async fn send(to: String) -> (StatusCode, String) {
//!     let mail = send_mail::defer(to).delay(Duration::from_secs(5));
//!     (StatusCode::ACCEPTED, mail.id().to_string())
//! }
//!
//! async fn undo(State(runner): State<Runner>, Path(id): Path<JobId>) -> (StatusCode, &'static str) {
//!     match runner.cancel(id).await {
//!         Cancel::Cancelled => (StatusCode::OK, "cancelled\n"),
//!         Cancel::Asked => (StatusCode::ACCEPTED, "it is running, and will stop at its next await\n"),
//!         Cancel::Ended => (StatusCode::CONFLICT, "too late\n"),
//!         Cancel::Unknown => (StatusCode::NOT_FOUND, "no such mail\n"),
//!         _ => (StatusCode::SERVICE_UNAVAILABLE, "try again\n"), // a queue could not be reached
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     tracing_subscriber::fmt().init();
//!     let runner = Runner::builder().keep_outcomes(10_000).build();
//!     let app = Router::new()
//!         .route("/mails", post(send))
//!         .route("/mails/{id}", delete(undo))
//!         .layer(DeferLayer::new(runner.clone()))
//!         .with_state(runner);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await
//! }
//! ```
//!
//! ```sh
//! id=$(curl -s -d ada@example.com http://127.0.0.1:3000/mails)
//! curl -X DELETE http://127.0.0.1:3000/mails/$id
//! ```
//!
//! ```text
//! cancelled
//! ```
//!
//! After five seconds the answer is `too late`. [`Runner::cancel`] also stops a job that is running, at its next `.await`; a job
//! that has to clean up waits for [`JobContext::cancelled`]. A delayed job in memory is lost if the process dies. With
//! `#[job(queue)]` it survives, and any process can cancel it.
//!
//! # Audit refused requests
//!
//! A middleware defers the audit job before it calls `next`. It runs outside authentication, so it sees requests that
//! authentication refuses, and inside the [`DeferLayer`], so the job belongs to the request. The job runs after the response and
//! knows its status. Authentication passes on the user with [`Defer::insert_extension`].
//!
//! ```no_run
//! use axum::{
//!     Router,
//!     extract::Request,
//!     http::{StatusCode, header::AUTHORIZATION},
//!     middleware::{Next, from_fn},
//!     response::{IntoResponse, Response},
//!     routing::get,
//! };
//! use defer_axum::{Defer, DeferLayer, JobContext, JobResult, job};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct User(String);
//!
//! #[job]
//! async fn write_audit(cx: &JobContext) -> JobResult {
//!     let request = cx.request().ok_or("deferred outside of a request")?;
//!     let response = cx.response().ok_or("deferred outside of a request")?;
//!     let user = cx.extension::<User>().map_or("nobody".to_owned(), |User(name)| name);
//!     println!("{} {} by {user}: {:?}", request.method(), request.uri().path(), response.status());
//!     Ok(())
//! }
//!
//! /// Comes before authentication, so it sees every request.
//! async fn audit(request: Request, next: Next) -> Response {
//!     write_audit::defer();
//!     next.run(request).await
//! }
//!
//! async fn authenticate(defer: Defer, request: Request, next: Next) -> Response {
//!     let token = request.headers().get(AUTHORIZATION).and_then(|token| token.to_str().ok());
//!     if token != Some("Bearer secret") {
//!         return StatusCode::UNAUTHORIZED.into_response();
//!     }
//!     defer.insert_extension(User("ada".to_owned())); // the audit job reads it
//!     next.run(request).await
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     tracing_subscriber::fmt().init();
//!     let app = Router::new()
//!         .route("/documents", get(|| async { "the plan\n" }))
//!         .layer(from_fn(authenticate)) // runs last
//!         .layer(from_fn(audit))
//!         .layer(DeferLayer::default()); // runs first
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await
//! }
//! ```
//!
//! ```sh
//! curl http://127.0.0.1:3000/documents
//! curl -H 'authorization: Bearer secret' http://127.0.0.1:3000/documents
//! ```
//!
//! The program prints:
//!
//! ```text
//! GET /documents by nobody: Some(401)
//! GET /documents by ada: Some(200)
//! ```
//!
//! Requests that time out or panic, or whose client leaves, are recorded as well. If a crash must not lose entries, make the
//! job durable with `#[job(queue)]`, as `examples/audit` does.
//!
//! # What it does not do
//!
//! | task | use |
//! |---|---|
//! | return a job's result to the handler | `.await` the work; or [follow the job](#progress-over-sse) from another request |
//! | run work that must start before the response, or that lives as long as the process | `tokio::spawn`, with a `TaskTracker` of `tokio-util` |
//! | run a cron schedule | `tokio-cron-scheduler` or a Kubernetes CronJob that [pushes a job][Jobs from a command]; for a schedule that the fleet shares, [the nightly report][A nightly report for the whole fleet] |
//! | run workflows of many steps, with timers and signals | a workflow engine, such as Temporal or Restate |
//! | run jobs by workers in other languages | River, to which [`defer-river`](super::queues) hands jobs; or another queue engine, such as Sidekiq or Celery; other languages can [store jobs](https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/pushing/#in-another-language) |
//! | send events to other services | a broker, such as Kafka, NATS or RabbitMQ |
//! | run a job exactly once | your own idempotency key: durable jobs run [at least once](super::retries#make-it-safe-to-run-twice) |
//! | keep jobs in MySQL or Redis | [`defer-apalis`](super::queues), with a storage of apalis; or implement [`Queue`](crate::queue::Queue) |
//! | spread one computation over all cores | `rayon`, in a [blocking](super::load#jobs-that-block) job |
//! | authenticate the users of the [dashboard](super::seeing#a-page) | your own middleware in front of it |
//!
//! [A nightly report for the whole fleet]: https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/recipes/#a-nightly-report-for-the-whole-fleet
//! [Jobs from a command]: https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/recipes/#jobs-from-a-command
//! [At a wall-clock time]: https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/recipes/#at-a-wall-clock-time
//! [Fan-out with a last job]: https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/recipes/#fan-out-with-a-last-job
//! [In another client's transaction]: https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/recipes/#in-another-clients-transaction
//! [Encrypted fields]: https://docs.rs/defer-sqlx/latest/defer_sqlx/guide/recipes/#encrypted-fields
//! [`JobError::snooze`]: crate::JobError::snooze
//! [`watch_sse`]: crate::watch_sse
//! [`Runner::cancel`]: crate::Runner::cancel
//! [`JobContext::cancelled`]: crate::JobContext::cancelled
//! [`DeferLayer`]: crate::DeferLayer
//! [`Defer::insert_extension`]: crate::Defer#method.insert_extension

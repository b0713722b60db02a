//! Run work after the response has been sent: mail, webhooks, audit logs, analytics.
//!
//! The [guide] has these chapters:
//!
//! - [First job](guide::first_job): run something after the response
//! - [State](guide::state): give jobs a database pool, their request and the response
//! - [Retries](guide::retries): attempts, backoff, timeouts
//! - [When a job starts](guide::sent): what "sent" means, and after which responses a job runs
//! - [Load](guide::load): how many jobs run, and what happens if there are too many
//! - [Shutdown](guide::shutdown): deploy without losing jobs, with Docker and Kubernetes
//! - [Durable jobs](guide#durable-jobs): survive a crash, with SQLite or Postgres
//! - [Queues](guide::queues): which queue keeps durable jobs: your database, River, apalis
//! - [Observability](guide::seeing): events, logs, traces, metrics, a dashboard
//! - [Testing](guide::testing): test what a handler defers
//! - [Production](guide::production): limits, ordering, duplicates, tenants, middleware, status
//! - [Recipes](guide::recipes): programs for common tasks, and [what is out of scope](guide::recipes#what-it-does-not-do)
//! - [Moving](guide::moving): from `tokio::spawn`, FastAPI or Laravel
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult};
//!
//! #[derive(Deferrable)]
//! #[defer(tries = 3, backoff = "500ms..30s", timeout = "10s")]
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
//!     SendWelcome::defer("ada@example.com");
//!     "check your mail"
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     tracing_subscriber::fmt().init(); // prints failures
//!     let app = Router::new()
//!         .route("/sign-up", post(sign_up))
//!         .layer(DeferLayer::default());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await
//! }
//! ```
//!
//! Handlers defer jobs and return. [`DeferLayer`] collects the jobs of each request. When the response is over, however it ended,
//! the layer's [`Runner`] runs them one after another. [`serve`](serve()) replaces `axum::serve` and makes "over" exact: jobs start
//! when the operating system has accepted the last byte of the response.
//!
//! Deferred jobs live in memory. Jobs of a `#[defer(queue)]` type are durable: the crate [`defer-sqlx`](https://docs.rs/defer-sqlx)
//! stores them in your own SQLite or Postgres before the client has its answer, so a crash does not lose them.
//!
//! # Logs and traces
//!
//! Each attempt of a job runs in a `tracing` span with the target `defer`: `run{job, id, attempt, request, request_id}`. The span
//! follows from the one that was current when the request first deferred a job or extracted [`Defer`]. It is not its child, so the
//! request's own duration does not change. Failures are logged at ERROR, retries and shed jobs at WARN. Job fields are never
//! logged. Without a `tracing` subscriber there are no spans; if `tracing`'s feature `log` is on, each record names the job
//! instead.
//!
//! With the feature `opentelemetry` and a `tracing-opentelemetry` layer, the job's span links to the request's span, even if that
//! span has ended or the job runs in another process: a durable job carries a `traceparent` (W3C Trace Context). Without the
//! feature, exporters drop the link if the request's span has ended. The attributes may change with OpenTelemetry's conventions,
//! which are not stable.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum-server` | [`serve::DeferAcceptor`]: the guarantee of [`serve`](serve()) under the crate `axum-server` |
//! | `dashboard` | [`Dashboard`]: a live page of the jobs |
//! | `http2` | HTTP/2 in [`serve`](serve()), with axum's feature of the same name |
//! | `metrics` | [`metrics`]: counters, gauges and histograms, through the `metrics` facade |
//! | `opentelemetry` | a link from a job's span to its request's, and attributes of OpenTelemetry's messaging conventions |
//! | `testing` | [`testing::Recorder`]: test what handlers defer; [`testing::check_queue`]: test a queue of your own |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "dashboard")]
pub mod dashboard;
pub mod guide;
pub mod middleware;
pub mod serve;
mod servers;
mod sse;

mod capture;
mod deadline;
mod extensions;
mod extract;
mod length;
mod outermost;
mod release;
#[cfg(feature = "metrics")]
pub use defer_core::metrics;
#[cfg(feature = "testing")]
pub mod testing;

pub use defer_core::{
    BatchJob, BoxError, BoxFuture, Cancel, Condition, DeferError, Deferrable, Deferred, Delivery,
    ExtensionError, GlobalRunnerExists, IntoJobError, IntoJobResult, InvalidJobId, Job, JobContext, JobError,
    JobId, JobResult, JobStatus, Load, MissingState, OpenJob, OpenState, Overflow, Policy, Progress,
    ProgressError, RequestInfo, ResponseInfo, Runner, RunnerBuilder, RunningJob, Scoped, ShutdownReport,
    Stats, UnfinishedJob, defer, defer_fn, event, queue, scope, try_defer, try_defer_fn,
};
pub use defer_macros::{Deferrable, job};

#[cfg(feature = "dashboard")]
pub use self::dashboard::Dashboard;
#[cfg(feature = "testing")]
pub use self::testing::Recorder;

pub use self::{
    extract::{Defer, MissingDeferLayer},
    middleware::DeferLayer,
    serve::serve,
    sse::watch_sse,
};

/// For the derive.
#[doc(hidden)]
pub mod __private {
    pub use defer_core::__private::*;
}

//! Run work after the response has been sent: mail, webhooks, audit logs, analytics.
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
//!     tracing_subscriber::fmt().init(); // prints what fails
//!     let app = Router::new()
//!         .route("/sign-up", post(sign_up))
//!         .layer(DeferLayer::default());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await
//! }
//! ```
//!
//! A handler defers jobs and returns. [`DeferLayer`] collects them. When the response is over, its [`Runner`] runs them, one
//! after another, however the response ended. [`serve`](serve()) serves an app as `axum::serve` does and makes "over"
//! exact: jobs start when the operating system has accepted the response's last byte.
//!
//! Deferred jobs live in memory. Those of a `#[defer(queue)]` type are durable: they are written to the service's own SQLite or
//! Postgres before the client has its answer, and a crash does not lose them. The crate
//! [`defer-sqlx`](https://docs.rs/defer-sqlx) does that.
//!
//! The [`guide`] has the features that you need in production: limits, ordering, tenants, failure hooks.
//!
//! # Logs and traces
//!
//! Each run of a job has a `tracing` span with the target `defer`: `job{name, id, attempt, request, request_id}`. It follows
//! from the span that was current when the request first used its list, by a deferral or by the extractor, and is not a part
//! of it: the request's own time stays its own. Failures are logged at level ERROR, and retries and shed jobs at level WARN. A job's fields are never logged.
//! Where nobody subscribes to `tracing` there is no span, and what its feature `log` writes names the job in each line.
//!
//! With the feature `opentelemetry` and a `tracing-opentelemetry` layer, the job's span has a link to the request's span even
//! if that has ended, or if the job runs in another process: a durable job carries a `traceparent` (W3C Trace Context). Without
//! the feature, an exporter drops the link if the request's span has ended. The attributes may change with OpenTelemetry's
//! conventions, which are not stable.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `dashboard` | [`Dashboard`]: a live page of the jobs |
//! | `http2` | HTTP/2 in [`serve`](serve()), with axum's feature of that name |
//! | `metrics` | [`metrics`]: counters, gauges and histograms of jobs, through the `metrics` facade |
//! | `opentelemetry` | a link from a job's span to its request's, and the attributes of OpenTelemetry's messaging conventions |
//! | `testing` | [`testing::Recorder`]: test what was deferred; [`testing::check_queue`]: check a queue of your own |

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
    JobId, JobResult, JobStatus, Load, MissingState, Overflow, Policy, Progress, ProgressError, RequestInfo,
    ResponseInfo, Runner, RunnerBuilder, RunningJob, Scoped, ShutdownReport, Stats, UnfinishedJob, defer,
    defer_fn, event, queue, scope, try_defer, try_defer_fn,
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

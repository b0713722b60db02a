//! Observability: events, logs, traces, metrics, a page, and the status of one job.
//!
//! ```sh
//! cargo add defer-axum tracing
//! cargo add tokio --features full
//! cargo add tracing-subscriber --features env-filter
//! ```
//!
//! ```
//! use defer_axum::{Deferrable, Job, JobContext, JobError, event::JobEventKind, JobResult, Runner, scope};
//! use tracing_subscriber::EnvFilter;
//!
//! #[derive(Deferrable)]
//! #[defer(tries = 2, backoff = "50ms")]
//! struct CallPartner;
//!
//! impl Job for CallPartner {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         tracing::info!("calling the partner");
//!         Err(JobError::msg("no answer"))
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() {
//!     tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).without_time().init();
//!     let runner = Runner::builder()
//!         .keep_outcomes(10_000)
//!         .on_event(|event| match event.kind() {
//!             JobEventKind::Failed { error, .. } => println!("alarm: {} failed: {error}", event.name()),
//!             JobEventKind::Started => println!("{}, attempt {}", event.name(), event.attempt()),
//!             _ => {}
//!         })
//!         .build();
//!
//!     let id = scope(&runner, async { CallPartner::defer().id() }).await;
//!     runner.idle().await;
//!     println!("{:?}", runner.status(id).await);
//! }
//! ```
//!
//! ```sh
//! RUST_LOG=info,defer=debug cargo run
//! ```
//!
//! ```text
//! CallPartner, attempt 1
//!  INFO run{job="CallPartner" id=01M8BVKHMHZVJ95B0S00000001 attempt=1}: hello_jobs: calling the partner
//!  WARN run{job="CallPartner" id=01M8BVKHMHZVJ95B0S00000001 attempt=1}: defer: job failed, trying again error=no answer delay=50ms
//! CallPartner, attempt 2
//!  INFO run{job="CallPartner" id=01M8BVKHMHZVJ95B0S00000001 attempt=2}: hello_jobs: calling the partner
//! ERROR run{job="CallPartner" id=01M8BVKHMHZVJ95B0S00000001 attempt=2}: defer: job failed error=no answer elapsed=180.678µs
//! alarm: CallPartner failed: no answer
//! Some(Failed { error: "no answer" })
//! ```
//!
//! # Events
//!
//! [`on_event`] is called at each step of each job, on the thread where the step happens: count or send there, but do not block.
//! [`JobEventKind`] lists the steps. An event has the job's name, id, attempt and route, how long the job waited, and how the
//! response ended. It has none of the job's fields, which may contain addresses and tokens.
//!
//! # Logs
//!
//! | level | what |
//! |---|---|
//! | ERROR | failed, panicked, timed out, abandoned |
//! | WARN | retried, shed, not taken by the queue, durable on a runner without a queue, blocking its thread, deferred outside a request |
//! | DEBUG | done, skipped, queued, cancelled, snoozed |
//!
//! All lines have the target `defer`: `RUST_LOG=info` shows the first two rows, `RUST_LOG=info,defer=debug` shows all.
//!
//! Every line names its job and its request. These come from the span described below. If that span is filtered out, as in a
//! service that only logs `warn` and above, the line itself has the fields `job`, `id`, `attempt`, `request` and `request_id`.
//! The error of a panic begins with its place in the source: `panicked at src/mail.rs:17:9: ...`. Control characters in errors
//! are escaped, so that text from a client cannot end a line or color the next one. An abandoned job was stopped at the deadline
//! of a shutdown: give it [more time](crate::serve::WithGracefulShutdown::drain_timeout), or make it durable.
//!
//! # Traces
//!
//! Each attempt has a span `run` at the level INFO, which contains your own log lines. Its fields are the job's name as `job`,
//! its `id`, the `attempt`, `request` (such as `POST /sign-up`) and, if the layer
//! [captures](crate::DeferLayer::capture_request_headers) the header `x-request-id`, `request_id`. The span follows from the
//! request's span and is not a part of it, so the request's duration does not change. A filter that excludes `info` of the target
//! `defer`, such as `defer=warn`, also excludes the spans.
//!
//! With the feature `opentelemetry`, the span links to the request's span, even if that has ended or is in another process. Set
//! up `tracing-opentelemetry` as you would without jobs:
//!
//! ```sh
//! cargo add defer-axum --features opentelemetry
//! cargo add opentelemetry opentelemetry_sdk tracing-opentelemetry # and an exporter, such as opentelemetry-otlp
//! ```
//!
//! ```
//! use opentelemetry::trace::TracerProvider;
//! use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter};
//! use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};
//!
//! /// Shut the provider down at the end of `main`, or the last spans are lost.
//! fn send_spans_to(exporter: impl SpanExporter + 'static) -> SdkTracerProvider {
//!     let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
//!     tracing_subscriber::registry()
//!         .with(EnvFilter::new("info"))
//!         .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("my-service")))
//!         .init();
//!     provider
//! }
//! ```
//!
//! Each job has its own trace, named `process` followed by the job's name. The sampler decides about it separately, so it may
//! keep a request's trace and drop those of its jobs. If your sampler follows the parent, use `RunnerBuilder::child_spans` to
//! make the spans children of the request's span. A request is then kept with all of its jobs or not at all, and its trace lasts
//! as long as they do. The name and status for OpenTelemetry are set on its own span, so they do not appear in log lines. The
//! span's kind is *internal*.
//!
//! # Metrics
//!
//! The feature `metrics` counts and times jobs through the facade of that name. This program answers Prometheus:
//!
//! ```sh
//! cargo add axum
//! cargo add defer-axum --features metrics
//! cargo add metrics-exporter-prometheus --no-default-features
//! ```
//!
#![cfg_attr(feature = "metrics", doc = "```no_run")]
#![cfg_attr(not(feature = "metrics"), doc = "```text")]
//! use axum::{Router, routing::get};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner, metrics};
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//!
//! #[derive(Deferrable)]
//! struct WarmCache;
//!
//! impl Job for WarmCache {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Before the first runner.
//!     let exporter = PrometheusBuilder::new()
//!         .set_buckets_for_metric(Matcher::Prefix("defer_job_".into()), &metrics::BUCKETS)?
//!         .install_recorder()?;
//!
//!     let runner = Runner::default();
//!     let measured = runner.clone();
//!     let app = Router::new()
//!         .route("/", get(|| async { WarmCache::defer(); }))
//!         .route("/metrics", get(move || async move {
//!             metrics::record_gauges([&measured]).await;
//!             exporter.run_upkeep();
//!             exporter.render()
//!         }))
//!         .layer(DeferLayer::new(runner.clone()));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! ```sh
//! curl http://127.0.0.1:3000/
//! curl -s http://127.0.0.1:3000/metrics | grep ^defer_jobs
//! ```
//!
//! ```text
//! defer_jobs_total{name="WarmCache",outcome="succeeded"} 1
//! ...
//! ```
//!
//! | question | metric |
//! |---|---|
//! | How do jobs and attempts end? | `defer_jobs_total{name, outcome}`, `defer_job_attempts_total{name, outcome}` |
//! | How long do they run, and wait? | `defer_job_run_seconds{name}`, `defer_job_wait_seconds{name}` |
//! | How full is this process? | `defer_jobs_running`, `defer_jobs_max_running`, `defer_jobs_pending`, `defer_oldest_pending_seconds` |
//! | Does a job block its thread? | `defer_jobs_stuck_total` |
//! | How long is the queue, and who works on it? | `defer_queue_jobs{name, state}`, `defer_queue_oldest_due_seconds{name}`, `defer_queue_workers` |
//! | Is the queue unreachable? | `defer_queue_failures_total` |
//!
//! The module [`metrics`](crate::metrics) describes each of them. A series that first appears with a failure has no increase for an alert
//! to see. To have all series of a job type exist from the start, as zero, register it with
//! [`RunnerBuilder::job`](crate::RunnerBuilder::job). A worker's types are registered already.
//!
//! # Alerts
//!
//! Rules for Prometheus to start from. Adjust the thresholds to your jobs, and leave out the queue's rules if you have none:
//!
#![doc = concat!("```yaml\n", include_str!("alerts.yml"), "```")]
//!
//! # A page
//!
//! The feature `dashboard` adds a live page to nest behind your own authentication. It shows whether the queue is healthy, which
//! jobs fail, since when and why, which jobs are running and which come next, and the last day. It finds a job by its id or by
//! its request's id. Once you [enable actions](crate::Dashboard::enable_actions), operators can retry and discard failed jobs,
//! one or a group, cancel jobs, and pause and resume types. Each action is logged with the name of the
//! [`Operator`](crate::dashboard::Operator). See [`dashboard`](crate::dashboard).
//!
//! # One job
//!
//! [`Runner::status`] returns the status of a job by its [id](crate::Deferred::id), if the runner [keeps
//! outcomes][`keep_outcomes`]. For durable jobs, it asks the queue, which also knows the jobs of other processes. A client can
//! [ask for it](super::production#job-status).
//!
//! [`on_event`]: crate::RunnerBuilder::on_event
//! [`JobEventKind`]: crate::event::JobEventKind
//! [`Runner::status`]: crate::Runner::status
//! [`keep_outcomes`]: crate::RunnerBuilder::keep_outcomes

//! Tests the data that OpenTelemetry gets about jobs. This is a separate crate because its features add fields to the spans
//! of all others.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::{Arc, Mutex};

use axum::{Router, routing::get};
use defer_axum::{
    BoxError, BoxFuture, DeferLayer, Deferrable, Job, JobContext, JobError, JobResult, Runner,
    queue::{Envelope, Queue, Ran, Resume},
};
use defer_tests::{By, Tcp};
use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tower_http::trace::TraceLayer;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

/// Fails once. Waits for its turn before each attempt.
#[derive(Deferrable)]
#[defer(tries = 2, backoff = "1ms")]
struct SendWelcome {
    to: String,
}

impl Job for SendWelcome {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Arc<Semaphore>>()?.acquire().await?.forget();
        assert!(self.to.contains('@'));
        if cx.attempt() == 1 { Err(JobError::msg("no such host")) } else { Ok(()) }
    }
}

#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
struct Queued;

impl Job for Queued {
    async fn run(&self, _: &JobContext) -> JobResult {
        Parted::defer();
        Err(JobError::msg("no such host"))
    }
}

/// Deferred by a queued job.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
struct Parted;

impl Job for Parted {
    async fn run(&self, _: &JobContext) -> JobResult {
        panic!("on purpose")
    }
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Envelope>>>);

impl Queue for Memory {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            self.0.lock().unwrap().extend(jobs);
            Ok(())
        })
    }
}

/// A provider that exports each span when it ends.
struct Traces {
    exporter: InMemorySpanExporter,
    _provider: SdkTracerProvider,
    _default: DefaultGuard,
}

impl Traces {
    fn start() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        Self { exporter, _provider: provider, _default: default }
    }

    fn named(&self, name: &str) -> Vec<SpanData> {
        let spans = self.exporter.get_finished_spans().unwrap();
        spans.into_iter().filter(|span| span.name == name).collect()
    }

    async fn until(&self, name: &str, count: usize) -> Vec<SpanData> {
        loop {
            let spans = self.named(name);
            if spans.len() >= count {
                return spans;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string())
}

fn assert_linked(job: &SpanData, request: &SpanData) {
    assert_eq!(job.links.len(), 1, "{job:?}");
    let link = &job.links[0].span_context;
    assert_eq!(link.trace_id(), request.span_context.trace_id());
    assert_eq!(link.span_id(), request.span_context.span_id());
    assert_ne!(
        job.span_context.trace_id(),
        request.span_context.trace_id(),
        "the job has a trace of its own"
    );
}

#[tokio::test]
async fn a_job_s_span_is_linked_to_its_request_s_which_has_ended_before() {
    for by in By::BOTH {
        for trace_is_outside in [true, false] {
            let traces = Traces::start();
            let turns = Arc::new(Semaphore::new(0));
            let runner = Runner::builder().state(turns.clone()).build();
            let routes =
                Router::new().route("/hello", get(async || drop(SendWelcome::defer("ada@example.com"))));
            let (defer, trace) = (DeferLayer::new(runner.clone()), TraceLayer::new_for_http());
            let app = if trace_is_outside {
                routes.layer(defer).layer(trace)
            } else {
                routes.layer(trace).layer(defer)
            };
            let server = by.serve_app(app, &runner).await;
            assert_eq!(Tcp::connect(server.addr).await.get("/hello").await.status, 200);
            // The request's span ends while the job is waiting.
            let request = traces.until("request", 1).await.remove(0);
            assert!(traces.named("process SendWelcome").is_empty());
            turns.add_permits(2);
            let jobs = traces.until("process SendWelcome", 2).await;
            for job in &jobs {
                assert_linked(job, &request);
                assert_eq!(attribute(job, "messaging.system").as_deref(), Some("defer"));
                assert_eq!(attribute(job, "messaging.operation.type").as_deref(), Some("process"));
                assert_eq!(attribute(job, "messaging.destination.name").as_deref(), Some("SendWelcome"));
                assert_eq!(attribute(job, "messaging.message.id"), attribute(job, "id"));
                assert_eq!(attribute(job, "request").as_deref(), Some("GET /hello"));
                let all = format!("{job:?}");
                assert!(!all.contains("ada@example.com"), "a job's field: {all}");
            }
            let errors: Vec<_> = jobs.iter().map(|job| attribute(job, "error.type")).collect();
            assert_eq!(errors, [Some("failed".to_owned()), None]);
            assert_eq!(jobs[0].status, Status::error("no such host"));
            assert_eq!(jobs[1].status, Status::Unset);
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_queued_job_takes_its_request_s_trace_along_and_so_do_the_jobs_that_it_defers() {
    let traces = Traces::start();
    let queue = Memory::default();
    let runner = Runner::builder().queue(queue.clone()).build();
    let routes = Router::new().route("/hello", get(async || drop(Queued::defer())));
    let app = routes.layer(DeferLayer::new(runner.clone())).layer(TraceLayer::new_for_http());
    let server = By::Defer.serve_app(app, &runner).await;
    assert_eq!(Tcp::connect(server.addr).await.get("/hello").await.status, 200);
    let request = traces.until("request", 1).await.remove(0);
    let context = &request.span_context;
    let parent = format!("00-{}-{}-01", context.trace_id(), context.span_id());
    let take = || queue.0.lock().unwrap().remove(0);
    let resume = async |envelope: &Envelope| {
        assert_eq!(envelope.metadata["traceparent"], parent);
        let resume = Resume::new(envelope.id, 0, envelope.metadata.clone());
        // A job does not originate in a worker's span.
        let _worker = tracing::info_span!("worker").entered();
        if envelope.name == "Queued" { runner.resume(Queued, resume) } else { runner.resume(Parted, resume) }
    };
    for (name, kind) in [("Queued", "failed"), ("Parted", "panicked")] {
        let envelope = take();
        assert_eq!(envelope.name, name);
        assert!(matches!(resume(&envelope).await.unwrap().ran().await, Ran::Failed { .. }));
        let job = traces.until(&format!("process {name}"), 1).await.remove(0);
        assert_linked(&job, &request);
        assert!(job.links[0].span_context.is_remote());
        assert_eq!(attribute(&job, "error.type").as_deref(), Some(kind));
        assert!(matches!(job.status, Status::Error { .. }));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_job_s_span_is_a_part_of_its_request_s_trace_where_that_is_wanted() {
    let traces = Traces::start();
    let (queue, turns) = (Memory::default(), Arc::new(Semaphore::new(2)));
    let runner = Runner::builder().state(turns).queue(queue.clone()).child_spans().build();
    let routes = Router::new().route(
        "/hello",
        get(async || {
            SendWelcome::defer("ada@example.com");
            Queued::defer();
        }),
    );
    let app = routes.layer(DeferLayer::new(runner.clone())).layer(TraceLayer::new_for_http());
    let server = By::Defer.serve_app(app, &runner).await;
    assert_eq!(Tcp::connect(server.addr).await.get("/hello").await.status, 200);
    let request = traces.until("request", 1).await.remove(0);
    let mut jobs = traces.until("process SendWelcome", 2).await;
    let envelope = queue.0.lock().unwrap().remove(0);
    let resume = Resume::new(envelope.id, 0, envelope.metadata);
    drop(runner.resume(Queued, resume).unwrap().ran().await);
    jobs.extend(traces.until("process Queued", 1).await);
    for job in jobs {
        assert_eq!(job.span_context.trace_id(), request.span_context.trace_id());
        assert_eq!(job.parent_span_id, request.span_context.span_id());
        assert!(job.links.is_empty(), "{job:?}");
    }
    server.stop().await;
}

/// Otherwise every log line would carry these fields.
#[tokio::test]
async fn what_only_opentelemetry_needs_is_no_field_of_the_span() {
    let (traced, logging) = defer_tests::Traced::start(tracing::Level::INFO);
    let runner = Runner::builder().state(Arc::new(Semaphore::new(2))).build();
    defer_axum::scope(&runner, async { drop(SendWelcome::defer("ada@example.com")) }).await;
    runner.idle().await;
    drop(logging);
    let text = traced.text();
    assert!(text.contains(r#"run{job="SendWelcome" id="#), "{text}");
    assert!(!text.contains("otel.") && !text.contains("messaging."), "{text}");
}

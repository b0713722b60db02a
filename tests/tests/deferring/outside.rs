//! Deferring outside a request.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    routing::get,
};
use defer_axum::{
    Defer, DeferError, DeferLayer, Deferrable, Job, JobContext, JobResult, Runner, defer, defer_fn,
    try_defer, try_defer_fn,
};
use defer_tests::{By, Tcp, Traced};
use tokio::sync::mpsc;

/// Reports what it was told.
#[derive(Deferrable)]
struct Orphan {
    told: mpsc::UnboundedSender<String>,
}

impl Job for Orphan {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let told = format!("{} {}", cx.request().is_some(), cx.response().is_some());
        self.told.send(told).expect("the test waits");
        Ok(())
    }
}

fn orphan() -> (Orphan, mpsc::UnboundedReceiver<String>) {
    let (told, tells) = mpsc::unbounded_channel();
    (Orphan { told }, tells)
}

/// Returns the only warning in the log.
fn warning(logged: &Traced) -> String {
    let text = logged.text();
    let mut warnings = text.lines().filter(|line| line.contains(" WARN "));
    let warning = warnings.next().unwrap_or_else(|| panic!("no warning: {text}"));
    assert_eq!(warnings.next(), None, "there is one warning");
    warning.to_owned()
}

#[test]
fn outside_of_tokio_try_defer_returns_an_error() {
    assert!(matches!(try_defer(orphan().0), Err(DeferError::NoRuntime)));
    assert!(matches!(Orphan::try_defer(orphan().0.told), Err(DeferError::NoRuntime)));
    assert!(matches!(try_defer_fn(|_| async {}), Err(DeferError::NoRuntime)));
    assert!(Defer::current().is_none());
}

#[test]
fn outside_of_tokio_defer_panics_with_the_text_of_the_error() {
    let panics: [fn(); 3] = [
        || drop(defer(orphan().0)),
        || drop(Orphan::defer(orphan().0.told)),
        || drop(defer_fn(|_| async {})),
    ];
    for panics in panics {
        let panic = std::panic::catch_unwind(panics).expect_err("it panics");
        let text = panic.downcast_ref::<String>().expect("a text");
        assert_eq!(*text, DeferError::NoRuntime.to_string());
        assert!(text.contains("no Tokio runtime"), "{text}");
    }
}

#[tokio::test]
async fn outside_of_a_request_a_job_runs_at_once_with_a_warning() {
    let (logged, _logging) = Traced::start(tracing::Level::INFO);
    let (job, mut tells) = orphan();
    let deferred = try_defer(job).expect("there is a runtime");
    assert_eq!(tells.recv().await.expect("the job runs"), "false false");
    assert!(!deferred.cancel());
    let warning = warning(&logged);
    assert!(warning.contains("Orphan"), "{warning}");
    assert!(warning.contains("`DeferLayer`"), "{warning}");
    assert!(warning.contains("`Defer::scope`"), "{warning}");
    assert!(warning.contains("at once"), "{warning}");
}

#[tokio::test]
async fn outside_of_a_request_a_closure_runs_at_once_with_a_warning() {
    let (logged, _logging) = Traced::start(tracing::Level::INFO);
    let (job, mut tells) = orphan();
    defer_fn(move |cx| async move { job.run(&cx).await });
    assert_eq!(tells.recv().await.expect("the job runs"), "false false");
    let warning = warning(&logged);
    let here = "a_closure_runs_at_once";
    assert!(warning.contains(here), "a closure is named after its function: {warning}");
    assert!(warning.contains("`DeferLayer`"), "{warning}");
}

#[tokio::test]
async fn a_task_without_the_scope_is_outside_of_the_request() {
    let (logged, _logging) = Traced::start(tracing::Level::INFO);
    for by in By::BOTH {
        let (job, mut tells) = orphan();
        let job = Arc::new(Mutex::new(Some(job)));
        let handler = async move || {
            let job = job.lock().expect("no panic").take().expect("one request");
            let task = tokio::spawn(async { drop(defer(job)) });
            task.await.expect("the task does not panic");
            "hello"
        };
        let runner = Runner::default();
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.text(), "hello", "{by:?}");
        assert_eq!(tells.recv().await.expect("the job runs"), "false false", "{by:?}");
        assert_eq!(runner.stats().deferred, 0, "{by:?}: it is not the layer's runner that runs it");
        let warning = warning(&logged);
        assert!(warning.contains("Orphan") && warning.contains("`DeferLayer`"), "{by:?} {warning}");
        logged.clear();
    }
}

#[tokio::test]
async fn a_middleware_that_wraps_the_layer_is_outside_of_the_request_and_the_warning_says_so() {
    let (logged, _logging) = Traced::start(tracing::Level::INFO);
    let (job, mut tells) = orphan();
    let told = job.told;
    let defers = from_fn(move |request: Request, next: Next| {
        Orphan::defer(told.clone());
        next.run(request)
    });
    let runner = Runner::default();
    let app =
        Router::new().route("/", get(async || "hello")).layer(DeferLayer::new(runner.clone())).layer(defers);
    let server = By::Defer.serve_app(app, &runner).await;
    assert_eq!(Tcp::connect(server.addr).await.get("/").await.text(), "hello");
    assert_eq!(tells.recv().await.expect("the job runs"), "false false");
    let warning = warning(&logged);
    assert!(warning.contains("Orphan") && warning.contains("wraps the layer has no scope"), "{warning}");
}

#[tokio::test]
async fn a_handler_without_the_layer_still_gets_its_jobs_run() {
    let (logged, _logging) = Traced::start(tracing::Level::INFO);
    for by in By::BOTH {
        let (job, mut tells) = orphan();
        let told = job.told;
        let handler = async move || {
            Orphan::defer(told);
            "hello"
        };
        let app = Router::new().route("/", get(handler));
        let server = by.serve_app(app, &Runner::default()).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.text(), "hello", "{by:?}");
        assert_eq!(tells.recv().await.expect("the job runs"), "false false", "{by:?}");
        let warning = warning(&logged);
        assert!(warning.contains("Orphan") && warning.contains("`DeferLayer`"), "{by:?} {warning}");
        logged.clear();
    }
}

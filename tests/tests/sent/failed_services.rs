//! Errors of the service inside a layer that an outer layer turns into an answer.

use std::time::Duration;

use axum::{BoxError, Router, error_handling::HandleErrorLayer, routing::get};
use defer_axum::{DeferLayer, Runner, defer_fn};
use defer_tests::{By, Log, NoteEnding, Tcp, Wire, WireListener, http1_ends, runner};
use http::StatusCode;
use tower::{ServiceBuilder, timeout::TimeoutLayer};

use defer_tests::in_time;

const PAGE: usize = 4 * 1024 * 1024;

/// A handler that takes too long, with a layer between the timeout and the error page.
fn app(runner: &Runner, defers: fn()) -> Router {
    let handler = async move || {
        defers();
        std::future::pending::<()>().await;
    };
    let page = async |error: BoxError| {
        assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
        (StatusCode::GATEWAY_TIMEOUT, vec![b'x'; PAGE])
    };
    let layers = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(page))
        .layer(DeferLayer::new(runner.clone()))
        .layer(TimeoutLayer::new(Duration::from_millis(10)));
    Router::new().route("/", get(handler)).layer(layers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_for_the_whole_page_that_says_that_its_handler_failed() {
    let (wire, log) = (Wire::new(), Log::new());
    let runner = Runner::builder().state(wire.clone()).state(log.clone()).build();
    let app = app(&runner, || {
        defer_fn(|cx| async move {
            let accepted = cx.state::<Wire>()?.len();
            let response = cx.response().expect("a request's job");
            let status = response.status().map_or(0, |status| status.as_u16());
            let line = format!("{:?} {status} {} {accepted}", response.delivery(), response.bytes_sent());
            cx.state::<Log>()?.add(line);
            Ok(())
        });
    });
    let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner);
    let mut client = Tcp::connect(server.addr).await;
    client.send_get("/").await;
    in_time(wire.blocked()).await;
    assert_eq!(log.lines(), [""; 0], "a job started while the page was stuck");
    assert!(wire.len() < PAGE, "the socket's buffers took everything: nothing is shown");
    let reply = client.reply("GET").await;
    assert_eq!((reply.status, reply.body.len()), (504, PAGE));
    let lines = log.wait_for(1).await;
    let accepted = wire.len();
    assert_eq!(lines, [format!("Sent 504 {PAGE} {accepted}")]);
    assert_eq!(http1_ends(&wire.accepted()), [accepted]);
}

#[tokio::test]
async fn a_handler_that_a_limit_within_the_layer_stopped_was_cancelled_where_the_page_cannot_be_seen() {
    let log = Log::new();
    let runner = runner(&log);
    let app = app(&runner, || drop(NoteEnding::defer()));
    let server = By::Axum.serve_app(app, &runner).await;
    let reply = Tcp::connect(server.addr).await.get("/").await;
    assert_eq!((reply.status, reply.body.len()), (504, PAGE));
    assert_eq!(log.wait_for(1).await, ["Cancelled 0 0"]);
}

//! A deferred job runs however the response ends, and the other jobs run however a job ends.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    response::Response,
    routing::{get, post},
};
use defer_axum::{DeferLayer, JobContext, Runner, defer_fn, event::JobEventKind};
use defer_tests::{By, Feed, Log, Note, NoteEnding, Tcp, runner};
use http::StatusCode;
use tokio::sync::Notify;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use crate::{hello, other};

async fn panics() -> Response {
    NoteEnding::defer();
    tokio::task::yield_now().await;
    panic!("the handler's panic");
}

async fn takes_for_ever() -> Response {
    NoteEnding::defer();
    pending().await
}

fn time_limit() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_millis(10))
}

#[tokio::test]
async fn jobs_of_error_responses_run() {
    async fn status(status: StatusCode) -> StatusCode {
        NoteEnding::defer();
        status
    }
    for by in By::BOTH {
        let log = Log::new();
        let routes = Router::new()
            .route("/teapot", post(hello))
            .route("/error", get(|| status(StatusCode::INTERNAL_SERVER_ERROR)))
            .fallback(|| status(StatusCode::NOT_FOUND));
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        assert_eq!(client.get("/error").await.status, 500);
        log.wait_for(1).await;
        assert_eq!(client.get("/nothing").await.status, 404);
        let whole = by.whole();
        assert_eq!(log.wait_for(2).await, [format!("{whole:?} 500 0"), format!("{whole:?} 404 0")], "{by:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_handler_works_cancels_it_and_the_jobs_run() {
    for by in By::BOTH {
        let (log, started) = (Log::new(), Arc::new(Notify::new()));
        let starts = started.clone();
        let handler = async move || {
            starts.notify_one();
            takes_for_ever().await
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        started.notified().await;
        drop(client);
        assert_eq!(log.wait_for(1).await, ["Cancelled 0 0"], "{by:?}");
    }
}

#[tokio::test]
async fn jobs_of_a_handler_that_panics_run_and_the_server_goes_on() {
    for by in By::BOTH {
        let log = Log::new();
        let routes = Router::new().route("/", get(panics)).route("/other", get(other));
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        assert!(!client.fill().await, "{by:?}: the connection ends without a response");
        assert_eq!(log.wait_for(1).await, ["Panicked 0 0"], "{by:?}");
        Tcp::connect(server.addr).await.get("/other").await;
        assert_eq!(log.wait_for(2).await[1], "other", "{by:?}");
    }
}

#[tokio::test]
async fn a_panic_that_is_caught_outside_of_the_layer_is_a_panic() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let app = Router::new()
            .route("/", get(panics))
            .layer(DeferLayer::new(runner.clone()))
            .layer(CatchPanicLayer::new());
        let server = by.serve_app(app, &runner).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.status, 500);
        assert_eq!(log.wait_for(1).await, ["Panicked 0 0"], "{by:?}");
    }
}

#[tokio::test]
async fn a_panic_that_is_caught_inside_of_the_layer_is_a_response() {
    for by in By::BOTH {
        let log = Log::new();
        let routes = Router::new().route("/", get(panics)).layer(CatchPanicLayer::new());
        let server = by.serve(routes, &runner(&log)).await;
        let reply = Tcp::connect(server.addr).await.get("/").await;
        assert_eq!(reply.status, 500);
        let expected = format!("{:?} 500 {}", by.whole(), reply.body.len());
        assert_eq!(log.wait_for(1).await, [expected], "{by:?}");
    }
}

#[tokio::test]
async fn a_time_limit_outside_of_the_layer_cancels_the_handler() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let app = Router::new()
            .route("/", get(takes_for_ever))
            .layer(DeferLayer::new(runner.clone()))
            .layer(time_limit());
        let server = by.serve_app(app, &runner).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.status, 408);
        assert_eq!(log.wait_for(1).await, ["Cancelled 0 0"], "{by:?}");
    }
}

#[tokio::test]
async fn a_time_limit_inside_of_the_layer_makes_a_response() {
    for by in By::BOTH {
        let log = Log::new();
        let routes = Router::new().route("/", get(takes_for_ever)).layer(time_limit());
        let server = by.serve(routes, &runner(&log)).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.status, 408);
        assert_eq!(log.wait_for(1).await, [format!("{:?} 408 0", by.whole())], "{by:?}");
    }
}

#[tokio::test]
async fn jobs_of_a_body_that_fails_run() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let handler = async move || {
            NoteEnding::defer();
            body.take()
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        feed.send("hello");
        client.send_get("/").await;
        client.read_until("hello").await;
        feed.fail();
        assert_eq!(log.wait_for(1).await, ["Failed 200 5"], "{by:?}");
        while client.fill().await {}
        assert!(!client.has("0\r\n\r\n"), "{by:?}: the client can tell that there is something missing");
    }
}

#[tokio::test]
async fn jobs_of_a_client_that_leaves_within_the_body_run() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let handler = async move || {
            NoteEnding::defer();
            body.take()
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        feed.send("hello");
        client.send_get("/").await;
        client.read_until("hello").await;
        drop(client);
        feed.dropped().await;
        assert_eq!(log.wait_for(1).await, ["Disconnected 200 5"], "{by:?}");
    }
}

/// hyper calls no handler if it learns that the client has left while it reads the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_client_that_leaves_as_soon_as_its_request_is_handled_run_once() {
    for by in By::BOTH {
        let (log, handled) = (Log::new(), Arc::new(Notify::new()));
        let runner = runner(&log);
        let tells = handled.clone();
        let handler = async move || {
            tells.notify_one();
            other().await;
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        for clients in 1..=20 {
            let mut client = Tcp::connect(server.addr).await;
            client.send_get("/").await;
            handled.notified().await;
            drop(client);
            log.wait_for(clients).await;
        }
        runner.idle().await;
        assert_eq!(log.lines().len(), 20, "{by:?}");
        assert_eq!(runner.stats().deferred, 20, "{by:?}");
    }
}

#[tokio::test]
async fn a_job_that_panics_stops_nothing() {
    async fn panics(_: JobContext) {
        panic!("the job's panic");
    }
    async fn handler() {
        Note::defer("before");
        defer_fn(panics);
        defer_fn(|_| {
            let panics = true;
            assert!(!panics, "even before its future is there");
            async {}
        });
        Note::defer("after");
    }
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let routes = Router::new().route("/", get(handler)).route("/other", get(other));
        let server = by.serve(routes, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/").await;
        assert_eq!(log.wait_for(2).await, ["before", "after"], "{by:?}");
        client.get("/other").await;
        assert_eq!(log.wait_for(3).await[2], "other", "{by:?}");
        runner.idle().await;
        assert_eq!((runner.stats().succeeded, runner.stats().failed), (3, 2), "{by:?}");
    }
}

#[tokio::test]
async fn a_job_without_its_state_fails_with_the_name_of_the_type() {
    struct Mailer;
    async fn handler() {
        defer_fn(|cx| async move {
            let _: &Mailer = cx.state()?;
            Ok(())
        });
        Note::defer("the next job");
    }
    for by in By::BOTH {
        let log = Log::new();
        let failures = Arc::new(Mutex::new(Vec::new()));
        let seen = failures.clone();
        let runner = Runner::builder().state(log.clone()).on_event(move |event| {
            if let JobEventKind::Failed { error, .. } = event.kind() {
                seen.lock().expect("no panic").push(error.to_string());
            }
        });
        let runner = runner.build();
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        Tcp::connect(server.addr).await.get("/").await;
        assert_eq!(log.wait_for(1).await, ["the next job"], "{by:?}");
        let failures = failures.lock().expect("no panic");
        assert_eq!(failures.len(), 1, "{by:?}");
        assert!(failures[0].contains(std::any::type_name::<Mailer>()), "{by:?} {failures:?}");
        assert!(failures[0].contains("Runner::builder().state"), "{by:?} {failures:?}");
    }
}

//! Requests within requests: each job sees its own response, and waits for no other.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use defer_axum::{DeferLayer, Runner, defer_fn};
use defer_tests::{By, Feed, Log, Note, NoteEnding, Tcp, runner};
use http::StatusCode;
use tokio_stream::StreamExt;
use tower::ServiceExt;

use defer_tests::{all_have_run, ask, in_time, read};

const LARGE: usize = 1_000_000;

/// Defers a job that logs how its response ended, and whether that was a success.
fn defer_report(name: &'static str) {
    defer_fn(move |cx| async move {
        let response = cx.response().expect("a request's job");
        let status = response.status().map_or(0, |status| status.as_u16());
        let (delivery, success) = (response.delivery(), response.is_success());
        cx.state::<Log>()?.add(format!("{name}: {delivery:?} {status} {success}"));
        Ok(())
    });
}

/// The app that is called within this process.
fn inner(runner: &Runner) -> Router {
    let error = async || {
        defer_report("error");
        (StatusCode::INTERNAL_SERVER_ERROR, "oops")
    };
    let hello = async || {
        NoteEnding::defer();
        "hello"
    };
    let large = async || {
        NoteEnding::defer();
        vec![b'x'; LARGE]
    };
    let chunked = async || {
        NoteEnding::defer();
        let chunk = Bytes::from(vec![b'x'; LARGE / 10]);
        Body::from_stream(tokio_stream::iter(vec![Ok::<_, Infallible>(chunk); 10]))
    };
    let empty = async || {
        NoteEnding::defer();
        StatusCode::NO_CONTENT
    };
    Router::new()
        .route("/error", get(error))
        .route("/hello", get(hello))
        .route("/large", get(large))
        .route("/chunked", get(chunked))
        .route("/empty", get(empty))
        .layer(DeferLayer::new(runner.clone()))
}

#[tokio::test]
async fn a_job_of_a_request_in_this_process_is_told_of_its_own_response_and_runs_before_the_outer_one_ends() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let runner = runner(&log);
        let inner = inner(&runner);
        let handler = async move || {
            defer_report("outer");
            assert_eq!(read(ask(&inner, "/error").await).await, 4);
            body.take()
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        assert_eq!(client.reply("HEAD").await.status, 200);
        assert_eq!(log.wait_for(1).await, ["error: Finished 500 false"], "{by:?}");
        drop(feed);
        assert_eq!(client.exactly(5).await, b"0\r\n\r\n");
        assert_eq!(log.wait_for(2).await[1], format!("outer: {:?} 200 true", by.whole()), "{by:?}");
    }
}

#[tokio::test]
async fn a_response_in_this_process_that_is_dropped_unread_is_disconnected_if_there_was_something_to_read() {
    for by in By::BOTH {
        for (path, expected) in [
            ("/large", "Disconnected 200 0"),
            ("/chunked", "Disconnected 200 0"),
            ("/empty", "Finished 204 0"),
        ] {
            let (log, (feed, body)) = (Log::new(), Feed::new());
            let runner = runner(&log);
            let inner = inner(&runner);
            let handler = async move || {
                drop(ask(&inner, path).await);
                body.take()
            };
            let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
            let mut client = Tcp::connect(server.addr).await;
            client.send_get("/").await;
            assert_eq!(client.reply("HEAD").await.status, 200);
            assert_eq!(log.wait_for(1).await, [expected], "{by:?} {path}");
            drop(feed);
        }
    }
}

/// Passes its own request on to the router unchanged.
async fn forward(State(router): State<Router>, request: Request) -> Response {
    Note::defer("forwarded");
    router.oneshot(request).await.into_response()
}

#[tokio::test]
async fn the_jobs_of_a_request_that_is_forwarded_are_told_of_the_response_that_goes_out() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let app = Router::new().fallback(forward).with_state(inner(&runner));
        let server = by.serve_app(app, &Runner::default()).await;
        let mut client = Tcp::connect(server.addr).await;
        assert_eq!(client.get("/hello").await.text(), "hello");
        assert_eq!(log.wait_for(1).await, [format!("{:?} 200 5", by.whole())], "{by:?}");
        assert_eq!(client.get("/chunked").await.body.len(), LARGE);
        assert_eq!(log.wait_for(2).await[1], format!("{:?} 200 {LARGE}", by.whole()), "{by:?}");
    }
}

#[tokio::test]
async fn the_jobs_of_the_one_who_forwards_and_of_the_one_who_answers_have_the_same_response() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let routes = Router::new().fallback(forward).with_state(inner(&runner));
        let server = by.serve(routes, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        assert_eq!(client.get("/hello").await.text(), "hello");
        let mut lines = log.wait_for(2).await;
        lines.sort();
        assert_eq!(lines, [format!("{:?} 200 5", by.whole()), "forwarded".to_owned()], "{by:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_forwarded_has_the_status_that_goes_out() {
    let log = Log::new();
    let runner = runner(&log);
    let changed = async |State(router): State<Router>, request: Request| {
        let response = router.oneshot(request).await.into_response();
        (StatusCode::ACCEPTED, response.into_body())
    };
    let app = Router::new().fallback(changed).with_state(inner(&runner));
    let server = By::Defer.serve_app(app, &runner).await;
    assert_eq!(Tcp::connect(server.addr).await.get("/hello").await.status, 202);
    assert_eq!(log.wait_for(1).await, ["Sent 202 5"]);
}

#[tokio::test]
async fn a_request_that_a_job_makes_is_one_of_its_own() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let inner = inner(&runner);
        let handler = async move || {
            defer_fn(|_| async move {
                read(ask(&inner, "/hello").await).await;
                read(ask(&inner, "/error").await).await;
                drop(ask(&inner, "/large").await);
                defer_report("outer");
            });
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        Tcp::connect(server.addr).await.get("/").await;
        assert_eq!(in_time(all_have_run(&runner)).await, 5, "{by:?}");
        let mut lines = log.lines();
        lines.sort();
        let outer = format!("outer: {:?} 200 true", by.whole());
        let expected = ["Disconnected 200 0", "Finished 200 5", "error: Finished 500 false", &outer];
        assert_eq!(lines, expected, "{by:?}");
    }
}

#[tokio::test]
async fn a_request_that_a_stream_makes_is_one_of_its_own_and_its_jobs_run_while_the_stream_goes_on() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let runner = runner(&log);
        let inner = inner(&runner);
        let handler = async move || {
            let events = body.take().into_data_stream().then(move |event| {
                let inner = inner.clone();
                async move {
                    read(ask(&inner, "/error").await).await;
                    event
                }
            });
            Body::from_stream(events)
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        for n in 1..=3 {
            feed.send("event");
            let lines = log.wait_for(n).await;
            assert_eq!(lines, vec!["error: Finished 500 false"; n], "{by:?}");
        }
        drop(feed);
        assert_eq!(client.reply("GET").await.text(), "eventeventevent", "{by:?}");
    }
}

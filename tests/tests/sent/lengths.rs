//! Bodies with an announced length: a server stops polling once it has that much.

use std::{convert::Infallible, io::Write, mem, task::Poll};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::{HeaderMap, HeaderValue, header::CONTENT_LENGTH},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, get_service},
};
use bytes::Bytes;
use defer_axum::DeferLayer;
use defer_tests::{By, FedBody, Feed, Log, NoteEnding, Tcp, runner};
use futures_util::{
    StreamExt,
    stream::{self, poll_fn},
};
use http_body_util::BodyExt;
use tower_http::services::ServeFile;

use defer_tests::{all_have_run, ask, http2};

/// Returns a stream that yields `size` bytes and announces that length.
async fn streamed(Path(size): Path<usize>) -> Response {
    const CHUNK: usize = 10_000;
    NoteEnding::defer();
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    let chunks = (0..size.div_ceil(CHUNK)).map(move |n| {
        let left = size - n * CHUNK;
        Ok::<_, Infallible>(chunk.slice(..left.min(CHUNK)))
    });
    ([(CONTENT_LENGTH, size)], Body::from_stream(tokio_stream::iter(chunks))).into_response()
}

fn routes() -> Router {
    Router::new().route("/{size}", get(streamed))
}

#[tokio::test]
async fn a_stream_that_announced_its_length_is_told_to_be_whole() {
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(routes(), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        for (n, size) in [1, 10_000, 25_000, 1_000_000].into_iter().enumerate() {
            assert_eq!(client.get(&format!("/{size}")).await.body.len(), size, "{by:?}");
            let lines = log.wait_for(n + 1).await;
            assert_eq!(lines[n..], [format!("{:?} 200 {size}", by.whole())], "{by:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_announced_its_length_is_told_to_be_whole_over_http2() {
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(routes(), &runner(&log)).await;
        let mut client = http2::connect(server.addr).await;
        for (n, size) in [1, 10_000, 25_000, 1_000_000].into_iter().enumerate() {
            let mut body = http2::body_of(client.get(&format!("/{size}")).await).await;
            assert_eq!(http2::drain(&mut body).await, size, "{by:?}");
            let lines = log.wait_for(n + 1).await;
            assert_eq!(lines[n..], [format!("{:?} 200 {size}", by.whole())], "{by:?}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_served_is_told_to_be_whole() {
    async fn noted(request: Request, next: Next) -> Response {
        NoteEnding::defer();
        next.run(request).await
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![b'x'; 300_000]).unwrap();
    for by in By::BOTH {
        let log = Log::new();
        let routes =
            Router::new().route("/file", get_service(ServeFile::new(file.path()))).layer(from_fn(noted));
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        assert_eq!(client.get("/file").await.body.len(), 300_000, "{by:?}");
        assert_eq!(log.wait_for(1).await, [format!("{:?} 200 300000", by.whole())], "{by:?}");
        client.send("GET /file HTTP/1.1\r\nhost: test\r\nrange: bytes=0-99999\r\n\r\n").await;
        assert_eq!(client.reply("GET").await.body.len(), 100_000, "{by:?}");
        assert_eq!(log.wait_for(2).await[1], format!("{:?} 206 100000", by.whole()), "{by:?}");
    }
}

/// A response that announces ten bytes, with a body that the test keeps open.
fn ten(body: &FedBody) -> Router {
    let body = body.clone();
    let handler = async move || {
        NoteEnding::defer();
        ([(CONTENT_LENGTH, "10")], body.take())
    };
    Router::new().route("/", get(handler))
}

#[tokio::test]
async fn a_client_that_leaves_with_all_bytes_before_the_end_has_the_response() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let server = by.serve(ten(&body), &runner(&log)).await;
        let mut client = http2::connect(server.addr).await;
        feed.send("01234");
        feed.send("56789");
        let mut body = http2::body_of(client.get("/").await).await;
        assert_eq!(http2::read(&mut body, 10).await, 10, "{by:?}");
        if by == By::Defer {
            // The client is still connected, and the body has not ended.
            assert_eq!(log.wait_for(1).await, ["Sent 200 10"]);
        }
        drop(body);
        assert_eq!(log.wait_for(1).await, [format!("{:?} 200 10", by.whole())], "{by:?}");
    }
}

#[tokio::test]
async fn the_end_or_trailers_may_follow_the_announced_length() {
    async fn trailing(body: Body) -> Response {
        NoteEnding::defer();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let body = body.with_trailers(async { Some(Ok(trailers)) });
        ([(CONTENT_LENGTH, "10")], Body::new(body)).into_response()
    }
    for ends in [true, false] {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let trailing = async move || if ends { ten_of(body.take()) } else { trailing(body.take()).await };
        let routes = Router::new().route("/", get(trailing));
        let server = By::Defer.serve(routes, &runner(&log)).await;
        let mut client = http2::connect(server.addr).await;
        feed.send("0123456789");
        let mut body = http2::body_of(client.get("/").await).await;
        assert_eq!(http2::read(&mut body, 10).await, 10);
        assert_eq!(log.wait_for(1).await, ["Sent 200 10"]);
        assert!(!body.is_end_stream());
        drop(feed);
        assert_eq!(http2::read(&mut body, 1).await, 0);
        let trailers = body.trailers().await.expect("the stream ends");
        assert_eq!(trailers.is_none(), ends);
        server.runner.idle().await;
        assert_eq!(log.lines(), ["Sent 200 10"]);
    }
}

fn ten_of(body: Body) -> Response {
    NoteEnding::defer();
    ([(CONTENT_LENGTH, "10")], body).into_response()
}

#[tokio::test]
async fn a_job_that_is_deferred_after_the_announced_length_waits_for_no_end() {
    let log = Log::new();
    let handler = async || {
        // Defers when polled for its end, and is not at its end yet.
        let mut asked = false;
        let after = poll_fn(move |_| {
            if !mem::replace(&mut asked, true) {
                NoteEnding::defer();
            }
            Poll::<Option<Result<Bytes, axum::Error>>>::Pending
        });
        let first = stream::iter([Ok(Bytes::from_static(b"0123456789"))]);
        ([(CONTENT_LENGTH, "10")], Body::from_stream(first.chain(after)))
    };
    let server = By::Defer.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
    let mut client = http2::connect(server.addr).await;
    let mut body = http2::body_of(client.get("/").await).await;
    assert_eq!(http2::read(&mut body, 10).await, 10);
    assert_eq!(log.wait_for(1).await, ["Sent 200 10"]);
}

#[tokio::test]
async fn no_more_than_the_announced_length_counts() {
    for by in By::BOTH {
        for is_http2 in [false, true] {
            let (log, (feed, body)) = (Log::new(), Feed::new());
            let server = by.serve(ten(&body), &runner(&log)).await;
            feed.send("01234");
            feed.send("5678901234");
            drop(feed);
            if is_http2 {
                let mut client = http2::connect(server.addr).await;
                // h2 rejects data beyond the announced length.
                let mut body = http2::body_of(client.get("/").await).await;
                while let Some(Ok(_)) = body.data().await {}
            } else {
                assert_eq!(Tcp::connect(server.addr).await.get("/").await.text(), "0123456789", "{by:?}");
            }
            let whole = format!("{:?} 200 10", by.whole());
            assert_eq!(log.wait_for(1).await, [whole], "{by:?}, HTTP/2: {is_http2}");
        }
    }
}

#[tokio::test]
async fn what_was_not_announced_holds_no_job_up() {
    let (log, (feed, body)) = (Log::new(), Feed::new());
    let server = By::Defer.serve(ten(&body), &runner(&log)).await;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(10);
    let mut client = http2::connect_with(server.addr, &settings).await;
    feed.send("01234");
    feed.send("56789, and more than the window lets through");
    let body = http2::body_of(client.get("/").await).await;
    assert_eq!(log.wait_for(1).await, ["Sent 200 10"]);
    drop((body, feed));
}

#[tokio::test]
async fn an_empty_body_that_announces_more_has_failed() {
    for by in By::BOTH {
        for is_http2 in [false, true] {
            let log = Log::new();
            let handler = async || ten_of(Body::empty());
            let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
            // hyper leaves an HTTP/1 client waiting for the rest.
            let mut waiting = Tcp::connect(server.addr).await;
            if is_http2 {
                drop(http2::connect(server.addr).await.get("/").await.await);
            } else {
                waiting.send_get("/").await;
            }
            assert_eq!(log.wait_for(1).await, ["Failed 200 0"], "{by:?}, HTTP/2: {is_http2}");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_short_of_its_announced_length_has_failed() {
    for by in By::BOTH {
        for is_http2 in [false, true] {
            let (log, (feed, body)) = (Log::new(), Feed::new());
            let server = by.serve(ten(&body), &runner(&log)).await;
            feed.send("01234");
            if is_http2 {
                let mut client = http2::connect(server.addr).await;
                let mut body = http2::body_of(client.get("/").await).await;
                assert_eq!(http2::read(&mut body, 5).await, 5);
                drop(feed);
                log.wait_for(1).await;
            } else {
                let mut client = Tcp::connect(server.addr).await;
                client.send_get("/").await;
                client.read_until("01234").await;
                drop(feed);
                log.wait_for(1).await;
            }
            // h2 does not report how much of an aborted stream it has written.
            let bytes = if is_http2 && by == By::Defer { 0 } else { 5 };
            assert_eq!(log.lines(), [format!("Failed 200 {bytes}")], "{by:?}, HTTP/2: {is_http2}");
        }
    }
}

#[tokio::test]
async fn an_error_after_the_announced_length_fails_what_was_not_sent() {
    let (log, (feed, body)) = (Log::new(), Feed::new());
    let server = By::Defer.serve(ten(&body), &runner(&log)).await;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(5);
    let mut client = http2::connect_with(server.addr, &settings).await;
    feed.send("0123456789");
    let body = http2::body_of(client.get("/").await).await;
    feed.fail();
    assert_eq!(log.wait_for(1).await, ["Failed 200 0"]);
    drop(body);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_announced_length_is_gone() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let handler = async move || {
            NoteEnding::defer();
            ([(CONTENT_LENGTH, "10")], body.take())
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        feed.send("hello");
        client.send_get("/").await;
        client.read_until("hello").await;
        drop(client);
        assert_eq!(log.wait_for(1).await, ["Disconnected 200 5"], "{by:?}");
    }
}

#[tokio::test]
async fn a_response_that_is_dropped_at_its_announced_length_is_finished() {
    let log = Log::new();
    let runner = runner(&log);
    let app = routes().layer(DeferLayer::new(runner.clone()));
    for (chunks, expected) in [(3, "Finished 200 25000"), (2, "Disconnected 200 20000")] {
        let mut body = ask(&app, "/25000").await.into_body().into_data_stream();
        for _ in 0..chunks {
            body.next().await.expect("there is more").expect("the body does not fail");
        }
        drop(body);
        all_have_run(&runner).await;
        assert_eq!(log.lines().last().map(String::as_str), Some(expected));
    }
}

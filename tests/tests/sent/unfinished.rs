//! `release_after`: a response that takes too long no longer delays its jobs.

use std::{task::Poll, time::Duration};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use defer_axum::DeferLayer;
use defer_tests::{By, Feed, Log, NoteEnding, Server, Tcp, Wire, WireListener, http2, runner};
use futures_util::stream::poll_fn;

/// The first limit on a response. A slow machine needs a longer one.
const SOON: Duration = Duration::from_millis(50);
const LARGE: usize = 8_000_000;

async fn serve(by: By, routes: Router, log: &Log, wire: &Wire, after: Duration) -> Server {
    let runner = runner(log);
    let app = routes.layer(DeferLayer::new(runner.clone()).release_after(after));
    by.serve_on(WireListener::bind(wire).await, app, runner)
}

#[tokio::test]
async fn a_client_that_does_not_read_withholds_no_job_for_longer() {
    async fn large() -> Vec<u8> {
        NoteEnding::defer();
        vec![b'x'; LARGE]
    }
    let mut after = SOON;
    loop {
        let (log, wire) = (Log::new(), Wire::new());
        let server = serve(By::Defer, Router::new().route("/", get(large)), &log, &wire, after).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        wire.blocked().await;
        if !log.lines().is_empty() {
            after *= 2;
            continue;
        }
        let lines = log.wait_for(1).await;
        let head = wire.accepted().windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        let taken = wire.len() - head;
        assert!(taken > 0 && taken < LARGE);
        assert_eq!(lines, [format!("Unfinished 200 {taken}")]);
        // The response continues.
        assert_eq!(client.reply("GET").await.body.len(), LARGE);
        server.runner.idle().await;
        assert_eq!(log.lines().len(), 1);
        return;
    }
}

/// Returns whether the job ran after the client had read everything sent so far.
async fn does_not_end(by: By, is_http2: bool, after: Duration) -> bool {
    let (log, (feed, body)) = (Log::new(), Feed::new());
    let handler = async move || {
        NoteEnding::defer();
        body.take()
    };
    let server = serve(by, Router::new().route("/", get(handler)), &log, &Wire::new(), after).await;
    feed.send("01234");
    let mut tcp = Tcp::connect(server.addr).await;
    let mut stream = None;
    if is_http2 {
        let mut body = http2::body_of(http2::connect(server.addr).await.get("/").await).await;
        http2::read(&mut body, 5).await;
        stream = Some(body);
    } else {
        tcp.send_get("/").await;
        tcp.read_until("01234").await;
    }
    if !log.lines().is_empty() {
        return false;
    }
    // h2 does not report how far a stream has got.
    let bytes = if is_http2 && by == By::Defer { 0 } else { 5 };
    assert_eq!(log.wait_for(1).await, [format!("Unfinished 200 {bytes}")], "{by:?}, HTTP/2: {is_http2}");
    drop((feed, stream));
    server.runner.idle().await;
    assert_eq!(log.lines().len(), 1);
    true
}

#[tokio::test]
async fn a_stream_that_does_not_end_withholds_no_job_for_longer() {
    for by in By::BOTH {
        for is_http2 in [false, true] {
            let mut after = SOON;
            while !does_not_end(by, is_http2, after).await {
                after *= 2;
            }
        }
    }
}

#[tokio::test]
async fn the_first_job_of_a_stream_may_come_after_that_and_starts_at_once() {
    for by in By::BOTH {
        let log = Log::new();
        let handler = async || {
            let mut late = Box::pin(tokio::time::sleep(SOON * 3));
            let mut has_deferred = false;
            let stream = poll_fn(move |cx| {
                if !has_deferred && late.as_mut().poll(cx).is_ready() {
                    has_deferred = true;
                    NoteEnding::defer();
                }
                Poll::<Option<Result<Bytes, axum::Error>>>::Pending
            });
            Body::from_stream(stream)
        };
        let server = serve(by, Router::new().route("/", get(handler)), &log, &Wire::new(), SOON).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        assert_eq!(log.wait_for(1).await, ["Unfinished 200 0"], "{by:?}");
    }
}

#[tokio::test]
async fn a_response_that_is_over_in_time_is_told_how_it_ended() {
    for by in By::BOTH {
        let log = Log::new();
        let handler = async || {
            NoteEnding::defer();
            "hello"
        };
        let server =
            serve(by, Router::new().route("/", get(handler)), &log, &Wire::new(), Duration::from_secs(60))
                .await;
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.text(), "hello");
        assert_eq!(log.wait_for(1).await, [format!("{:?} 200 5", by.whole())]);
    }
}

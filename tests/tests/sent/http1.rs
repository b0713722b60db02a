//! HTTP/1 under `serve`: a job starts when the operating system has accepted the last byte of its response.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, http::StatusCode, response::IntoResponse, routing::get};
use bytes::Bytes;
use defer_axum::{DeferLayer, Runner, defer_fn};
use defer_tests::{By, Log, Server, Tcp, Wire, WireListener, http1_ends};
use tokio::{io::AsyncWriteExt, sync::Notify};

const LARGE: usize = 8 * 1024 * 1024;

/// Defers a job that logs how its response ended, and how many bytes in total were accepted when the job started.
fn defer_report(name: &str) {
    let name = name.to_owned();
    defer_fn(move |cx| async move {
        let accepted = cx.state::<Wire>()?.len();
        let response = cx.response().expect("a request's job");
        let line = format!("{name} {:?} {} {accepted}", response.delivery(), response.bytes_sent());
        cx.state::<Log>()?.add(line);
        Ok(())
    });
}

struct Setup {
    server: Server,
    wire: Wire,
    log: Log,
}

async fn start(routes: Router) -> Setup {
    let (wire, log) = (Wire::new(), Log::new());
    let runner = Runner::builder().state(wire.clone()).state(log.clone()).build();
    start_app(routes.layer(DeferLayer::new(runner.clone())), runner, wire, log).await
}

async fn start_app(app: Router, runner: Runner, wire: Wire, log: Log) -> Setup {
    let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner);
    Setup { server, wire, log }
}

fn chunks(size: usize, count: usize) -> Body {
    let chunk = Bytes::from(vec![b'x'; size]);
    let chunks = (0..count).map(move |_| Ok::<_, Infallible>(chunk.clone()));
    Body::from_stream(tokio_stream::iter(chunks))
}

fn large() -> Router {
    Router::new()
        .route(
            "/full",
            get(|| async {
                defer_report("job");
                vec![b'x'; LARGE]
            }),
        )
        .route(
            "/streamed",
            get(|| async {
                defer_report("job");
                chunks(64 * 1024, LARGE / (64 * 1024))
            }),
        )
}

async fn a_late_reader(path: &str) {
    let Setup { wire, log, server } = start(large()).await;
    let mut client = Tcp::connect(server.addr).await;
    client.send_get(path).await;
    wire.blocked().await;
    assert!(wire.len() < LARGE, "the socket's buffers took everything: nothing is shown");
    assert_eq!(log.lines(), [""; 0], "a job started while its response was stuck");

    assert_eq!(client.reply("GET").await.body.len(), LARGE);
    let lines = log.wait_for(1).await;
    let accepted = wire.len();
    assert_eq!(lines, [format!("job Sent {LARGE} {accepted}")]);
    assert_eq!(http1_ends(&wire.accepted()), [accepted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_reader_of_a_full_body_has_every_byte_accepted_before_the_job_starts() {
    a_late_reader("/full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_reader_of_a_streamed_body_has_every_byte_accepted_before_the_job_starts() {
    a_late_reader("/streamed").await;
}

#[tokio::test]
async fn a_client_that_leaves_while_the_rest_is_stuck_is_disconnected() {
    for path in ["/full", "/streamed"] {
        let Setup { wire, log, server } = start(large()).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get(path).await;
        wire.blocked().await;
        assert_eq!(log.lines(), [""; 0]);
        drop(client);
        let lines = log.wait_for(1).await;
        assert!(lines[0].starts_with("job Disconnected"), "{lines:?}");
        server.runner.idle().await;
        assert_eq!(server.runner.stats().succeeded, 1);
    }
}

#[tokio::test]
async fn pipelined_responses_release_their_own_jobs_in_order() {
    let routes = Router::new().route(
        "/{n}",
        get(|axum::extract::Path(n): axum::extract::Path<usize>| async move {
            defer_report(&n.to_string());
            vec![b'x'; n * 100_000]
        }),
    );
    let Setup { wire, log, server } = start(routes).await;
    let mut client = Tcp::connect(server.addr).await;
    let requests: String = (0..8).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: test\r\n\r\n")).collect();
    client.send(requests).await;
    for n in 0..8 {
        assert_eq!(client.reply("GET").await.body.len(), n * 100_000);
    }
    let lines = log.wait_for(8).await;
    let ends = http1_ends(&wire.accepted());
    for (n, line) in lines.iter().enumerate() {
        let accepted: usize = line.rsplit(' ').next().expect("a number").parse().expect("a number");
        assert!(line.starts_with(&format!("{n} Sent {}", n * 100_000)), "{lines:?}");
        assert!(accepted >= ends[n], "{line}: {ends:?}");
    }
}

#[tokio::test]
async fn each_kind_of_response_releases_its_jobs_once_when_sent() {
    let routes = Router::new()
        .route(
            "/ok",
            get(|| async {
                defer_report("ok");
                "ok"
            }),
        )
        .route("/empty", get(|| async { defer_report("empty") }))
        .route(
            "/204",
            get(|| async {
                defer_report("204");
                StatusCode::NO_CONTENT
            }),
        )
        .route(
            "/304",
            get(|| async {
                defer_report("304");
                StatusCode::NOT_MODIFIED
            }),
        )
        .route(
            "/500",
            get(|| async {
                defer_report("500");
                StatusCode::INTERNAL_SERVER_ERROR
            }),
        )
        .route(
            "/stream",
            get(|| async {
                defer_report("stream");
                chunks(10, 3)
            }),
        )
        .route(
            "/trailers",
            get(|| async {
                defer_report("trailers");
                let trailers = async { Some(Ok(http::HeaderMap::new())) };
                let body = http_body_util::BodyExt::with_trailers(Body::from("abc"), trailers);
                Body::new(body)
            }),
        )
        .route(
            "/cut",
            get(|| async {
                defer_report("cut");
                // The body is longer than announced, so hyper cuts it off.
                ([("content-length", "5")], chunks(10, 3)).into_response()
            }),
        );
    for (request, method, sent) in [
        ("/ok", "GET", "ok Sent 2"),
        ("/ok", "HEAD", "ok Sent 0"),
        ("/empty", "GET", "empty Sent 0"),
        ("/204", "GET", "204 Sent 0"),
        ("/304", "GET", "304 Sent 0"),
        ("/500", "GET", "500 Sent 0"),
        ("/stream", "GET", "stream Sent 30"),
        ("/stream", "HEAD", "stream Sent 0"),
        ("/trailers", "GET", "trailers Sent 3"),
        ("/cut", "GET", "cut Sent 5"),
    ] {
        for version in ["1.1", "1.0"] {
            for close in ["", "connection: close\r\n"] {
                let Setup { wire, log, server } = start(routes.clone()).await;
                let mut client = Tcp::connect(server.addr).await;
                client.send(format!("{method} {request} HTTP/{version}\r\nhost: t\r\n{close}\r\n")).await;
                client.reply(method).await;
                let lines = log.wait_for(1).await;
                assert_eq!(lines, [format!("{sent} {}", wire.len())], "{method} {request} {version} {close}");
                drop(client);
                let runner = server.runner.clone();
                server.stop().await;
                assert_eq!(runner.stats().succeeded, 1, "{method} {request} {version} {close}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_is_failed() {
    let routes = Router::new().route(
        "/",
        get(|| async {
            defer_report("job");
            let frames = [Ok(Bytes::from_static(b"abc")), Err(std::io::Error::other("broken"))];
            Body::from_stream(tokio_stream::iter(frames))
        }),
    );
    let Setup { log, server, wire } = start(routes).await;
    let mut client = Tcp::connect(server.addr).await;
    client.send_get("/").await;
    while client.fill().await {}
    // hyper discards what it has not written by then.
    let taken = if wire.accepted().ends_with(b"3\r\nabc\r\n") { 3 } else { 0 };
    let lines = log.wait_for(1).await;
    assert!(lines[0].starts_with(&format!("job Failed {taken} ")), "{lines:?}");
}

#[tokio::test]
async fn a_request_that_expects_a_100_is_sent_with_its_final_response() {
    let routes = Router::new().route(
        "/",
        axum::routing::post(|body: String| async move {
            defer_report("job");
            body
        }),
    );
    let Setup { wire, log, server } = start(routes).await;
    let mut client = Tcp::connect(server.addr).await;
    let head = "POST / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.reply("HEAD").await.status, 100);
    assert_eq!(log.lines(), [""; 0]);
    client.send("hello").await;
    assert_eq!(client.reply("POST").await.text(), "hello");
    assert_eq!(log.wait_for(1).await, [format!("job Sent 5 {}", wire.len())]);
}

#[tokio::test]
async fn jobs_of_an_upgrade_run_once_the_101_has_been_flushed() {
    let routes = Router::new().route(
        "/",
        get(|upgrade: axum::extract::WebSocketUpgrade| async {
            defer_report("upgrade");
            upgrade.on_upgrade(|mut socket| async move {
                // The connection stays open until the client leaves.
                while let Some(Ok(_)) = socket.recv().await {}
            })
        }),
    );
    let Setup { wire, log, server } = start(routes).await;
    let mut client = Tcp::connect(server.addr).await;
    let head = "GET / HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.reply("GET").await.status, 101);
    assert_eq!(log.wait_for(1).await, [format!("upgrade Sent 0 {}", wire.len())]);
}

/// hyper calls no handler if it learns of that while it reads the request.
#[tokio::test]
async fn a_client_that_half_closes_when_its_request_is_handled_loses_nothing_silently() {
    let handled = Arc::new(Notify::new());
    let tells = handled.clone();
    let handler = async move || {
        defer_report("job");
        tells.notify_one();
        "hello"
    };
    let Setup { log, server, .. } = start(Router::new().route("/", get(handler))).await;
    let mut client = Tcp::connect(server.addr).await;
    client.send_get("/").await;
    handled.notified().await;
    client.stream.shutdown().await.unwrap();
    while client.fill().await {}
    let lines = log.wait_for(1).await;
    assert!(lines[0].starts_with("job "), "{lines:?}");
    server.runner.idle().await;
    assert_eq!(server.runner.stats().deferred, 1);
}

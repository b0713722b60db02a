//! HTTP/2 under `serve`: a job starts when the operating system has accepted the last frame of its response.

use std::{convert::Infallible, future::poll_fn};

use axum::{Router, body::Body, extract::Path, http::StatusCode, routing::get};
use bytes::Bytes;
use defer_axum::{DeferLayer, Runner, defer_fn};
use defer_tests::{By, Log, Server, Wire, WireListener, http2_ends};
use h2::{
    RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Method, Request};
use tokio::net::TcpStream;

fn defer_report(name: impl Into<String>) {
    let name = name.into();
    defer_fn(move |cx| async move {
        let accepted = cx.state::<Wire>()?.len();
        let response = cx.response().expect("a request's job");
        let line = format!("{name} {:?} {} {accepted}", response.delivery(), response.bytes_sent());
        cx.state::<Log>()?.add(line);
        Ok(())
    });
}

fn chunks(size: usize, count: usize) -> Body {
    let chunk = Bytes::from(vec![b'x'; size]);
    let chunks = (0..count).map(move |_| Ok::<_, Infallible>(chunk.clone()));
    Body::from_stream(tokio_stream::iter(chunks))
}

fn routes() -> Router {
    Router::new()
        .route(
            "/full/{size}",
            get(|Path(size): Path<usize>| async move {
                defer_report(format!("full {size}"));
                vec![b'x'; size]
            }),
        )
        .route(
            "/streamed/{size}",
            get(|Path(size): Path<usize>| async move {
                defer_report(format!("streamed {size}"));
                chunks(10_000, size / 10_000)
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
            "/trailers",
            get(|| async {
                defer_report("trailers");
                let mut trailers = http::HeaderMap::new();
                trailers.insert("x-sum", http::HeaderValue::from_static("42"));
                let body =
                    http_body_util::BodyExt::with_trailers(Body::from("abc"), async { Some(Ok(trailers)) });
                Body::new(body)
            }),
        )
        .route(
            "/refused/{name}/{value}",
            get(|Path((name, value)): Path<(String, String)>| async move {
                defer_report("refused");
                let name: http::HeaderName = name.parse().expect("a name");
                let trailers = http::HeaderMap::from_iter([(name, value.parse().expect("a value"))]);
                let body =
                    http_body_util::BodyExt::with_trailers(Body::from("abc"), async { Some(Ok(trailers)) });
                Body::new(body)
            }),
        )
        .route("/nothing", get(|| async { "no job" }))
}

struct Setup {
    server: Server,
    wire: Wire,
    log: Log,
    client: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<()>,
}

/// Serves, and connects with windows of this size, or of the default size.
async fn start(window: Option<u32>) -> Setup {
    let (wire, log) = (Wire::new(), Log::new());
    let runner = Runner::builder().state(wire.clone()).state(log.clone()).build();
    let app = routes().layer(DeferLayer::new(runner.clone()));
    let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner);
    let io = TcpStream::connect(server.addr).await.expect("the server listens");
    let mut builder = h2::client::Builder::new();
    if let Some(window) = window {
        builder.initial_window_size(window).initial_connection_window_size(window);
    }
    let (client, connection) = builder.handshake(io).await.expect("an HTTP/2 server");
    let connection = tokio::spawn(async move { drop(connection.await) });
    Setup { server, wire, log, client, connection }
}

async fn send(client: &mut SendRequest<Bytes>, method: Method, path: &str) -> ResponseFuture {
    poll_fn(|cx| client.poll_ready(cx)).await.expect("the connection is open");
    let uri = format!("http://test{path}");
    let request = Request::builder().method(method).uri(uri).body(()).expect("a request");
    client.send_request(request, true).expect("the connection is open").0
}

async fn body_of(response: ResponseFuture) -> RecvStream {
    response.await.expect("a response").into_body()
}

/// Reads this many bytes, or to the end, without releasing the window.
async fn read(body: &mut RecvStream, bytes: usize) -> usize {
    let mut read = 0;
    while read < bytes {
        match body.data().await {
            Some(data) => read += data.expect("data").len(),
            None => break,
        }
    }
    read
}

/// Reads to the end, and releases the window.
async fn drain(body: &mut RecvStream) {
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        body.flow_control().release_capacity(data.len()).expect("the window has room");
    }
    drop(body.trailers().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_starts_while_the_window_is_not_given_back() {
    for path in ["/full/300000", "/streamed/300000", "/full/8000000", "/streamed/8000000"] {
        let Setup { wire, log, mut client, server: _server, .. } = start(None).await;
        let response = send(&mut client, Method::GET, path).await;
        let mut body = body_of(response).await;
        // The default window of 65,535 bytes lets through no more.
        assert_eq!(read(&mut body, 65_535).await, 65_535, "{path}");
        // The server is stuck. A second response still overtakes the first.
        let second = send(&mut client, Method::GET, "/empty").await;
        drain(&mut body_of(second).await).await;
        let lines = log.wait_for(1).await;
        assert!(lines.len() == 1 && lines[0].starts_with("empty Sent"), "{path}: {lines:?}");
        assert_eq!(http2_ends(&wire.accepted()).keys().collect::<Vec<_>>(), [&3], "{path}");

        body.flow_control().release_capacity(65_535).unwrap();
        drain(&mut body).await;
        let lines = log.wait_for(2).await;
        let size: usize = path.rsplit('/').next().unwrap().parse().unwrap();
        assert!(lines[1].contains(&format!("Sent {size}")), "{lines:?}");
        check_order(&lines[1..], &wire, &[1]);
    }
}

/// Checks that each line's job started once the bytes that it saw accepted contained the end of its stream.
fn check_order(lines: &[String], wire: &Wire, streams: &[u32]) {
    let ends = http2_ends(&wire.accepted());
    for (line, stream) in lines.iter().zip(streams) {
        let accepted: usize = line.rsplit(' ').next().expect("a number").parse().expect("a number");
        assert!(accepted >= ends[stream], "{line}: the end of stream {stream} is at {}", ends[stream]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_starts_while_the_socket_is_full() {
    // The windows let everything through, but the client does not read.
    for path in ["/full/8000000", "/streamed/8000000"] {
        let (wire, log) = (Wire::new(), Log::new());
        let runner = Runner::builder().state(wire.clone()).state(log.clone()).build();
        let app = routes().layer(DeferLayer::new(runner.clone()));
        let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner);
        let io = TcpStream::connect(server.addr).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(16_000_000).initial_connection_window_size(16_000_000);
        let (mut client, mut connection) = builder.handshake::<_, Bytes>(io).await.unwrap();
        let request = Request::builder().uri(format!("http://test{path}")).body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        // One poll sends the request. The connection is not polled again.
        poll_fn(|cx| {
            assert!(std::pin::Pin::new(&mut connection).poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        wire.blocked().await;
        assert_eq!(log.lines(), [""; 0], "{path}");
        assert!(http2_ends(&wire.accepted()).is_empty(), "the socket's buffers took everything");

        tokio::spawn(async move { drop(connection.await) });
        drain(&mut body_of(response).await).await;
        let lines = log.wait_for(1).await;
        assert!(lines[0].contains("Sent 8000000"), "{lines:?}");
        check_order(&lines, &wire, &[1]);
    }
}

#[tokio::test]
async fn each_kind_of_response_releases_its_jobs_once_when_sent() {
    for (method, path, expected) in [
        (Method::GET, "/full/5", "full 5 Sent 5"),
        (Method::GET, "/full/255", "full 255 Sent 255"),
        (Method::GET, "/full/256", "full 256 Sent 256"),
        (Method::GET, "/full/20000", "full 20000 Sent 20000"),
        (Method::HEAD, "/full/5", "full 5 Sent 0"),
        (Method::GET, "/streamed/50000", "streamed 50000 Sent 50000"),
        (Method::HEAD, "/streamed/50000", "streamed 50000 Sent 0"),
        (Method::GET, "/empty", "empty Sent 0"),
        (Method::GET, "/204", "204 Sent 0"),
        (Method::GET, "/304", "304 Sent 0"),
        (Method::GET, "/trailers", "trailers Sent 3"),
    ] {
        let Setup { wire, log, mut client, server, connection } = start(None).await;
        let response = send(&mut client, method.clone(), path).await.await.unwrap();
        let (head, mut body) = response.into_parts();
        let mut read = 0;
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            read += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        let trailers = body.trailers().await.unwrap();
        assert_eq!(trailers.is_some(), path == "/trailers", "{path}");
        let announced = head.headers.get("content-length").map(|length| length.to_str().unwrap().to_owned());
        if method == Method::GET {
            assert!(expected.ends_with(&format!(" {read}")), "{path}: {read}");
            assert!(announced.is_none_or(|length| length == read.to_string()), "{path}");
        } else {
            let size = path.rsplit('/').next().unwrap();
            let expected = if path.starts_with("/full") { Some(size.to_owned()) } else { None };
            assert_eq!(announced, expected, "{path}");
        }
        let lines = log.wait_for(1).await;
        assert!(lines[0].starts_with(expected), "{method} {path}: {lines:?}");
        if path != "/trailers" {
            check_order(&lines, &wire, &[1]);
        }
        drop((client, body));
        connection.await.unwrap();
        let runner = server.runner.clone();
        server.stop().await;
        assert_eq!(runner.stats().deferred, 1, "{method} {path}");
        assert_eq!(runner.stats().succeeded, 1, "{method} {path}");
    }
}

/// h2 0.4.20 does not send these, and hyper 1.12 gives up the stream.
#[tokio::test]
async fn a_response_whose_trailers_cannot_be_sent_has_failed() {
    for (name, value) in [("connection", "close"), ("keep-alive", "1"), ("te", "gzip")] {
        let Setup { log, mut client, server: _server, .. } = start(None).await;
        let response = send(&mut client, Method::GET, &format!("/refused/{name}/{value}")).await;
        let other = send(&mut client, Method::GET, "/full/5").await;
        drop(response.await);
        drain(&mut body_of(other).await).await;
        let mut lines = log.wait_for(2).await;
        lines.sort();
        assert!(lines[0].starts_with("full 5 Sent 5"), "{name}: {lines:?}");
        assert!(lines[1].starts_with("refused Failed 0"), "{name}: {lines:?}");
    }
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_disconnected() {
    for path in ["/full/300000", "/streamed/300000"] {
        let Setup { log, mut client, server: _server, .. } = start(None).await;
        let response = send(&mut client, Method::GET, path).await;
        let mut body = body_of(response).await;
        assert_eq!(read(&mut body, 65_535).await, 65_535);
        drop(body);
        let lines = log.wait_for(1).await;
        assert!(lines[0].contains("Disconnected"), "{path}: {lines:?}");
    }
}

#[tokio::test]
async fn a_reset_that_comes_while_the_last_frame_waits_for_the_window_is_disconnected() {
    // Within the stream's window and beyond the connection's. The frame is queued in h2, or still in hyper.
    for size in [1, 200, 10_000, 65_535] {
        let Setup { log, mut client, server, .. } = start(None).await;
        let first = send(&mut client, Method::GET, "/full/300000").await;
        let mut first = body_of(first).await;
        assert_eq!(read(&mut first, 65_535).await, 65_535);
        // The connection's window is used up, so only the head of this response arrives.
        let second = send(&mut client, Method::GET, &format!("/full/{size}")).await;
        let second = body_of(second).await;
        drop(second);
        let lines = log.wait_for(1).await;
        assert!(lines[0].starts_with(&format!("full {size} Disconnected")), "{lines:?}");
        drop(first);
        log.wait_for(2).await;
        server.runner.idle().await;
        assert_eq!(server.runner.stats().succeeded, 2);
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_disconnects_all_its_streams() {
    let Setup { log, mut client, connection, server, .. } = start(None).await;
    let mut bodies = Vec::new();
    for _ in 0..10 {
        let response = send(&mut client, Method::GET, "/full/300000").await;
        bodies.push(body_of(response).await);
    }
    assert_eq!(log.lines(), [""; 0]);
    connection.abort();
    let lines = log.wait_for(10).await;
    assert!(lines.iter().all(|line| line.contains("Disconnected")), "{lines:?}");
    server.runner.idle().await;
    assert_eq!(server.runner.stats().succeeded, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_streams_each_tells_the_truth_though_some_are_reset() {
    for round in 0..20 {
        let Setup { wire, log, mut client, server, .. } = start(Some(1 << 20)).await;
        let mut tasks = Vec::new();
        for n in 0..100_u32 {
            let sizes = [1, 100, 255, 256, 5_000, 20_000, 100_000];
            let path = format!("/full/{}", sizes[(n + round) as usize % sizes.len()]);
            let response = send(&mut client, Method::GET, &path).await;
            tasks.push(tokio::spawn(async move {
                match n % 10 {
                    // Reset before the head (h2 0.4 ends a connection at the 21st of these), or somewhere in the
                    // body.
                    0 => drop(response),
                    5 => drop(body_of(response).await),
                    6 => drop(read(&mut body_of(response).await, 10).await),
                    _ => {
                        drain(&mut body_of(response).await).await;
                        return 1;
                    }
                }
                0
            }));
        }
        let mut complete = 0;
        for task in tasks {
            complete += task.await.unwrap();
        }
        server.runner.idle().await;
        let stats = server.runner.stats();
        assert_eq!((stats.pending, stats.running, stats.succeeded), (0, 0, stats.deferred), "round {round}");
        let lines = log.lines();
        let sent = lines.iter().filter(|line| line.contains(" Sent ")).count();
        assert!(sent >= complete, "round {round}: {sent} sent, {complete} received");
        // Exactly the responses that were fully written are reported as sent.
        assert_eq!(sent, http2_ends(&wire.accepted()).len(), "round {round}: {lines:#?}");
        assert_eq!(lines.len() as u64, stats.deferred, "round {round}");
    }
}

/// The empty frame after a response's data needs no window (hyper 1.12, h2 0.4.20).
#[tokio::test]
async fn a_response_that_uses_up_the_window_is_sent_without_a_further_one() {
    for (path, size) in [("/full/65535", 65_535), ("/streamed/60000", 60_000), ("/empty", 0), ("/204", 0)] {
        let Setup { wire, log, mut client, server: _server, .. } = start(Some(65_535)).await;
        let first = send(&mut client, Method::GET, &format!("/full/{}", 65_535 - size)).await;
        let mut first = body_of(first).await;
        assert_eq!(read(&mut first, 65_536).await, 65_535 - size);
        let response = send(&mut client, Method::GET, path).await;
        let mut body = body_of(response).await;
        // Reads to the end without releasing the window.
        assert_eq!(read(&mut body, size + 1).await, size, "{path}");
        assert!(body.is_end_stream(), "{path}");
        let lines = log.wait_for(2).await;
        assert!(lines[1].contains(&format!("Sent {size} ")), "{path}: {lines:?}");
        check_order(&lines, &wire, &[1, 3]);
    }
}

#[tokio::test]
async fn a_response_without_jobs_is_left_as_it_is() {
    let Setup { wire, log, mut client, server: _server, .. } = start(None).await;
    let response = send(&mut client, Method::GET, "/nothing").await.await.unwrap();
    assert_eq!(response.headers()["content-length"], "6");
    drain(&mut response.into_body()).await;
    assert_eq!(http2_ends(&wire.accepted()).len(), 1);
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn a_graceful_shutdown_finishes_the_open_streams_and_their_jobs() {
    let Setup { log, mut client, server, .. } = start(None).await;
    let response = send(&mut client, Method::GET, "/full/300000").await;
    let mut body = body_of(response).await;
    assert_eq!(read(&mut body, 65_535).await, 65_535);
    let stopping = tokio::spawn(server.stop());
    body.flow_control().release_capacity(65_535).unwrap();
    drain(&mut body).await;
    drop((client, body));
    let report = stopping.await.unwrap();
    assert!(report.unfinished.is_empty());
    assert!(log.lines()[0].contains("Sent 300000"), "{:?}", log.lines());
}

//! Over HTTP/1, `bytes_sent` is exactly what the operating system has accepted of a body.

use std::convert::Infallible;

use axum::{Router, body::Body, http::header::CONTENT_LENGTH, routing::get};
use bytes::Bytes;
use defer_axum::{DeferLayer, Runner};
use defer_tests::{By, Log, NoteEnding, Server, Tcp, Wire, WireListener};

use defer_tests::in_time;

/// More than the socket's buffers hold.
const LARGE: usize = 64 * 1024 * 1024;
const SMALL: usize = 3_000_000;

/// A stream of this many bytes.
fn streamed(size: usize) -> Body {
    const CHUNK: usize = 50_000;
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    let chunks = (0..size.div_ceil(CHUNK)).map(move |n| {
        let left = size - n * CHUNK;
        Ok::<_, Infallible>(chunk.slice(..left.min(CHUNK)))
    });
    Body::from_stream(tokio_stream::iter(chunks))
}

fn routes() -> Router {
    async fn noted<T>(answer: T) -> T {
        NoteEnding::defer();
        answer
    }
    Router::new()
        .route("/full", get(|| noted(vec![b'x'; LARGE])))
        .route("/chunked", get(|| noted(streamed(LARGE))))
        .route("/announced", get(|| noted(([(CONTENT_LENGTH, LARGE)], streamed(LARGE)))))
        .route("/small", get(|| noted(streamed(SMALL))))
        .route("/nothing", get(async || vec![b'x'; SMALL]))
}

struct Setup {
    wire: Wire,
    log: Log,
    server: Server,
    client: Tcp,
}

async fn start() -> Setup {
    let (wire, log) = (Wire::new(), Log::new());
    let runner = Runner::builder().state(log.clone()).build();
    let app = routes().layer(DeferLayer::new(runner.clone()));
    let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner);
    let client = Tcp::connect(server.addr).await;
    Setup { wire, log, server, client }
}

/// Returns the number of body bytes in the record of a response that may be incomplete.
fn body_bytes(response: &[u8]) -> usize {
    let head = find(response, b"\r\n\r\n").expect("a head") + 4;
    let text = String::from_utf8_lossy(&response[..head]);
    let mut rest = &response[head..];
    if !text.contains("transfer-encoding: chunked") {
        return rest.len();
    }
    let mut body = 0;
    while let Some(line) = find(&rest[..rest.len().min(20)], b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).expect("a chunk size");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        rest = &rest[line + 2..];
        body += size.min(rest.len());
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    body
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Runs a client that sends this, reads 50,000 bytes of the body, and leaves once the socket's buffers are full.
async fn a_client_that_leaves(request: &str) {
    let Setup { wire, log, mut client, server: _server } = start().await;
    client.send(request).await;
    in_time(wire.blocked()).await;
    client.reply("HEAD").await;
    in_time(client.exactly(50_000)).await;
    drop(client);
    let lines = log.wait_for(1).await;
    let accepted = body_bytes(&wire.accepted());
    assert!(accepted < LARGE, "the socket's buffers took everything: nothing is shown");
    assert_eq!(lines, [format!("Disconnected 200 {accepted}")], "{request}");
}

#[tokio::test]
async fn of_a_full_body_that_is_left_what_was_taken_counts() {
    a_client_that_leaves("GET /full HTTP/1.1\r\nhost: test\r\n\r\n").await;
}

#[tokio::test]
async fn of_a_chunked_body_that_is_left_what_was_taken_counts() {
    a_client_that_leaves("GET /chunked HTTP/1.1\r\nhost: test\r\n\r\n").await;
}

#[tokio::test]
async fn of_a_stream_of_known_length_that_is_left_what_was_taken_counts() {
    a_client_that_leaves("GET /announced HTTP/1.1\r\nhost: test\r\n\r\n").await;
}

#[tokio::test]
async fn of_a_body_that_ends_with_the_connection_what_was_taken_counts() {
    for path in ["/full", "/chunked", "/announced"] {
        a_client_that_leaves(&format!("GET {path} HTTP/1.0\r\nhost: test\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_counted_to_its_end() {
    let Setup { wire, log, mut client, server: _server } = start().await;
    client.send("GET /small HTTP/1.0\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.reply("GET").await.body.len(), SMALL);
    assert_eq!(log.wait_for(1).await, [format!("Sent 200 {SMALL}")]);
    assert_eq!(body_bytes(&wire.accepted()), SMALL);
}

#[tokio::test]
async fn a_response_to_head_has_no_bytes() {
    let Setup { log, mut client, server: _server, .. } = start().await;
    for (n, path) in ["/full", "/chunked", "/announced"].into_iter().enumerate() {
        client.send(format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        assert_eq!(client.reply("HEAD").await.status, 200);
        assert_eq!(log.wait_for(n + 1).await[n], "Sent 200 0", "{path}");
    }
}

#[tokio::test]
async fn of_pipelined_responses_each_counts_its_own() {
    for path in ["/chunked", "/full", "/announced"] {
        let Setup { wire, log, mut client, server: _server } = start().await;
        let get = |path| format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        client.send(get("/nothing") + &get(path)).await;
        in_time(wire.blocked()).await;
        assert_eq!(client.reply("GET").await.body.len(), SMALL);
        client.reply("HEAD").await;
        in_time(client.exactly(50_000)).await;
        drop(client);
        let lines = log.wait_for(1).await;
        let accepted = wire.accepted();
        let first = find(&accepted, b"\r\n\r\n").expect("a head") + 4 + SMALL;
        let second = body_bytes(&accepted[first..]);
        assert!(second < LARGE, "the socket's buffers took everything: nothing is shown");
        assert_eq!(lines, [format!("Disconnected 200 {second}")], "{path}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_between_pipelined_responses_has_nothing_of_the_second() {
    let Setup { wire, log, mut client, server: _server } = start().await;
    let get = |path| format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    client.send(get("/full") + &get("/chunked")).await;
    in_time(wire.blocked()).await;
    drop(client);
    // The second request never reaches its handler.
    let lines = log.wait_for(1).await;
    assert_eq!(lines, [format!("Disconnected 200 {}", body_bytes(&wire.accepted()))]);
}

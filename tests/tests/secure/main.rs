//! "Sent" means the same over TLS and under other servers. Runs the table of `sent` for `serve` with a TLS listener, for
//! `axum-server` and for a hyper-util loop, over HTTP/1 and HTTP/2.

mod client;
mod endings;
mod gathered;
mod kinds;
mod late;
mod stop;

use std::{convert::Infallible, io, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, WebSocketUpgrade, ws::WebSocket},
    http::{HeaderMap, HeaderValue, Response, StatusCode},
    routing::get,
};
use bytes::Bytes;
use defer_axum::{DeferLayer, Runner, defer_fn};
use defer_tests::{
    Log, Wire, ask,
    https::{Https, HttpsServer},
    read,
};
use http_body_util::BodyExt;

use self::client::Version;

/// Defers a job that logs how its response ended, and how many bytes in total were accepted when the job started.
fn defer_report(name: &str) {
    let name = name.to_owned();
    defer_fn(move |cx| async move {
        let accepted = cx.state::<Wire>()?.len();
        let response = cx.response().expect("a request's job");
        let (delivery, bytes) = (response.delivery(), response.bytes_sent());
        cx.state::<Log>()?.add(format!("{name} {delivery:?} {bytes} {accepted}"));
        Ok(())
    });
}

/// The routes of all tests.
fn routes(runner: &Runner, log: &Log) -> Router {
    let within = get(|| async {
        defer_report("within");
        "within"
    });
    let within = Router::new().route("/", within).layer(DeferLayer::new(runner.clone()));
    let (log, opened) = (log.clone(), log.clone());
    Router::new()
        .route("/nothing/{size}", get(|Path(size): Path<usize>| async move { vec![b'x'; size] }))
        .route(
            "/full/{size}",
            get(|Path(size): Path<usize>| async move {
                defer_report("full");
                vec![b'x'; size]
            }),
        )
        .route(
            "/streamed/{size}",
            get(|Path(size): Path<usize>| async move {
                defer_report("streamed");
                let chunk = Bytes::from(vec![b'x'; 10_000]);
                let chunks = (0..size).step_by(10_000);
                let chunks =
                    chunks.map(move |at| Ok::<_, Infallible>(chunk.slice(..(size - at).min(10_000))));
                Body::from_stream(tokio_stream::iter(chunks))
            }),
        )
        .route("/empty", get(|| async { defer_report("empty") }))
        .route("/204", get(|| status("204", StatusCode::NO_CONTENT)))
        .route("/304", get(|| status("304", StatusCode::NOT_MODIFIED)))
        .route(
            "/trailers",
            get(|| async {
                defer_report("trailers");
                let trailers =
                    HeaderMap::from_iter([("x-sum".parse().expect("a name"), HeaderValue::from(42))]);
                Body::new(Body::from("abc").with_trailers(async { Some(Ok(trailers)) }))
            }),
        )
        .route("/panics", get(panics))
        .route("/fails", get(fails))
        .route(
            "/never",
            get(|| async move {
                defer_report("never");
                log.add("the handler works");
                std::future::pending::<()>().await
            }),
        )
        .route(
            "/open",
            get(|| async move {
                defer_report("open");
                opened.add("the body is open");
                Body::from_stream(tokio_stream::pending::<Result<Bytes, Infallible>>())
            }),
        )
        .route(
            "/within",
            get(|| async move {
                defer_report("outer");
                read(ask(&within, "/").await).await.to_string()
            }),
        )
        .route("/upgrade", get(upgrade))
}

async fn status(name: &str, status: StatusCode) -> StatusCode {
    defer_report(name);
    status
}

async fn panics() {
    defer_report("panics");
    tokio::task::yield_now().await;
    panic!("the handler's panic");
}

async fn fails() -> Response<Body> {
    defer_report("fails");
    let parts = [Ok(Bytes::from_static(b"abc")), Err(io::Error::other("the body's error"))];
    Response::new(Body::from_stream(tokio_stream::iter(parts)))
}

async fn upgrade(upgrade: WebSocketUpgrade) -> Response<Body> {
    defer_report("upgrade");
    upgrade.on_upgrade(|mut socket: WebSocket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            drop(socket.send(message).await);
        }
    })
}

struct Setup {
    server: HttpsServer,
    runner: Runner,
    wire: Wire,
    log: Log,
}

async fn start(by: Https) -> Setup {
    start_with(by, Duration::from_secs(60)).await
}

/// Starts a server with this time for open connections at a shutdown.
async fn start_with(by: Https, close_timeout: Duration) -> Setup {
    let (wire, log) = (Wire::new(), Log::new());
    let runner = Runner::builder().state(wire.clone()).state(log.clone()).build();
    let app = routes(&runner, &log).layer(DeferLayer::new(runner.clone()));
    let server = by.serve_with(app, &runner, &wire, close_timeout, |_| ()).await;
    Setup { server, runner, wire, log }
}

/// Returns every server with each version of HTTP.
fn all() -> impl Iterator<Item = (Https, Version)> {
    Https::ALL.into_iter().flat_map(|by| [(by, Version::Http1), (by, Version::Http2)])
}

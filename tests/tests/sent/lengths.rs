//! Bodies whose length was announced: a server stops asking for more when it has that much.

use std::{convert::Infallible, io::Write};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::header::CONTENT_LENGTH,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, get_service},
};
use bytes::Bytes;
use defer_axum::DeferLayer;
use defer_tests::{By, Feed, Log, NoteEnding, Tcp, runner};
use tokio_stream::StreamExt;
use tower_http::services::ServeFile;

use defer_tests::{all_have_run, ask, http2};

/// A stream that yields `size` bytes, and announces that.
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

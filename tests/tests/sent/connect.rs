//! WebSockets over HTTP/2 (RFC 8441): an upgrade without an end of its own.

use axum::{
    Router,
    extract::{WebSocketUpgrade, ws::WebSocket},
    routing::{any, get},
};
use bytes::Bytes;
use defer_tests::{By, Log, NoteEnding, runner};
use h2::{RecvStream, SendStream, ext::Protocol};
use http::{Method, Request, Version};

use defer_tests::{
    http2::{self, Client},
    in_time,
};

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

fn routes() -> Router {
    let socket = async |upgrade: WebSocketUpgrade| {
        NoteEnding::defer();
        upgrade.on_upgrade(echo)
    };
    Router::new().route("/socket", any(socket)).route("/settings", get(async || "known"))
}

/// Opens a socket.
async fn open(client: &mut Client) -> (SendStream<Bytes>, RecvStream) {
    let request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri("http://test/socket")
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static("websocket"))
        .body(())
        .expect("a request");
    let (response, send) = client.send.send_request(request, false).expect("the connection is open");
    let response = in_time(response).await.expect("a response");
    assert_eq!(response.status(), 200);
    (send, response.into_body())
}

/// Connects, and waits until the client knows that it may open sockets.
async fn connect(server: &defer_tests::Server) -> Client {
    let mut client = http2::connect(server.addr).await;
    let mut answer = http2::body_of(client.get("/settings").await).await;
    http2::drain(&mut answer).await;
    assert!(client.send.is_extended_connect_protocol_enabled());
    client
}

#[tokio::test]
async fn the_jobs_of_sockets_that_stay_idle_run() {
    const SOCKETS: usize = 40;
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(routes(), &runner(&log)).await;
        let mut client = connect(&server).await;
        let mut sockets = Vec::new();
        for n in 1..=SOCKETS {
            sockets.push(open(&mut client).await);
            // Neither side sends anything more until the job has run.
            log.wait_for(n).await;
        }
        assert_eq!(log.lines(), vec!["Finished 200 0"; SOCKETS], "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_sockets_that_are_opened_at_once_run() {
    const SOCKETS: usize = 40;
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(routes(), &runner(&log)).await;
        let client = connect(&server).await;
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..SOCKETS {
            let mut client = client.clone();
            opening.spawn(async move { open(&mut client).await });
        }
        let sockets = in_time(opening.join_all()).await;
        assert_eq!(log.wait_for(SOCKETS).await, vec!["Finished 200 0"; SOCKETS], "{by:?}");
        drop(sockets);
    }
}

#[tokio::test]
async fn a_socket_goes_on_after_its_job_and_is_told_nothing_of_it() {
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(routes(), &runner(&log)).await;
        let mut client = connect(&server).await;
        let (mut send, mut receive) = open(&mut client).await;
        log.wait_for(1).await;
        for _ in 0..3 {
            // A text frame, masked with zeros. Its echo is not masked.
            send.send_data(Bytes::from_static(b"\x81\x82\0\0\0\0hi"), false).expect("the socket is open");
            let echo = in_time(receive.data()).await.expect("the socket is open").expect("an echo");
            assert_eq!(echo, b"\x81\x02hi"[..], "{by:?}");
        }
        drop((send, receive));
        server.runner.idle().await;
        assert_eq!(log.lines(), ["Finished 200 0"], "{by:?}");
    }
}

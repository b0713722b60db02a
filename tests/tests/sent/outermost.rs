//! Under `serve`, the outgoing response decides, whatever is between the layer and the server.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use defer_axum::{DeferLayer, Runner, defer_fn};
use defer_tests::{By, Log, Server, Tcp, Wire, WireListener, http1_ends};
use http::StatusCode;
use std::net::SocketAddr;
use tower_http::compression::CompressionLayer;

const LARGE: usize = 8 * 1024 * 1024;

fn defer_report() {
    defer_fn(|cx| async move {
        let accepted = cx.state::<Wire>()?.len();
        let response = cx.response().expect("a request's job");
        let status = response.status().map_or(0, |status| status.as_u16());
        let kind =
            response.headers().get("content-encoding").map_or("-", |value| value.to_str().unwrap_or("?"));
        let line = format!("{status} {:?} {} {kind} {accepted}", response.delivery(), response.bytes_sent());
        cx.state::<Log>()?.add(line);
        Ok(())
    });
}

async fn large() -> Vec<u8> {
    defer_report();
    vec![b'x'; LARGE]
}

struct Setup {
    server: Server,
    wire: Wire,
    log: Log,
}

/// Serves routes under a `DeferLayer`, with something around it.
async fn start(routes: Router, around: impl FnOnce(Router) -> Router) -> Setup {
    let (wire, log) = (Wire::new(), Log::new());
    let runner = Runner::builder().state(wire.clone()).state(log.clone()).build();
    let layer = DeferLayer::new(runner.clone()).capture_response_headers(["content-encoding"]);
    let app = around(routes.layer(layer));
    let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner);
    Setup { server, wire, log }
}

/// Collects the whole body and answers with it. The layer's body has ended long before the response is sent.
async fn collect(request: Request, next: Next) -> Response {
    let (head, body) = next.run(request).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("the body does not fail");
    Response::from_parts(head, Body::from(body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_outside_that_collects_the_body_does_not_let_jobs_start_early() {
    let routes = Router::new().route("/", get(large));
    let Setup { server, wire, log } = start(routes, |app| app.layer(from_fn(collect))).await;
    let mut client = Tcp::connect(server.addr).await;
    client.send_get("/").await;
    wire.blocked().await;
    assert_eq!(log.lines(), [""; 0]);
    assert_eq!(client.reply("GET").await.body.len(), LARGE);
    let lines = log.wait_for(1).await;
    let accepted = wire.len();
    assert_eq!(lines, [format!("200 Sent {LARGE} - {accepted}")]);
    assert_eq!(http1_ends(&wire.accepted()), [accepted]);
}

#[tokio::test]
async fn a_compressed_response_is_sent_when_its_compressed_bytes_are() {
    let routes = Router::new().route("/", get(large));
    let Setup { server, wire, log } = start(routes, |app| app.layer(CompressionLayer::new())).await;
    let mut client = Tcp::connect(server.addr).await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\naccept-encoding: gzip\r\n\r\n").await;
    let reply = client.reply("GET").await;
    assert!(reply.head.contains("content-encoding: gzip"));
    let lines = log.wait_for(1).await;
    assert_eq!(lines, [format!("200 Sent {} gzip {}", reply.body.len(), wire.len())]);
}

#[tokio::test]
async fn a_layer_outside_that_replaces_the_response_gives_its_status() {
    let replace = |_: Request, _: Next| async { StatusCode::IM_A_TEAPOT.into_response() };
    let after = |request: Request, next: Next| async {
        drop(next.run(request).await);
        (StatusCode::BAD_GATEWAY, "replaced").into_response()
    };
    let routes = Router::new().route("/", get(large));
    let Setup { server, log, .. } = start(routes.clone(), |app| app.layer(from_fn(after))).await;
    assert_eq!(Tcp::connect(server.addr).await.get("/").await.text(), "replaced");
    assert!(log.wait_for(1).await[0].starts_with("502 Sent 8 "), "{:?}", log.lines());

    let Setup { server, .. } = start(routes, |app| app.layer(from_fn(replace))).await;
    assert_eq!(Tcp::connect(server.addr).await.get("/").await.status, 418);
    assert_eq!(server.runner.stats().deferred, 0);
}

#[tokio::test]
async fn two_layers_release_theirs_with_the_same_response() {
    let (log, outer_log) = (Log::new(), Log::new());
    let inner = Runner::builder().state(log.clone()).state(Wire::new()).build();
    let outer = Runner::builder().state(outer_log.clone()).state(Wire::new()).build();
    let also = |request: Request, next: Next| async {
        defer_report();
        next.run(request).await
    };
    let app = Router::new()
        .route("/", get(large))
        .layer(DeferLayer::new(inner))
        .layer(from_fn(also))
        .layer(DeferLayer::new(outer.clone()));
    let server = By::Defer.serve_app(app, outer).await;
    Tcp::connect(server.addr).await.get("/").await;
    for log in [log, outer_log] {
        assert!(log.wait_for(1).await[0].starts_with(&format!("200 Sent {LARGE} ")), "{:?}", log.lines());
    }
}

#[tokio::test]
async fn jobs_of_a_stream_that_is_polled_by_another_task_are_not_lost() {
    let spawned = |request: Request, next: Next| async {
        let (head, body) = next.run(request).await.into_parts();
        let body = tokio::spawn(to_bytes(body, usize::MAX)).await.expect("no panic").expect("no error");
        Response::from_parts(head, Body::from(body))
    };
    let routes = Router::new().route(
        "/",
        get(|| async {
            let chunks = (0..3).map(|_| {
                defer_report();
                Ok::<_, Infallible>(Bytes::from_static(b"abc"))
            });
            Body::from_stream(tokio_stream::iter(chunks))
        }),
    );
    let Setup { server, log, .. } = start(routes, |app| app.layer(from_fn(spawned))).await;
    assert_eq!(Tcp::connect(server.addr).await.get("/").await.text(), "abcabcabc");
    let lines = log.wait_for(3).await;
    assert!(lines.iter().all(|line| line.starts_with("200 Finished 9 ")), "{lines:?}");
}

fn who() -> Router {
    Router::new().route(
        "/",
        get(|ConnectInfo(addr): ConnectInfo<SocketAddr>| async move {
            defer_report();
            addr.to_string()
        }),
    )
}

#[tokio::test]
async fn connect_info_works_with_a_plain_router_and_with_a_make_service() {
    let Setup { server, .. } = start(who(), |app| app).await;
    let mut client = Tcp::connect(server.addr).await;
    assert_eq!(client.get("/").await.text(), client.stream.local_addr().unwrap().to_string());

    let runner = Runner::builder().state(Log::new()).state(Wire::new()).build();
    let app = who().layer(DeferLayer::new(runner.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(defer_axum::serve(listener, app).into_future());
    let mut client = Tcp::connect(addr).await;
    assert_eq!(client.get("/").await.text(), client.stream.local_addr().unwrap().to_string());
}

#[tokio::test]
async fn every_axum_listener_and_service_is_served() {
    let log = Log::new();
    let runner = Runner::builder().state(log.clone()).state(Wire::new()).build();
    let handler = || async {
        defer_report();
        "hello"
    };

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tapped = listener.tap_io(|io| io.set_nodelay(true).expect("an open socket"));
    let app = get(handler).layer(DeferLayer::new(runner.clone()));
    let serve = defer_axum::serve(tapped, app);
    assert_eq!(serve.local_addr().unwrap(), addr);
    tokio::spawn(serve.into_future());
    assert_eq!(Tcp::connect(addr).await.get("/").await.text(), "hello");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()));
    tokio::spawn(defer_axum::serve(listener, app.clone().into_make_service()).into_future());
    assert_eq!(Tcp::connect(addr).await.get("/").await.text(), "hello");

    let folder = std::env::temp_dir().join(format!("defer-axum-{}", std::process::id()));
    drop(std::fs::remove_file(&folder));
    let listener = tokio::net::UnixListener::bind(&folder).unwrap();
    tokio::spawn(defer_axum::serve(listener, app).into_future());
    let mut client = tokio::net::UnixStream::connect(&folder).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, request).await.unwrap();
    let mut reply = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client, &mut reply).await.unwrap();
    assert!(reply.ends_with("hello"), "{reply}");
    std::fs::remove_file(&folder).unwrap();

    let lines = log.wait_for(3).await;
    assert!(lines.iter().all(|line| line.starts_with("200 Sent 5")), "{lines:?}");
}

#[tokio::test]
async fn a_graceful_shutdown_finishes_open_requests_then_their_jobs() {
    let (entered, leave) = (Log::new(), Log::new());
    let (enter, left) = (entered.clone(), leave.clone());
    let routes = Router::new().route(
        "/",
        get(|| async move {
            defer_report();
            enter.add("in");
            left.wait_for(1).await;
            "hello"
        }),
    );
    let Setup { server, log, .. } = start(routes, |app| app).await;
    let mut client = Tcp::connect(server.addr).await;
    client.send_get("/").await;
    entered.wait_for(1).await;
    let addr = server.addr;
    let stopping = tokio::spawn(server.stop());
    // Once connecting fails, the listener is gone.
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    leave.add("out");
    assert_eq!(client.reply("GET").await.text(), "hello");
    let report = stopping.await.unwrap();
    assert!(report.unfinished.is_empty());
    assert!(log.lines()[0].starts_with("200 Sent 5"), "{:?}", log.lines());
}

#[tokio::test]
async fn at_the_drain_timeout_the_unfinished_jobs_are_named() {
    let runner = Runner::default();
    let app = Router::new()
        .route(
            "/",
            get(|| async {
                defer_fn(|_| std::future::pending::<()>());
                "hello"
            }),
        )
        .layer(DeferLayer::new(runner.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (signal, stopped) = tokio::sync::oneshot::channel::<()>();
    let serve = defer_axum::serve(listener, app)
        .with_graceful_shutdown(async move { drop(stopped.await) })
        .drain_timeout(Duration::from_millis(10));
    let serving = tokio::spawn(serve.into_future());
    assert_eq!(Tcp::connect(addr).await.get("/").await.text(), "hello");
    drop(signal);
    let report = serving.await.unwrap().unwrap();
    assert_eq!(report.unfinished.len(), 1);
    assert!(report.unfinished[0].name.contains("at_the_drain_timeout"), "{report:?}");
    assert_eq!(runner.stats().abandoned, 1);
}

#[tokio::test]
async fn a_server_that_is_dropped_finishes_what_it_has_begun_and_listens_to_its_signal() {
    for is_graceful in [false, true] {
        let (entered, leave, log) = (Log::new(), Log::new(), Log::new());
        let (enter, left) = (entered.clone(), leave.clone());
        let runner = Runner::builder().state(log.clone()).state(Wire::new()).build();
        let handler = async move || {
            defer_report();
            enter.add("in");
            left.wait_for(1).await;
            "hello"
        };
        let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (signal, stopped) = tokio::sync::oneshot::channel::<()>();
        let serve = defer_axum::serve(listener, app);
        let serving = if is_graceful {
            let serve = serve.with_graceful_shutdown(async move { drop(stopped.await) });
            tokio::spawn(async { drop(serve.await) })
        } else {
            tokio::spawn(async { drop(serve.await) })
        };
        let mut client = Tcp::connect(addr).await;
        client.send_get("/").await;
        entered.wait_for(1).await;
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "it accepts no more");

        leave.add("out");
        assert_eq!(client.reply("GET").await.text(), "hello");
        assert!(log.wait_for(1).await[0].starts_with("200 Sent 5"), "{:?}", log.lines());
        if is_graceful {
            assert_eq!(client.get("/").await.text(), "hello", "the connection goes on");
            assert!(log.wait_for(2).await[1].starts_with("200 Sent 5"), "{:?}", log.lines());
            drop(signal);
        }
        assert!(!client.fill().await, "and ends, at the signal if there is one");
    }
}

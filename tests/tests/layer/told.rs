//! A job's view of its request and response.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::Path,
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use defer_axum::{DeferLayer, JobContext, JobResult, RequestInfo, ResponseInfo, Runner, defer_fn};
use defer_tests::{By, Log, Note, Tcp, runner};
use http::{HeaderMap, StatusCode};

/// Defers a job that logs what `pick` returns.
fn note_request(pick: impl FnOnce(&RequestInfo) -> String + Send + 'static) {
    defer_fn(move |cx: JobContext| async move {
        cx.state::<Log>()?.add(pick(cx.request().expect("a request's job")));
        JobResult::Ok(())
    });
}

fn note_response(pick: impl FnOnce(&ResponseInfo) -> String + Send + 'static) {
    defer_fn(move |cx: JobContext| async move {
        cx.state::<Log>()?.add(pick(cx.response().expect("a request's job")));
        JobResult::Ok(())
    });
}

fn list(headers: &HeaderMap) -> String {
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    lines.join(" ")
}

#[tokio::test]
async fn a_job_knows_the_method_the_uri_and_the_version() {
    async fn handler(_: String) {
        note_request(|request| format!("{} {} {:?}", request.method(), request.uri(), request.version()));
    }
    for by in By::BOTH {
        let log = Log::new();
        let routes = Router::new().route("/users/{id}", get(handler).post(handler));
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/users/7?tab=mail&tab=more").await;
        log.wait_for(1).await;
        client.send("POST /users/8 HTTP/1.0\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody").await;
        client.reply("POST").await;
        let expected = ["GET /users/7?tab=mail&tab=more HTTP/1.1", "POST /users/8 HTTP/1.0"];
        assert_eq!(log.wait_for(2).await, expected, "{by:?}");
    }
}

#[tokio::test]
async fn a_job_knows_the_route_that_matched() {
    async fn handler() {
        note_request(|request| format!("{} {:?}", request.uri(), request.matched_path()));
    }
    for by in By::BOTH {
        let log = Log::new();
        let inner = Router::new().route("/", get(handler)).route("/{id}/mail/{*rest}", get(handler));
        let routes = Router::new()
            .route("/", get(handler))
            .route("/users/{id}", get(handler))
            .nest("/api", Router::new().nest("/users", inner))
            .fallback(handler);
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        let paths = [
            ("/", Some("/")),
            ("/users/7", Some("/users/{id}")),
            ("/users/8", Some("/users/{id}")),
            ("/api/users", Some("/api/users")),
            ("/api/users/7/mail/a/b", Some("/api/users/{id}/mail/{*rest}")),
            ("/nothing/here", None),
        ];
        for (nth, (path, route)) in (1..).zip(paths) {
            client.get(path).await;
            let lines = log.wait_for(nth).await;
            assert_eq!(lines.last().map(String::as_str), Some(&*format!("{path} {route:?}")), "{by:?}");
        }
    }
}

#[tokio::test]
async fn a_service_on_several_routes_knows_each() {
    use tower::Layer;
    async fn handler() {
        note_request(|request| format!("{:?}", request.matched_path()));
    }
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let service = DeferLayer::new(runner.clone()).layer(get(handler));
        let app =
            Router::new().route_service("/users/{id}", service.clone()).route_service("/carts/{id}", service);
        let server = by.serve_app(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        for (nth, route) in (1..).zip(["users", "carts", "users"]) {
            client.get(&format!("/{route}/7")).await;
            log.wait_for(nth).await;
        }
        let [users, carts] = [r#"Some("/users/{id}")"#, r#"Some("/carts/{id}")"#];
        assert_eq!(log.lines(), [users, carts, users], "{by:?}");
    }
}

#[tokio::test]
async fn a_layer_outside_of_the_router_knows_no_route() {
    use tower::Layer;
    async fn handler() {
        note_request(|request| format!("{:?}", request.matched_path()));
    }
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let routes = Router::new().route("/users/{id}", get(handler));
        let app = Router::new().fallback_service(DeferLayer::new(runner.clone()).layer(routes));
        let server = by.serve_app(app, &runner).await;
        Tcp::connect(server.addr).await.get("/users/7").await;
        assert_eq!(log.wait_for(1).await, ["None"], "{by:?}");
    }
}

#[tokio::test]
async fn a_job_sees_the_headers_that_the_layer_captures_and_no_others() {
    async fn handler() -> Response {
        note_request(|request| list(request.headers()));
        note_response(|response| list(response.headers()));
        [("location", "/users/7"), ("set-cookie", "token")].into_response()
    }
    const REQUEST: &str = "GET / HTTP/1.1\r\nhost: test\r\nx-tag: a\r\ncookie: token\r\nX-Tag: b\r\n\r\n";
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let layer = DeferLayer::new(runner.clone())
            .capture_request_headers(["x-tag", "x-not-sent"])
            .capture_response_headers([http::header::LOCATION]);
        let app = Router::new().route("/", get(handler)).layer(layer);
        let server = by.serve_app(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send(REQUEST).await;
        client.reply("GET").await;
        let expected = [r#"x-tag="a" x-tag="b""#, r#"location="/users/7""#];
        assert_eq!(log.wait_for(2).await, expected, "{by:?}");
    }
}

#[tokio::test]
async fn a_job_sees_no_headers_unless_the_layer_captures_them() {
    async fn handler() -> Response {
        note_request(|request| list(request.headers()));
        note_response(|response| list(response.headers()));
        [("location", "/users/7")].into_response()
    }
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        Tcp::connect(server.addr).await.get("/").await;
        assert_eq!(log.wait_for(2).await, ["", ""], "{by:?}");
    }
}

#[tokio::test]
async fn a_job_knows_how_the_response_ended() {
    async fn handler(Path(status): Path<u16>) -> Response {
        note_response(|response| {
            assert!(response.elapsed() > Duration::ZERO);
            let status = response.status().map(|status| status.as_u16());
            let (bytes, success) = (response.bytes_sent(), response.is_success());
            format!("{:?} {status:?} {bytes} {success}", response.delivery())
        });
        let status = StatusCode::from_u16(status).expect("a status in the path");
        (status, "x".repeat(100_000)).into_response()
    }
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(Router::new().route("/{status}", get(handler)), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        let statuses = [(200, true), (201, true), (303, true), (400, false), (503, false)];
        for (nth, (status, success)) in (1..).zip(statuses) {
            assert_eq!(client.get(&format!("/{status}")).await.body.len(), 100_000);
            let lines = log.wait_for(nth).await;
            let expected = format!("{:?} Some({status}) 100000 {success}", by.whole());
            assert_eq!(lines.last(), Some(&expected), "{by:?}");
        }
    }
}

#[tokio::test]
async fn the_bytes_sent_are_those_of_the_body_without_its_transfer_coding() {
    use tokio_stream::iter;
    async fn handler() -> axum::body::Body {
        note_response(|response| response.bytes_sent().to_string());
        axum::body::Body::from_stream(iter([Ok::<_, std::io::Error>("four"), Ok(""), Ok("seventeen")]))
    }
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.body.len(), 13);
        assert_eq!(log.wait_for(1).await, ["13"], "{by:?}");
    }
}

#[tokio::test]
async fn under_serve_a_job_is_told_of_the_head_that_goes_out() {
    async fn handler() -> &'static str {
        note_response(|response| format!("{:?} {}", response.status(), list(response.headers())));
        "hello"
    }
    async fn replace(mut response: Response) -> Response {
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert("x-from", "outside".parse().expect("a header value"));
        response
    }
    let log = Log::new();
    let runner = runner(&log);
    let layer = DeferLayer::new(runner.clone()).capture_response_headers(["x-from"]);
    let app = Router::new().route("/", get(handler)).layer(layer).layer(map_response(replace));
    let server = By::Defer.serve_app(app, &runner).await;
    assert_eq!(Tcp::connect(server.addr).await.get("/").await.status, 418);
    assert_eq!(log.wait_for(1).await, [r#"Some(418) x-from="outside""#]);
}

#[tokio::test]
async fn every_job_of_a_request_is_told_the_same() {
    async fn handler() {
        for _ in 0..2 {
            note_request(|request| request.uri().to_string());
        }
        Note::defer("between");
        note_request(|request| request.method().to_string());
    }
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(Router::new().route("/", post(handler)), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await;
        client.reply("POST").await;
        assert_eq!(log.wait_for(4).await, ["/", "/", "between", "POST"], "{by:?}");
    }
}

#[tokio::test]
async fn a_hook_is_told_of_the_request_and_of_the_response_once_they_are_known() {
    for by in By::BOTH {
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        let runner = Runner::builder()
            .on_event(move |event| {
                let about = (
                    event.method().map(ToString::to_string),
                    event.matched_path().map(str::to_owned),
                    event.status().map(|status| status.as_u16()),
                    event.delivery(),
                    event.wait().is_some(),
                );
                seen.lock().expect("no panic").push(about);
            })
            .build();
        let handler = async |_: Path<u32>| {
            defer_fn(|_| async {});
            StatusCode::CREATED
        };
        let server = by.serve(Router::new().route("/items/{id}", get(handler)), &runner).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/items/7").await.status, 201);
        runner.idle().await;
        let known =
            (Some("GET".to_owned()), Some("/items/{id}".to_owned()), Some(201), Some(by.whole()), true);
        // Deferred, started, succeeded.
        assert_eq!(*log.lock().expect("no panic"), [(None, None, None, None, false), known.clone(), known]);
        server.stop().await;
    }
}

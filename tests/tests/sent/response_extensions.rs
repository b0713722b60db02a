//! Jobs deferred by a response's extensions while they are dropped. The server drops them once it has the head.

use std::sync::Arc;

use axum::{
    Extension, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use defer_axum::DeferLayer;
use defer_tests::{By, FedBody, Feed, Log, NoteEnding, Tcp, http2, runner};
use hyper::ext::ReasonPhrase;

struct DefersOnDrop;

impl Drop for DefersOnDrop {
    fn drop(&mut self) {
        NoteEnding::defer();
    }
}

fn guard() -> Extension<Arc<DefersOnDrop>> {
    Extension(Arc::new(DefersOnDrop))
}

fn routes(open: FedBody) -> Router {
    Router::new()
        .route("/alone", get(async || (guard(), "x")))
        .route("/empty", get(async || (guard(), StatusCode::NO_CONTENT)))
        .route(
            "/second",
            get(async || {
                NoteEnding::defer();
                (guard(), "xx")
            }),
        )
        .route("/streams", get(async move || (guard(), open.take())))
}

#[tokio::test]
async fn the_jobs_see_how_the_response_ended() {
    for is_nested in [false, true] {
        for is_http2 in [false, true] {
            for (path, endings) in [
                ("/alone", &["Sent 200 1"][..]),
                ("/empty", &["Sent 204 0"]),
                ("/second", &["Sent 200 2", "Sent 200 2"]),
                ("/streams", &["Sent 200 5"]),
            ] {
                let (log, other, (feed, body)) = (Log::new(), Log::new(), Feed::new());
                let mut routes = routes(body);
                if is_nested {
                    routes = routes.layer(DeferLayer::new(runner(&log)));
                }
                let server = By::Defer.serve(routes, &runner(if is_nested { &other } else { &log })).await;
                feed.send("01234");
                drop(feed);
                if is_http2 {
                    let mut client = http2::connect(server.addr).await;
                    http2::drain(&mut http2::body_of(client.get(path).await).await).await;
                } else {
                    Tcp::connect(server.addr).await.get(path).await;
                }
                assert_eq!(log.wait_for(endings.len()).await, endings, "{path}, HTTP/2: {is_http2}");
                assert_eq!(other.lines(), [""; 0]);
            }
        }
    }
}

#[tokio::test]
async fn what_the_server_reads_of_them_stays() {
    async fn fine() -> Response {
        (guard(), Extension(ReasonPhrase::from_static(b"Fine")), "x").into_response()
    }
    let log = Log::new();
    let server = By::Defer.serve(Router::new().route("/", get(fine)), &runner(&log)).await;
    let reply = Tcp::connect(server.addr).await.get("/").await;
    assert!(reply.head.starts_with("http/1.1 200 fine\r\n"), "{}", reply.head);
    assert_eq!(log.wait_for(1).await, ["Sent 200 1"]);
}

//! A server without jobs for `scripts/throughput.sh`: `throughput-server axum` or `throughput-server defer`.

use axum::{Router, body::Bytes, routing::get};
use defer_axum::{DeferLayer, Runner};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new()
        .route("/small", get(|| async { "hello" }))
        .route("/large", get(|| async { Bytes::from_static(&[b'x'; 1024 * 1024]) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    match std::env::args().nth(1).as_deref() {
        Some("axum") => axum::serve(listener, app).await,
        Some("defer") => {
            let runner = Runner::default();
            let app = app.layer(DeferLayer::new(runner.clone()));
            defer_axum::serve(listener, app, runner).await.map(drop)
        }
        _ => Err(std::io::Error::other("usage: throughput-server axum | defer")),
    }
}

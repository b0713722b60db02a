use axum::{Router, extract::State, routing::get};
use defer_axum::{DeferLayer, Runner};

#[derive(Clone)]
struct Pool;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let runner = Runner::default();
    let app = Router::new()
        .route("/", get(async |_: State<Pool>| "hello"))
        .layer(DeferLayer::new(runner.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    defer_axum::serve(listener, app).with_graceful_shutdown(async {}).await.map(drop)
}

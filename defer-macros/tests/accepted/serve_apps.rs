//! What `serve` takes.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, State},
    routing::get,
};
use defer_axum::serve;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Pool;

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// An app of any kind that axum's `serve` takes, too.
fn drop_unserved<L, M>(_: serve::Serve<L, M>) {}

#[tokio::test]
async fn serve_takes_what_the_one_of_axum_takes() -> std::io::Result<()> {
    let app = Router::new().route("/", get(async |_: State<Pool>| "hello")).with_state(Pool);
    drop_unserved(serve(listener().await, app.clone()));
    drop_unserved(serve(listener().await, app.clone().into_make_service()));
    drop_unserved(serve(listener().await, get(async || "hello")));
    let with_address = Router::new().route("/", get(async |_: ConnectInfo<SocketAddr>| "hello"));
    drop_unserved(serve(
        listener().await,
        with_address.clone().into_make_service_with_connect_info::<SocketAddr>(),
    ));
    let told = serve::with_connect_info(listener().await, |_, addr| addr);
    drop_unserved(serve(told, with_address));
    serve(listener().await, app).with_graceful_shutdown(async {}).await?;
    Ok(())
}

//! `cargo run -p accesslog`: a service that logs each request in `accesslog.db`, fifty rows with one INSERT. It listens on port 3000.

use accesslog::{AccessLog, app};
use defer_axum::Runner;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let log = AccessLog::open("sqlite:accesslog.db").await?;
    let runner = Runner::builder().state(log).build();
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let signal = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    // Rows that are waiting for their batch are written now.
    defer_axum::serve(listener, app(runner)).with_graceful_shutdown(signal).await?;
    Ok(())
}

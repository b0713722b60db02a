//! A partner for trying the example. It fails the first two calls for each order, and then accepts it.

use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use tokio::net::TcpListener;

/// The number of calls with each idempotency key.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<HashMap<String, u32>>>);

/// Starts the partner on a free port. Returns the URL for orders.
pub(crate) async fn start() -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    let app = Router::new().route("/orders", post(receive)).with_state(Calls::default());
    // It keeps running while the service drains its jobs, and ends with the process.
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(url)
}

async fn receive(State(calls): State<Calls>, headers: HeaderMap) -> StatusCode {
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut calls = calls.0.lock().unwrap_or_else(PoisonError::into_inner);
    let calls = calls.entry(key.to_owned()).or_default();
    *calls += 1;
    if *calls <= 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::ACCEPTED }
}

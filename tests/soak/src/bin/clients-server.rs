//! A server for `scripts/clients.sh`: each response of its routes defers one job, which counts how it was delivered.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    routing::{get, post},
};
use defer_axum::{DeferLayer, Delivery, Runner, Stats, defer_fn};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Clone, Default)]
struct Sent(Arc<AtomicU64>);

fn count() {
    defer_fn(|cx| async move {
        if cx.response().is_some_and(|response| response.delivery() == Delivery::Sent) {
            cx.state::<Sent>()?.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
}

async fn hello() -> &'static str {
    count();
    "hello"
}

async fn large() -> Bytes {
    count();
    Bytes::from_static(&[b'x'; 1024 * 1024])
}

async fn stream() -> Body {
    count();
    let chunks = (0..100).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1000])));
    Body::from_stream(tokio_stream::iter(chunks))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let sent = Sent::default();
    let runner = Runner::builder().state(sent.clone()).build();
    let before = Arc::new(std::sync::Mutex::new(Stats::default()));

    let counts = {
        let (runner, before, sent) = (runner.clone(), before.clone(), sent.clone());
        move || async move {
            runner.idle().await;
            let (now, before) = (runner.stats(), *before.lock().expect("nothing panics with it"));
            Json(serde_json::json!({
                "deferred": now.deferred - before.deferred,
                "succeeded": now.succeeded - before.succeeded,
                "pending": now.pending,
                "running": now.running,
                "sent": sent.0.load(Ordering::Relaxed),
            }))
        }
    };
    let reset = {
        let runner = runner.clone();
        move || async move {
            *before.lock().expect("nothing panics with it") = runner.stats();
            sent.0.store(0, Ordering::Relaxed);
        }
    };
    let app = Router::new()
        .route("/hello", get(hello))
        .route("/large", get(large))
        .route("/stream", get(stream))
        .layer(DeferLayer::new(runner.clone()))
        .route("/stats", get(counts))
        .route("/reset", post(reset));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut terminated = signal(SignalKind::terminate())?;
    let report = defer_axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            terminated.recv().await;
        })
        .await?;
    assert!(report.unfinished.is_empty(), "{report:?}");
    Ok(())
}

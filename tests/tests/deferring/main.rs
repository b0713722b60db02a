//! Deferring: the `Defer` extractor, the handle to a job and its conditions, deferring outside a request, and to a queue.

mod conditions;
mod extract;
mod handles;
mod latest;
mod outside;
mod queued;

use axum::{Router, handler::Handler, routing::get};
use defer_axum::Stats;
use defer_tests::{By, Log, Note, Tcp, runner};

fn note(line: &str) -> Note {
    Note { line: line.to_owned() }
}

/// Returns what the jobs of this handler write for one request, and how they ended.
async fn log_and_stats<H: Handler<T, ()>, T: 'static>(by: By, handler: H) -> (Vec<String>, Stats) {
    let log = Log::new();
    let runner = runner(&log);
    let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
    Tcp::connect(server.addr).await.get("/").await;
    runner.idle().await;
    (log.lines(), runner.stats())
}

/// Returns what the jobs of this handler write for one request.
async fn log<H: Handler<T, ()>, T: 'static>(by: By, handler: H) -> Vec<String> {
    log_and_stats(by, handler).await.0
}

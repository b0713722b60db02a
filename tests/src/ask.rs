//! Makes requests within this process, and waits for the runner.

use std::{future::Future, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use defer_axum::{Runner, Stats};
use tower::ServiceExt;

/// Waits for something that never happens after a deadlock.
pub async fn in_time<F: Future>(future: F) -> F::Output {
    let limited = tokio::time::timeout(Duration::from_secs(60), future).await;
    limited.expect("everything makes progress")
}

/// Makes a request within this process.
pub async fn ask(router: &Router, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Reads a response to its end. Returns its length.
pub async fn read(response: Response) -> usize {
    to_bytes(response.into_body(), usize::MAX).await.expect("the body does not fail").len()
}

/// Waits until the runner is idle, and checks that every job succeeded. Returns the number of jobs.
pub async fn all_have_run(runner: &Runner) -> u64 {
    in_time(runner.idle()).await;
    let Stats { deferred, succeeded, pending, running, .. } = runner.stats();
    assert_eq!((pending, running, succeeded), (0, 0, deferred));
    deferred
}

//! Every request has its row.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use accesslog::{AccessLog, LogRequest, app};
use axum::{body::Body, extract::Request};
use defer_axum::{Runner, testing::Recorder};
use tempfile::TempDir;
use tower::ServiceExt;

async fn log() -> (TempDir, AccessLog) {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("log.db").display());
    (folder, AccessLog::open(&url).await.unwrap())
}

async fn ask(runner: &Runner, path: &str) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = app(runner.clone()).oneshot(request).await.unwrap();
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_writes_the_rows_that_wait_for_their_batch() {
    let (_folder, log) = log().await;
    let runner = Runner::builder().state(log.clone()).build();
    for number in 0..120 {
        ask(&runner, &format!("/{number}")).await;
    }
    let report = runner.shutdown(Duration::from_secs(60)).await;
    assert!(report.unfinished.is_empty(), "{report:?}");
    assert_eq!(log.count().await.unwrap(), 120);
    assert_eq!(runner.stats().succeeded, 120);
}

#[tokio::test]
async fn each_request_is_logged_with_its_path() {
    let (_folder, log) = log().await;
    let recorder = Recorder::with(Runner::builder().state(log.clone()));
    ask(recorder.runner(), "/").await;
    ask(recorder.runner(), "/nowhere").await;
    recorder
        .assert_deferred::<LogRequest>(|request| request.0.path == "/nowhere" && request.0.method == "GET");
    recorder.run_all_ok().await;
    assert_eq!(log.count().await.unwrap(), 2);
}

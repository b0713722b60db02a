//! What a function that is a job may return.
#![deny(warnings, missing_docs, unused)]

use std::{
    error::Error,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use defer_axum::{JobContext, JobError, Runner, job};

type Count = Arc<AtomicU32>;

/// An error that does not implement `Error`, and says itself what it means.
struct Refused;

impl From<Refused> for JobError {
    fn from(_: Refused) -> Self {
        Self::msg("refused").fatal()
    }
}

#[job]
async fn nothing(cx: &JobContext) {
    cx.state::<Count>().unwrap().fetch_add(1, Ordering::Relaxed);
}

#[job]
async fn unit() -> () {}

#[job]
async fn of_std(path: String) -> io::Result<()> {
    std::fs::read(path).map(drop)
}

#[job]
async fn of_fmt() -> Result<(), fmt::Error> {
    Err(fmt::Error)
}

#[job]
async fn boxed() -> Result<(), Box<dyn Error + Send + Sync>> {
    Err("boxed".into())
}

#[job(tries = 3)]
async fn fatal() -> Result<(), Refused> {
    Err(Refused)
}

#[tokio::test]
async fn a_function_returns_nothing_or_a_result() {
    let count = Count::default();
    let runner = Runner::builder().state(count.clone()).build();
    defer_axum::scope(&runner, async {
        nothing::defer();
        unit::defer();
        of_std::defer("/there is no such file");
        of_fmt::defer();
        boxed::defer();
        fatal::defer();
    })
    .await;
    runner.idle().await;
    let stats = runner.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.retried), (2, 4, 0));
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

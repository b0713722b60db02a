//! The server under load: each request defers five jobs, some of which fail in each of the possible ways.

use std::{
    fmt::Write as _,
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, response::Response, routing::get};
use bytes::Bytes;
use defer_axum::{
    DeferLayer, Deferrable, Job, JobContext, JobError, JobResult, Runner,
    event::{JobEvent, JobEventKind},
};
use tokio::io::AsyncReadExt;

use crate::Failure;

/// Serves until its standard input ends, drains, and prints the counts.
pub(crate) async fn run() -> Result<(), Failure> {
    // Ten thousand of them happen on purpose.
    std::panic::set_hook(Box::new(|_| ()));
    let runner = Runner::builder().on_event(count).build();
    let app = Router::new()
        .route("/", get(plain))
        .route("/slow", get(slow))
        .route("/stream", get(stream))
        .layer(DeferLayer::new(runner.clone()))
        .route("/figures", get(|State(runner): State<Runner>| async move { figures(&runner) }))
        .with_state(runner.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let report = defer_axum::serve(listener, app)
        .with_graceful_shutdown(async {
            let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
        })
        .await?;
    println!("{}unfinished {}", figures(&runner), report.unfinished.len());
    Ok(())
}

async fn plain() -> &'static str {
    defer_five();
    "done"
}

/// A client may leave before there is a response.
async fn slow() -> &'static str {
    defer_five();
    tokio::time::sleep(Duration::from_millis(2)).await;
    "done"
}

/// A client may leave before it has the whole body.
async fn stream() -> Response {
    defer_five();
    static PART: [u8; 16 * 1024] = [b'.'; 16 * 1024];
    let parts = tokio_stream::iter((0..16).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&PART))));
    Response::new(Body::from_stream(parts))
}

/// Separate counts of the handlers, the jobs and the hook.
#[derive(Default)]
struct Counted {
    requests: AtomicU64,
    deferred: AtomicU64,
    /// Keyed by the intended end of the job.
    to_succeed: AtomicU64,
    to_fail: AtomicU64,
    to_retry: AtomicU64,
    /// Keyed by what the jobs did.
    ok: AtomicU64,
    retries: AtomicU64,
    /// Keyed by what the hook received.
    told_deferred: AtomicU64,
    told_succeeded: AtomicU64,
    told_failed: AtomicU64,
    told_retrying: AtomicU64,
    told_other: AtomicU64,
}

static COUNTED: Counted = Counted {
    requests: AtomicU64::new(0),
    deferred: AtomicU64::new(0),
    to_succeed: AtomicU64::new(0),
    to_fail: AtomicU64::new(0),
    to_retry: AtomicU64::new(0),
    ok: AtomicU64::new(0),
    retries: AtomicU64::new(0),
    told_deferred: AtomicU64::new(0),
    told_succeeded: AtomicU64::new(0),
    told_failed: AtomicU64::new(0),
    told_retrying: AtomicU64::new(0),
    told_other: AtomicU64::new(0),
};

fn add(count: &AtomicU64) -> u64 {
    count.fetch_add(1, Ordering::Relaxed)
}

fn count(event: &JobEvent) {
    add(match event.kind() {
        JobEventKind::Deferred => &COUNTED.told_deferred,
        JobEventKind::Started => return,
        JobEventKind::Succeeded { .. } => &COUNTED.told_succeeded,
        JobEventKind::Failed { .. } | JobEventKind::Panicked { .. } | JobEventKind::TimedOut { .. } => {
            &COUNTED.told_failed
        }
        JobEventKind::Retrying { .. } => &COUNTED.told_retrying,
        _ => &COUNTED.told_other,
    });
}

/// Returns the counts, one per line.
fn figures(runner: &Runner) -> String {
    let stats = runner.stats();
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let mut text = String::new();
    for (name, figure) in [
        ("requests", of(&COUNTED.requests)),
        ("deferred", of(&COUNTED.deferred)),
        ("to_succeed", of(&COUNTED.to_succeed)),
        ("to_fail", of(&COUNTED.to_fail)),
        ("to_retry", of(&COUNTED.to_retry)),
        ("ok", of(&COUNTED.ok)),
        ("retries", of(&COUNTED.retries)),
        ("told_deferred", of(&COUNTED.told_deferred)),
        ("told_succeeded", of(&COUNTED.told_succeeded)),
        ("told_failed", of(&COUNTED.told_failed)),
        ("told_retrying", of(&COUNTED.told_retrying)),
        ("told_other", of(&COUNTED.told_other)),
        ("stats_deferred", stats.deferred),
        ("stats_pending", stats.pending),
        ("stats_running", stats.running),
        ("stats_succeeded", stats.succeeded),
        ("stats_failed", stats.failed),
        ("stats_retried", stats.retried),
        ("stats_other", stats.skipped + stats.cancelled + stats.shed + stats.queued + stats.abandoned),
    ] {
        let _ = writeln!(text, "{name} {figure}");
    }
    text
}

fn defer_five() {
    let request = add(&COUNTED.requests);
    for job in request * 5..request * 5 + 5 {
        add(&COUNTED.deferred);
        match job % 100 {
            13 | 57 => {
                add(&COUNTED.to_fail);
                Errs::defer(job);
            }
            29 => {
                add(&COUNTED.to_fail);
                Panics::defer(job);
            }
            71 => {
                add(&COUNTED.to_fail);
                Hangs::defer(job);
            }
            7 | 37 | 67 | 97 => {
                add(&COUNTED.to_succeed);
                add(&COUNTED.to_retry);
                Retries::defer(job);
            }
            _ => {
                add(&COUNTED.to_succeed);
                Works::defer(job);
            }
        }
    }
}

#[derive(Deferrable)]
struct Works {
    number: u64,
}

impl Job for Works {
    async fn run(&self, _: &JobContext) -> JobResult {
        if let 0 = self.number % 3 {
            tokio::task::yield_now().await;
        }
        add(&COUNTED.ok);
        Ok(())
    }
}

#[derive(Deferrable)]
struct Errs {
    number: u64,
}

impl Job for Errs {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg(format!("{} is no good", self.number)))
    }
}

#[derive(Deferrable)]
struct Panics {
    number: u64,
}

impl Job for Panics {
    async fn run(&self, _: &JobContext) -> JobResult {
        panic!("{} is no good", self.number)
    }
}

#[derive(Deferrable)]
#[defer(timeout = "20ms")]
struct Hangs {
    _number: u64,
}

impl Job for Hangs {
    async fn run(&self, _: &JobContext) -> JobResult {
        std::future::pending().await
    }
}

#[derive(Deferrable)]
#[defer(tries = 3, backoff = "1ms..20ms")]
struct Retries {
    number: u64,
}

impl Job for Retries {
    async fn run(&self, cx: &JobContext) -> JobResult {
        match cx.attempt() {
            1 => {
                add(&COUNTED.retries);
                Err(JobError::msg(format!("{} is not ready", self.number)))
            }
            _ => {
                add(&COUNTED.ok);
                Ok(())
            }
        }
    }
}

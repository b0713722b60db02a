//! What counts as an attempt, and what does not: on SQLite, and on the Postgres of `DEFER_TEST_POSTGRES` where that is set.

#![cfg(feature = "sqlite")]
// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[macro_use]
mod service;

use std::{sync::Arc, time::Duration};

use defer_axum::Deferrable;
use defer_core::{Job, JobContext, JobError, JobResult, JobStatus, Runner, defer_fn, scope};
use defer_river::riverqueue::JobRow;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::Notify;

use self::service::{Inspected, Journal, Mail, Service, Sync, until};

/// A job that takes its time to be read.
#[derive(Deferrable, Serialize)]
#[defer(queue)]
struct Slow {}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Blocks, as reading a large payload does: long enough to be measured beside the limit.
        std::thread::sleep(Duration::from_millis(600));
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self {})
    }
}

impl Job for Slow {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let journal = cx.state::<Journal>()?;
        let is_first = {
            let mut lines = journal.lock().unwrap();
            lines.push(format!("slow {}", cx.attempt()));
            lines.len() == 1
        };
        if is_first { std::future::pending().await } else { Ok(()) }
    }
}

async fn a_job_past_its_limit_runs_again_and_is_never_cancelled(service: Service) {
    let id = service.queue.push(Slow {}).await.unwrap();
    let worker = service.worker().job::<Slow>().job_timeout(Duration::from_secs(3));
    worker.run_until_empty().await.unwrap();
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
    assert_eq!(service.lines(), ["slow 1", "slow 1"]);
}

/// Returns a runner with one place, which is taken until it is told.
async fn busy(service: &Service) -> (Runner, Arc<Notify>) {
    let runner =
        Runner::builder().state(service.journal.clone()).queue(service.queue.clone()).max_running(1).build();
    let (begun, free) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (of_job, until_free) = (begun.clone(), free.clone());
    scope(&runner, async {
        defer_fn(move |_| async move {
            of_job.notify_one();
            until_free.notified().await;
            Ok::<(), JobError>(())
        });
    })
    .await;
    begun.notified().await;
    (runner, free)
}

/// Returns the only job.
async fn row(service: &Service) -> JobRow {
    service.queue.river().jobs().get(1).await.unwrap()
}

async fn a_job_that_waits_for_its_place_when_its_worker_stops_is_no_attempt(service: Service) {
    let (runner, free) = busy(&service).await;
    let id = service.queue.push(Mail::new("waits")).await.unwrap();
    let queue = service.queue.clone();
    let taken = until(async move || queue.status(id).await.unwrap() == Some(JobStatus::Running));
    let worker = service.queue.worker(runner.clone()).job::<Mail>().drain_timeout(Duration::ZERO);
    worker.run_until(taken).await.unwrap();
    let left = row(&service).await;
    assert_eq!((left.state.as_str(), left.attempt, left.errors.len()), ("available", 0, 0));
    free.notify_one();
    runner.idle().await;
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["waits 1 none"], "the first runner has lost it");
}

async fn a_job_that_waits_for_its_place_longer_than_its_limit_is_no_attempt(service: Service) {
    let (runner, free) = busy(&service).await;
    let id = service.queue.push(Mail::new("waits")).await.unwrap();
    let worker = service.queue.worker(runner.clone()).job::<Mail>().job_timeout(Duration::from_secs(1));
    let working = tokio::spawn(worker.run_until_empty());
    until(async || row(&service).await.metadata.get::<u64>("snoozes").unwrap() >= Some(2)).await;
    assert_eq!(row(&service).await.errors.len(), 0, "it has not failed");
    free.notify_one();
    working.await.unwrap().unwrap();
    assert_eq!(service.lines(), ["waits 1 none"]);
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
}

/// A job that waits for long between two attempts.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 2, backoff = "1h..1h")]
struct Hourly {}

impl Job for Hourly {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg("no"))
    }
}

async fn a_failed_attempt_is_followed_by_another_after_the_backoff_of_its_type(service: Service) {
    let id = service.queue.push(Hourly {}).await.unwrap();
    let river = service.queue.river().clone();
    let failed = until(async move || !river.jobs().get(1).await.unwrap().errors.is_empty());
    service.worker().job::<Hourly>().run_until(failed).await.unwrap();
    let job = service.queue.inspect_job(id).await;
    assert_eq!((job.state.as_str(), job.attempts), ("retrying", 1));
    let due_in = job.due_in.unwrap();
    assert!(due_in > Duration::from_secs(1800) && due_in <= Duration::from_secs(3601), "{due_in:?}");
}

async fn a_job_that_was_rescued_and_is_retried_has_its_attempts_again_and_no_more(service: Service) {
    let id = service.queue.push(Sync::new("fails")).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["fails 1 none", "fails 2 none"]);
    // As River notes it when it finds the job of a dead process.
    service
        .execute(
            r#"UPDATE river_job SET metadata = jsonb_set(metadata, '$."river:rescue_count"', 1)"#,
            r#"UPDATE river_job SET metadata = metadata || '{"river:rescue_count": 1}'"#,
        )
        .await;
    assert!(service.queue.retry(id).await.unwrap());
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines()[2..], ["fails 1 none", "fails 2 none"]);
}

scenarios! {
    a_job_past_its_limit_runs_again_and_is_never_cancelled,
    a_job_that_waits_for_its_place_when_its_worker_stops_is_no_attempt,
    a_job_that_waits_for_its_place_longer_than_its_limit_is_no_attempt,
    a_failed_attempt_is_followed_by_another_after_the_backoff_of_its_type,
    a_job_that_was_rescued_and_is_retried_has_its_attempts_again_and_no_more,
}

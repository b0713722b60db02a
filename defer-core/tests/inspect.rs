//! A queue that was written without some of the interface.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use defer_core::{
    BoxError, BoxFuture, JobId, JobStatus,
    queue::{FailedJob, InspectQueue, JobFilter, QueueCounts},
};

/// The methods that an implementation must have.
struct Least;

impl InspectQueue for Least {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        Box::pin(async { Ok(QueueCounts::default()) })
    }

    fn failed(&self, _: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn status(&self, _: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        Box::pin(async { Ok(None) })
    }

    fn retry(&self, _: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(async { Ok(false) })
    }
}

#[tokio::test]
async fn a_queue_says_what_it_cannot_do() {
    let (queue, id): (&dyn InspectQueue, _) = (&Least, JobId::unique());
    let errors = [
        queue.discard(id).await.unwrap_err(),
        queue.cancel(id).await.unwrap_err(),
        queue.pause("Note").await.unwrap_err(),
        queue.resume("Note").await.unwrap_err(),
        queue.retry_all("Note", "timed out").await.unwrap_err(),
        queue.discard_all("Note", "timed out").await.unwrap_err(),
    ];
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "this queue cannot discard a failed job",
            "this queue cannot cancel a job",
            "this queue cannot pause jobs",
            "this queue cannot resume jobs",
            "this queue cannot retry a group of failed jobs",
            "this queue cannot discard a group of failed jobs",
        ]
    );
}

#[tokio::test]
async fn a_queue_that_cannot_tell_lists_nothing() {
    let queue: &dyn InspectQueue = &Least;
    assert_eq!(queue.job(JobId::unique()).await.unwrap(), None);
    assert_eq!(queue.jobs(JobFilter::Delayed, 10).await.unwrap(), []);
    assert_eq!(queue.failures(10).await.unwrap(), []);
    assert_eq!(queue.counts_by_name().await.unwrap(), []);
    assert_eq!(queue.holders().await.unwrap(), []);
    assert_eq!(queue.paused().await.unwrap(), [""; 0]);
}

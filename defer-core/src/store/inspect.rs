//! Looking into a queue.

use std::time::Duration;

use crate::{
    model::{error::BoxError, id::JobId, status::JobStatus},
    primitives::BoxFuture,
};

/// A queue that can be looked into, as a dashboard does.
pub trait InspectQueue: Send + Sync {
    /// Returns how many jobs the queue has.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>>;

    /// Returns at most so many jobs that have failed, the latest first.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn failed(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>>;

    /// Returns how far a job has got, or how it has ended: [`Pending`](JobStatus::Pending), [`Running`](JobStatus::Running),
    /// [`Succeeded`](JobStatus::Succeeded) or [`Failed`](JobStatus::Failed). `None` if the queue does not have it, or no longer.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it only reads.
    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>>;

    /// Runs a job again that has failed, with all of its attempts. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>>;
}

/// How many jobs a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Those that wait for a worker, a delay or their next attempt.
    pub pending: u64,
    /// Those that a worker has.
    pub running: u64,
    /// Those that succeeded and are not forgotten.
    pub done: u64,
    /// Those that have failed.
    pub failed: u64,
    /// How long the oldest due job has been ready to run. If this grows, the workers do not keep up, or are ill. On Redis
    /// only of jobs that were delayed or failed.
    pub oldest_due: Option<Duration>,
}

/// A job that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedJob {
    /// The job's id, with which to retry it.
    pub id: JobId,
    /// The job's name.
    pub name: String,
    /// How many attempts it has had.
    pub attempts: u32,
    /// The error of the last one.
    pub error: String,
}

impl FailedJob {
    /// Creates one.
    pub fn new(id: JobId, name: impl Into<String>, attempts: u32, error: impl Into<String>) -> Self {
        Self { id, name: name.into(), attempts, error: error.into() }
    }
}

//! Looking into a queue.

use std::{future::ready, time::Duration};

use super::queued::{FailureGroup, Holder, JobFilter, NameCounts, QueuedJob};
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
    /// [`InProgress`](JobStatus::InProgress), [`Succeeded`](JobStatus::Succeeded) or [`Failed`](JobStatus::Failed). `None` if the queue does not have it, or no longer.
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

    /// Returns what has been due for a minute and nobody takes: names of job types, and `queue NAME` for other queues in the same
    /// place. None by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn unclaimed(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns one job. `None` if the queue does not have it, or no longer, or cannot tell, which is the default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<QueuedJob>, BoxError>> {
        let _ = id;
        Box::pin(ready(Ok(None)))
    }

    /// Returns at most so many jobs. None by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn jobs(&self, filter: JobFilter, limit: usize) -> BoxFuture<'_, Result<Vec<QueuedJob>, BoxError>> {
        let _ = (filter, limit);
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns at most so many groups of jobs that have failed, those with the latest failure first. A queue may look at the latest
    /// failures only. None by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn failures(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailureGroup>, BoxError>> {
        let _ = limit;
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns how many jobs there are of each name that has some other than done ones. None by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns the processes that hold or run jobs. None by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn holders(&self) -> BoxFuture<'_, Result<Vec<Holder>, BoxError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns the names of the jobs that are [paused](Self::pause). None by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn paused(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Runs the jobs of a [group](Self::failures) again that have failed so far, with all of their attempts. Returns how many there
    /// were.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default. Some of them may run again then.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of them may run again.
    fn retry_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        let _ = (name, error);
        cannot("retry a group of failed jobs")
    }

    /// Deletes the jobs of a [group](Self::failures) that have failed so far. Returns how many there were.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default. Some of them may be deleted then.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of them may be deleted.
    fn discard_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        let _ = (name, error);
        cannot("discard a group of failed jobs")
    }

    /// Deletes a job that has failed. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default.
    fn discard(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        let _ = id;
        cannot("discard a failed job")
    }

    /// Cancels a job that has not ended. Returns what came of it, once that is stored.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the job may be cancelled or not.
    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<Cancel, BoxError>> {
        let _ = id;
        cannot("cancel a job")
    }

    /// Pauses the jobs with this name: none is taken until they are [resumed](Self::resume). Those that run go on. Pausing twice is
    /// harmless.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default.
    fn pause<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        let _ = name;
        cannot("pause jobs")
    }

    /// Resumes the jobs with this name, which were [paused](Self::pause). Harmless if they were not.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default.
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        let _ = name;
        cannot("resume jobs")
    }
}

/// The answer of a queue that was written without this.
fn cannot<'a, T: Send + 'a>(what: &str) -> BoxFuture<'a, Result<T, BoxError>> {
    Box::pin(ready(Err(format!("this queue cannot {what}").into())))
}

/// What came of a request to cancel a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancel {
    /// It has ended as cancelled, and does not run.
    Cancelled,
    /// It runs, here or in another process, which hears of it within seconds. It is told to stop, and may end in another way before
    /// that.
    Asked,
    /// It had ended already.
    Ended,
    /// There is no such job, or no longer.
    Unknown,
    /// The queue that has it, or may have it, could not be reached, or cannot cancel. The job may be cancelled or not.
    Failed,
}

/// How many jobs a queue has.
///
/// `defer-sqlx` does not count each number beyond 10,000, so that a look costs the same however many jobs there are: read 10,000
/// as "at least".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Those that wait for a worker, a delay or their next attempt.
    pub pending: u64,
    /// Those that a process has: it holds them for a response that is not over, runs them, or has taken them.
    pub running: u64,
    /// Those that succeeded and are still kept.
    pub done: u64,
    /// Those that have failed.
    pub failed: u64,
    /// How long the oldest due job has been ready to run. If this grows, the workers do not keep up, or are ill.
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

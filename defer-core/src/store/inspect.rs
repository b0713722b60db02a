//! Inspecting a queue.

use std::{future::ready, time::Duration};

use super::queued::{FailureGroup, Holder, JobFilter, NameCounts, QueuedJob};
use crate::{
    model::{error::BoxError, id::JobId, status::JobStatus},
    primitives::BoxFuture,
};

/// A queue whose jobs can be inspected. The dashboard uses this.
pub trait InspectQueue: Send + Sync {
    /// Returns the number of jobs in the queue.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>>;

    /// Returns at most `limit` failed jobs, the latest first.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn failed(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>>;

    /// Returns the [status](JobStatus) of a job. `None` if the queue does not have it, or no longer has it.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>>;

    /// Runs a failed job again, with all its attempts. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>>;

    /// Returns what no process has taken although it has been due for a minute: the names of job types, and `queue NAME` for
    /// other queues in the same place. Returns nothing by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn unclaimed(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns one job. `None` if the queue does not have it, or cannot tell, which is the default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<QueuedJob>, BoxError>> {
        let _ = id;
        Box::pin(ready(Ok(None)))
    }

    /// Returns at most `limit` of these jobs. Returns none by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn jobs(&self, filter: JobFilter, limit: usize) -> BoxFuture<'_, Result<Vec<QueuedJob>, BoxError>> {
        let _ = (filter, limit);
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns at most `limit` groups of failed jobs, those with the latest failure first. A queue may only look at the latest
    /// failures. Returns none by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn failures(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailureGroup>, BoxError>> {
        let _ = limit;
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns the number of jobs for each name that has jobs other than successful ones. Returns none by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns the processes that hold or run jobs. Returns none by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn holders(&self) -> BoxFuture<'_, Result<Vec<Holder>, BoxError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns the names of the [paused](Self::pause) jobs. Returns none by default.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn paused(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Runs the failed jobs of a [group](Self::failures) again, with all their attempts. Returns how many there were.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default. Some of the jobs may still run again.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the jobs may run again.
    fn retry_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        let _ = (name, error);
        cannot("retry a group of failed jobs")
    }

    /// Deletes the failed jobs of a [group](Self::failures). Returns how many there were.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default. Some of the jobs may still be deleted.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the jobs may be deleted.
    fn discard_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        let _ = (name, error);
        cannot("discard a group of failed jobs")
    }

    /// Deletes a failed job. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default.
    fn discard(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        let _ = id;
        cannot("discard a failed job")
    }

    /// Cancels a job that has not ended. Returns the result, once it is stored.
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

    /// Pauses the jobs with this name: none is taken until they are [resumed](Self::resume). Running jobs go on. Pausing twice
    /// is harmless.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default.
    fn pause<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        let _ = name;
        cannot("pause jobs")
    }

    /// Resumes the jobs with this name after a [pause](Self::pause). Harmless if they were not paused.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached, or cannot do this, which is the default.
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        let _ = name;
        cannot("resume jobs")
    }
}

/// Returns the error of a queue that does not implement an optional method.
fn cannot<'a, T: Send + 'a>(what: &str) -> BoxFuture<'a, Result<T, BoxError>> {
    Box::pin(ready(Err(format!("this queue cannot {what}").into())))
}

/// The result of a request to cancel a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancel {
    /// The job has ended as cancelled, and does not run.
    Cancelled,
    /// The job is running, in this process or in another, which learns of the request within seconds. It has been asked to
    /// stop, but may end in another way first.
    Asked,
    /// The job had ended already.
    Ended,
    /// There is no such job, or it is no longer kept.
    Unknown,
    /// The queue that may have the job could not be reached, or cannot cancel jobs. The job may be cancelled or not.
    Failed,
}

/// The number of jobs in a queue.
///
/// `defer-sqlx` stops counting at 10,000, so that the cost does not grow with the number of jobs: read 10,000 as "at least".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Jobs that wait for a worker, a delay or their next attempt.
    pub pending: u64,
    /// Jobs that a process has: it holds them for a response that is not over, has taken them, or runs them.
    pub running: u64,
    /// Jobs that succeeded and are still kept.
    pub done: u64,
    /// Failed jobs.
    pub failed: u64,
    /// How long the oldest due job has been ready to run. If this grows, the workers do not keep up.
    pub oldest_due: Option<Duration>,
}

/// A job that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedJob {
    /// The job's id. Use it to retry the job.
    pub id: JobId,
    /// The job's name.
    pub name: String,
    /// The number of attempts it has had.
    pub attempts: u32,
    /// The error of the last attempt.
    pub error: String,
}

impl FailedJob {
    /// Creates a failed job.
    pub fn new(id: JobId, name: impl Into<String>, attempts: u32, error: impl Into<String>) -> Self {
        Self { id, name: name.into(), attempts, error: error.into() }
    }
}

//! What a storage does for a queue and its workers.

use std::{fmt, time::Duration};

use defer_core::{
    BoxFuture, JobId, JobStatus,
    queue::QueueCounts as Counts,
    queue::{Envelope, FailedJob},
};

use super::job::{Finished, Taken};
use crate::error::Error;

pub(crate) type Stored<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// How often a worker reports that it is alive.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long a worker may be silent before others take its jobs.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(9);
/// How long the database or server may take to answer. A connection that hangs must not stop a worker for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Waits for an answer of the database or server.
pub(crate) async fn answered<T>(answer: Stored<'_, T>) -> Result<T, Error> {
    let answered = tokio::time::timeout(ANSWER_WITHIN, answer).await;
    answered.unwrap_or_else(|_| Err(Error::store(format!("no answer within {ANSWER_WITHIN:?}"))))
}

/// A queue's storage. Each method is one transaction.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// Returns the database's name, for errors.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    fn database(&self) -> &'static str;

    /// Stores jobs, all or none. One whose id is stored already is left out.
    fn push<'a>(&'a self, jobs: &'a [Envelope]) -> Stored<'a, ()>;

    /// Makes a worker known, also one that has been declared dead.
    fn register<'a>(&'a self, worker: &'a str) -> Stored<'a, ()>;

    /// Reports that a worker is alive, and frees the jobs of workers that died. Each job is charged an attempt.
    fn heartbeat<'a>(&'a self, worker: &'a str) -> Stored<'a, ()>;

    /// Reports that a worker is gone. The jobs that it has left are given back at once, without being charged an attempt.
    fn unregister<'a>(&'a self, worker: &'a str) -> Stored<'a, ()>;

    /// Gives back the jobs that a worker took without knowing, because the answer was lost: all but these.
    fn release<'a>(&'a self, worker: &'a str, except: &'a [String]) -> Stored<'a, ()>;

    /// Takes up to this many due jobs.
    fn take<'a>(&'a self, worker: &'a str, jobs: usize) -> Stored<'a, Vec<Taken>>;

    /// Notes how the jobs that a worker took ended. Leaves alone those that are no longer its own.
    fn finish<'a>(&'a self, worker: &'a str, jobs: &'a [Finished]) -> Stored<'a, ()>;

    /// Waits until another process may have pushed jobs. Never completes on a storage that does not notify.
    fn pushed(&self) -> BoxFuture<'_, ()>;

    fn counts(&self) -> Stored<'_, Counts>;

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>>;

    /// Returns what became of a job, if it is stored. Finds it by its key.
    fn status(&self, id: JobId) -> Stored<'_, Option<JobStatus>>;

    fn retry(&self, id: JobId) -> Stored<'_, bool>;

    fn forget_done(&self, age: Duration) -> Stored<'_, u64>;
}

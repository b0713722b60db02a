//! What a storage does for a queue and its workers.

use std::{fmt, time::Duration};

use defer_core::{BoxFuture, Envelope, JobId};

use super::job::{Counts, FailedJob, Finished, Taken};
use crate::error::Error;

pub(crate) type Stored<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// How often a worker says that it lives.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long a worker is silent before its jobs are another's.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(9);

/// A queue's storage. Each method is one transaction.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// The name of the database, for errors.
    fn database(&self) -> &'static str;

    /// Stores jobs, all or none. One whose id is stored already is left out.
    fn push<'a>(&'a self, jobs: &'a [Envelope]) -> Stored<'a, ()>;

    /// Makes a worker known. Its name has to be new.
    fn register<'a>(&'a self, worker: &'a str) -> Stored<'a, ()>;

    /// Says that a worker lives, and frees the jobs of those that died. Each has had an attempt.
    fn heartbeat<'a>(&'a self, worker: &'a str) -> Stored<'a, ()>;

    /// Says that a worker is gone. Jobs that it has left are given back at once, without an attempt more.
    fn unregister<'a>(&'a self, worker: &'a str) -> Stored<'a, ()>;

    /// Takes at most so many jobs that are due.
    fn take<'a>(&'a self, worker: &'a str, jobs: usize) -> Stored<'a, Vec<Taken>>;

    /// Notes how jobs ended that a worker took. Those that are no longer its own are left alone.
    fn finish<'a>(&'a self, worker: &'a str, jobs: &'a [Finished]) -> Stored<'a, ()>;

    /// Waits until jobs may have been pushed by another process. Never completes where that is not told.
    fn pushed(&self) -> BoxFuture<'_, ()>;

    fn counts(&self) -> Stored<'_, Counts>;

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>>;

    fn retry(&self, id: JobId) -> Stored<'_, bool>;

    fn forget_done(&self, age: Duration) -> Stored<'_, u64>;
}

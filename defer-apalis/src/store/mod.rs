//! Where a queue keeps its jobs: apalis' tables in SQLite or Postgres, or its keys in Redis.

use std::{collections::BTreeMap, fmt, time::Duration};

use defer_core::{BoxFuture, Envelope, JobId};

use crate::error::Error;

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
mod task;

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

/// A job that a worker took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) id: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// How many attempts it has had.
    pub(crate) attempts: u32,
    /// How many it had when it was pushed.
    pub(crate) max_attempts: u32,
}

/// How a job ended that a worker took.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) id: String,
    /// How many attempts it has had by now.
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    pub(crate) fate: Fate,
}

#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Done,
    Failed {
        error: String,
    },
    Retry {
        error: String,
        delay: Duration,
    },
    /// It is to be run again at once.
    Release,
}

/// How many jobs a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Those that wait for a worker, a delay or their next attempt.
    pub pending: u64,
    /// Those that a worker has.
    pub running: u64,
    /// Those that succeeded and are not forgotten.
    pub done: u64,
    /// Those that failed for good.
    pub failed: u64,
    /// How long the job that waits longest could have been run. A worker that is ill lets it grow.
    pub oldest_due: Option<Duration>,
}

/// A job that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedJob {
    /// The job's id, with which to [`retry`](crate::ApalisQueue::retry) it.
    pub id: JobId,
    /// The job's name.
    pub name: String,
    /// How many attempts it has had.
    pub attempts: u32,
    /// The error of the last one.
    pub error: String,
}

impl Finished {
    /// Returns the status, the result as apalis writes it, and how long the job waits if it is to run again.
    fn row(&self) -> (&'static str, Option<String>, Option<Duration>) {
        let result = |error: &str| Some(serde_json::json!({ "Err": error }).to_string());
        match &self.fate {
            Fate::Done => ("Done", Some(r#"{"Ok":null}"#.to_owned()), None),
            // What is `Failed` with attempts left is run again by apalis.
            Fate::Failed { error } if self.attempts < self.max_attempts => ("Killed", result(error), None),
            Fate::Failed { error } => ("Failed", result(error), None),
            Fate::Retry { error, delay } => ("Pending", result(error), Some(*delay)),
            Fate::Release => ("Pending", None, Some(Duration::ZERO)),
        }
    }
}

fn counts([pending, running, done, failed]: [i64; 4], oldest: Option<i64>) -> Counts {
    let count = |count: i64| u64::try_from(count).unwrap_or_default();
    let oldest_due = oldest.map(|seconds| Duration::from_secs(count(seconds)));
    Counts {
        pending: count(pending),
        running: count(running),
        done: count(done),
        failed: count(failed),
        oldest_due,
    }
}

fn failed(id: &str, name: Option<&String>, attempts: i64, result: Option<&str>) -> Option<FailedJob> {
    let error = result.and_then(|result| serde_json::from_str::<serde_json::Value>(result).ok());
    let error = error.and_then(|result| result.get("Err")?.as_str().map(str::to_owned));
    Some(FailedJob {
        id: id.parse().ok()?,
        name: name.cloned().unwrap_or_default(),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        error: error.unwrap_or_else(|| result.unwrap_or_default().to_owned()),
    })
}

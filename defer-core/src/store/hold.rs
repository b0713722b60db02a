//! The interface to a queue that holds jobs for the process that deferred them.

use std::{
    fmt,
    future::ready,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::envelope::{AtMostEvery, Envelope, Replace};
use crate::{
    model::{error::BoxError, id::JobId, response::ResponseInfo},
    primitives::BoxFuture,
};

/// A queue that holds jobs: it stores them before the response goes out, and this process runs them after it. If the process
/// dies, another one runs them.
///
/// None of the methods may block: they are called while jobs are deferred, started and ended.
pub trait HoldJobs: Send + Sync {
    /// Starts storing jobs that this process holds, in one commit.
    fn hold(&self, jobs: Vec<Envelope>) -> Hold;

    /// Returns whether a job of this type may run in this process, on the runner with this [key](crate::Runner::key): a worker
    /// of that runner takes the type, and the type is not paused.
    fn runs_here(&self, runner: usize, name: &str) -> bool;

    /// Completes when everything that was reported to leases so far is stored, including leases that were dropped. At the end
    /// of a shutdown, the process exits after this.
    fn written(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// Jobs that are being stored.
pub struct Hold {
    /// One lease for each job, in the same order.
    pub leases: Vec<Arc<dyn Lease>>,
    /// Completes when the database has answered, with one result for each job, in the same order. Dropping this does not affect
    /// whether the jobs are stored.
    pub stored: BoxFuture<'static, Vec<Result<(), BoxError>>>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("jobs", &self.leases.len()).finish_non_exhaustive()
    }
}

/// The right to run one stored job. A lease that is dropped before it is [settled](Self::settle) is given back: other processes
/// may run the job, and no attempt is counted. If the job was never stored, nothing happens.
pub trait Lease: Send + Sync {
    /// Waits until the job may start, which is when the queue is sure that others respect the lease.
    fn poll_start(&self, cx: &mut Context<'_>) -> Poll<Start>;

    /// Completes when a running attempt has to be stopped. Stays pending otherwise.
    fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<Stop>;

    /// Returns whether the job is stored, may be stored, or is being stored. Otherwise it runs in this process only. This is
    /// called for the children of a job whose end is stored, because a child that the queue cannot store is left out there.
    fn is_stored(&self) -> bool {
        true
    }

    /// Stores that the job's condition was true: from then on it runs, even if this process dies. Completes when that is
    /// stored, or cannot be stored.
    fn pass(&self) -> BoxFuture<'static, ()>;

    /// Stores the job's progress, as JSON of at most [`Progress::MAX_JSON`](crate::Progress::MAX_JSON) bytes, for as long as
    /// this attempt runs. A queue may skip all but the last of several values. By default it stores none.
    fn set_progress(&self, json: &str) {
        let _ = json;
    }

    /// Starts storing how the job or its attempt ended. Only the first call has an effect.
    fn settle(&self, end: End, children: Vec<Envelope>) -> Settle;
}

/// Whether a job may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It may start.
    Now,
    /// It may not start.
    Not(Stop),
}

/// Why a job must not run here, or must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The lease is lost: another process runs the job.
    Lost,
    /// The job is cancelled. [Settle](Lease::settle) it with [`End::Cancelled`].
    Cancelled,
}

/// How a job or its attempt ended.
#[derive(Clone, Debug)]
pub enum End {
    /// It succeeded.
    Succeeded,
    /// It failed permanently.
    Failed {
        /// The error.
        error: String,
    },
    /// The attempt failed, and another follows.
    Retry {
        /// The error.
        error: String,
        /// The delay until the next attempt.
        delay: Duration,
    },
    /// It snoozed, which does not use up an attempt.
    Snoozed {
        /// The delay until it runs again.
        delay: Duration,
    },
    /// Its condition was false.
    Skipped,
    /// It was cancelled.
    Cancelled,
    /// It did not run here: any process may run it.
    Ready(Ready),
}

/// A job that any process may run.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// The delay from now.
    pub delay: Duration,
    /// Its serial key.
    pub serial: Option<String>,
    /// Its unique key.
    pub unique: Option<String>,
    /// Set if it replaces a job with the same unique key.
    pub replace: Option<Replace>,
    /// Drops it if another job with this key has started too recently.
    pub at_most: Option<AtMostEvery>,
    /// How the response of its request ended, if known.
    pub response: Option<ResponseInfo>,
}

/// The end of a job while it is being stored.
pub struct Settle {
    /// One lease for each of the job's children, in the same order. The children must not start before `settled` is
    /// [`Done`](Settled::Done).
    pub leases: Vec<Arc<dyn Lease>>,
    /// Completes when the database has answered, however long that takes. Dropping this does not affect whether the end is
    /// stored.
    pub settled: BoxFuture<'static, Settled>,
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle").field("children", &self.leases.len()).finish_non_exhaustive()
    }
}

/// The result of storing an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The end and the children are stored.
    Done,
    /// It came too late and changed nothing, because another process has the job. The children are not stored.
    Refused,
    /// The job is a duplicate of this one, and does not run.
    Duplicate(JobId),
    /// The queue was closed before the database answered.
    Unknown,
}

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
/// No method waits, and none may block: they are called while jobs are deferred, started and ended.
pub trait HoldJobs: Send + Sync {
    /// Begins to store jobs, held by this process, all in one commit.
    fn hold(&self, jobs: Vec<Envelope>) -> Hold;

    /// Returns whether a job of this type may run in this process, on the runner with this [key](crate::Runner::key): a worker
    /// of that runner takes the type, and the type is not paused.
    fn runs_here(&self, runner: usize, name: &str) -> bool;

    /// Completes when everything is stored that leases were told so far, those included that were dropped. At the end of a shutdown the
    /// process ends after this.
    fn written(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// Jobs that are being stored.
pub struct Hold {
    /// One for each job, in their order.
    pub leases: Vec<Arc<dyn Lease>>,
    /// Completes when the database has answered. One result for each job, in their order. The jobs are stored, or not, whether
    /// or not this is dropped.
    pub stored: BoxFuture<'static, Vec<Result<(), BoxError>>>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("jobs", &self.leases.len()).finish_non_exhaustive()
    }
}

/// The right to run one stored job. Dropped before it is [settled](Self::settle), it is given back: the job is made ready for
/// others, and no attempt is counted. If the job was never stored, nothing happens.
pub trait Lease: Send + Sync {
    /// Waits until the job may start: it is known that others respect the lease.
    fn poll_start(&self, cx: &mut Context<'_>) -> Poll<Start>;

    /// Completes when an attempt that runs has to be stopped. Otherwise it is pending.
    fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<Stop>;

    /// Returns whether the job is stored, may be, or is being stored. Otherwise it runs in this process only. Asked of the children of a
    /// job whose end is stored: one that the queue cannot store is left out there.
    fn is_stored(&self) -> bool {
        true
    }

    /// The job's condition was true: from here on it runs, whatever happens to this process. Completes when that is stored, or
    /// cannot be.
    fn pass(&self) -> BoxFuture<'static, ()>;

    /// Stores how far the job says that it is, as JSON of at most [`Progress::MAX_JSON`](crate::Progress::MAX_JSON) bytes, for as long
    /// as this attempt runs. A queue may leave out all but the last of several, and all of them, which is the default.
    fn set_progress(&self, json: &str) {
        let _ = json;
    }

    /// Begins to store how the job, or its attempt, ended. Only the first call has an effect.
    fn settle(&self, end: End, children: Vec<Envelope>) -> Settle;
}

/// Whether a job may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It may.
    Now,
    /// It may not.
    Not(Stop),
}

/// Why a job must not run here, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The lease is lost: others run the job.
    Lost,
    /// It is to be cancelled. [Settle](Lease::settle) it so.
    Cancelled,
}

/// How a job, or its attempt, ended.
#[derive(Clone, Debug)]
pub enum End {
    /// It succeeded.
    Succeeded,
    /// It failed, and no attempt follows.
    Failed {
        /// The error.
        error: String,
    },
    /// The attempt failed, and another follows.
    Retry {
        /// The error.
        error: String,
        /// How long until then.
        delay: Duration,
    },
    /// It asked to be run again later, which spends no attempt.
    Snoozed {
        /// How long until then.
        delay: Duration,
    },
    /// Its condition was false.
    Skipped,
    /// It was cancelled.
    Cancelled,
    /// It did not run here: others may.
    Ready(Ready),
}

/// A job that others may run.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// How long it has to wait, from now.
    pub delay: Duration,
    /// The key of the jobs that it runs after.
    pub serial: Option<String>,
    /// The key of the job that it may be left out for.
    pub unique: Option<String>,
    /// Whether it takes the place of that one instead.
    pub replace: Option<Replace>,
    /// It is left out if another with this key started too short a time before.
    pub at_most: Option<AtMostEvery>,
    /// How the response of its request ended, if that is known.
    pub response: Option<ResponseInfo>,
}

/// An end that is being stored.
pub struct Settle {
    /// One for each of the job's children, in their order. They must not start before `settled` is [`Done`](Settled::Done).
    pub leases: Vec<Arc<dyn Lease>>,
    /// Completes when the database has answered, however long that takes. The end is stored whether or not this is dropped.
    pub settled: BoxFuture<'static, Settled>,
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle").field("children", &self.leases.len()).finish_non_exhaustive()
    }
}

/// What became of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is stored, and so are the children.
    Done,
    /// It came too late, and changed nothing: another process has the job. The children are not stored.
    Refused,
    /// The job is a duplicate of this one, and does not run.
    Duplicate(JobId),
    /// The queue is gone before the database has answered.
    Unknown,
}

//! What a recorder sees of a list, and how it tries out a job.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{entry::Entry, list::JobList};
use crate::{
    attempt::SharedJob, context::Surroundings, event::JobEventKind, id::JobId, job::Deferrable,
    request::RequestInfo,
};

/// A job that was deferred and has not run. [`Recorder::recorded`](crate::testing::Recorder::recorded) returns it, and has an
/// example. It does not follow what happens to the job later. Requires the feature `testing`.
///
/// `Debug` prints what the accessors return, but none of the job's fields, and of the request no more than its route.
#[derive(Clone)]
pub struct Recorded {
    name: &'static str,
    id: JobId,
    key: Option<Box<str>>,
    serial_key: Option<Arc<str>>,
    unique_key: Option<Arc<str>>,
    delay: Option<Duration>,
    condition: JobCondition,
    request: Option<RequestInfo>,
    job: Option<SharedJob>,
}

/// After which responses a recorded job runs. Requires the feature `testing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobCondition {
    /// After any response.
    Always,
    /// After a response that [is a success](crate::ResponseInfo::is_success).
    Success,
    /// After a response that the predicate of [`Deferred::when`](crate::Deferred::when) accepts.
    When,
}

impl JobCondition {
    fn of(entry: &Entry) -> Self {
        if entry.is_unconditional() {
            Self::Always
        } else if entry.runs_after_success() {
            Self::Success
        } else {
            Self::When
        }
    }
}

impl Recorded {
    /// Returns the job's name; a closure's is the one that the compiler gives it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Returns its key within its request, given with [`Deferred::key`](crate::Deferred::key).
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns the key of the jobs that it runs after, given with [`Deferred::serial`](crate::Deferred::serial).
    pub fn serial_key(&self) -> Option<&str> {
        self.serial_key.as_deref()
    }

    /// Returns the key of the job that it may be left out for, given with [`Deferred::unique`](crate::Deferred::unique).
    pub fn unique_key(&self) -> Option<&str> {
        self.unique_key.as_deref()
    }

    /// Returns its delay, as given with [`Deferred::delay`](crate::Deferred::delay). While
    /// [`run_all`](crate::testing::Recorder::run_all) runs, what is left of it.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Returns after which responses it runs.
    pub fn condition(&self) -> JobCondition {
        self.condition
    }

    /// Returns the request that deferred it, if there is one. It is known once the handler has answered.
    pub fn request(&self) -> Option<&RequestInfo> {
        self.request.as_ref()
    }

    /// Returns the job itself, if it is of this type. A closure is of none.
    ///
    /// `None` too if a worker has it already, which happens only while [`run_all`](crate::testing::Recorder::run_all) runs.
    pub fn job<J: Deferrable>(&self) -> Option<&J> {
        self.job.as_ref()?.downcast_ref()
    }

    /// Returns whether the [job](Self::job) is of this type.
    pub fn is<J: Deferrable>(&self) -> bool {
        self.job::<J>().is_some()
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("key", &self.key)
            .field("serial_key", &self.serial_key)
            .field("unique_key", &self.unique_key)
            .field("delay", &self.delay)
            .field("condition", &self.condition)
            // Not the URI or the headers, which may contain a token.
            .field("request", &self.request.as_ref().map(RequestInfo::route))
            .finish_non_exhaustive()
    }
}

impl JobList {
    /// Returns its jobs that have not started, in their order.
    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.lock().inspect(|entry, job| Recorded {
            name: entry.kind.name(),
            id: entry.id,
            key: entry.key().map(Box::from),
            serial_key: entry.serial_key().cloned(),
            unique_key: entry.unique_key().cloned(),
            delay: entry.delay(),
            condition: JobCondition::of(entry),
            request: self.request().cloned(),
            job,
        })
    }

    /// Runs one attempt of a job that has not started, after `attempts` earlier ones, and leaves its other jobs as they are.
    /// Returns what is told how the attempt ends. `None` if the list has no such job.
    pub(crate) fn run_attempt(
        self: &Arc<Self>,
        id: JobId,
        attempts: u32,
    ) -> Option<oneshot::Receiver<JobEventKind>> {
        let (observer, ended) = oneshot::channel();
        let (index, job, room) = {
            let mut state = self.lock();
            let (index, _) = state.waiting_entries().find(|(_, entry)| entry.id == id)?;
            let (job, room) =
                state.leave_for_attempt(index, attempts, observer, |segment| segment.split(index))?;
            (index, job, room)
        };
        job.run_beside(self, index, room > 0);
        Some(ended)
    }
}

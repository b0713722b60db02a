//! What a recorder sees of a list, and how it tries out a job.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    detached::Detached,
    held::{Held, Room},
};
use crate::{
    job::job::Deferrable,
    list::list::{JobList, SharedJob},
    model::{id::JobId, policy::Condition, request::RequestInfo},
    observe::event::JobEventKind,
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
    condition: Condition,
    request: Option<RequestInfo>,
    job: Option<SharedJob>,
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
    pub fn condition(&self) -> Condition {
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

/// Returns the jobs of a list that have not started, in their order.
pub(crate) fn recorded(list: &JobList) -> Vec<Recorded> {
    let mut locked = list.lock();
    let mut recorded: Vec<(usize, Recorded)> = locked
        .state
        .waiting_entries()
        .map(|(index, entry)| {
            let recorded = Recorded {
                name: entry.kind.name(),
                id: entry.id,
                key: entry.key().map(Box::from),
                serial_key: entry.serial_key().cloned(),
                unique_key: entry.unique_key().cloned(),
                delay: entry.delay(),
                condition: entry.condition(),
                request: list.request().cloned(),
                job: None,
            };
            (index, recorded)
        })
        .collect();
    for (index, recorded) in &mut recorded {
        recorded.job = locked.shared_job(*index);
    }
    recorded.into_iter().map(|(_, recorded)| recorded).collect()
}

/// Runs one attempt of a job that has not started, after `attempts` earlier ones, and leaves its other jobs as they are.
/// Returns what is told how the attempt ends. `None` if the list has no such job.
pub(crate) fn run_attempt(
    list: &Arc<JobList>,
    id: JobId,
    attempts: u32,
) -> Option<oneshot::Receiver<JobEventKind>> {
    let (observer, ended) = oneshot::channel();
    let detached = {
        let mut locked = list.lock();
        let (index, _) = locked.state.waiting_entries().find(|(_, entry)| entry.id == id)?;
        let job = locked.take_job(index)?;
        let room = locked.state.detach_for_attempt(index, attempts, observer)?;
        Detached::new(list, index, job, Held { serial: None, room: Room::take_over(list, room) })
    };
    detached.start();
    Some(ended)
}

//! A recorder's view of a list, and how it tries out a job.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    detached::Detached,
    held::{Held, Room},
};
use crate::{
    job::job::Deferrable,
    list::{list::JobList, recording::Snapshot},
    model::{
        id::JobId,
        policy::{Condition, Policy},
        request::RequestInfo,
    },
    observe::event::JobEventKind,
    store::Replace,
};

/// A job that was deferred and has not run. Returned by [`Recorder::recorded`](crate::testing::Recorder::recorded), which has
/// an example. It does not reflect later changes of the job. Requires the feature `testing`.
///
/// `Debug` prints the values of the accessors, but none of the job's fields, and only the route of the request.
#[derive(Clone)]
pub struct Recorded(Snapshot);

impl Recorded {
    pub(crate) fn new(job: Snapshot) -> Self {
        Self(job)
    }

    /// Returns the job's name; a closure's is the one that the compiler gives it.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        self.0.id
    }

    /// Returns the policy of its type.
    pub fn policy(&self) -> &'static Policy {
        self.0.policy
    }

    /// Returns whether it is durable.
    pub fn is_durable(&self) -> bool {
        self.0.policy.is_queued()
    }

    /// Returns its key within its request, given with [`Deferred::key`](crate::Deferred::key).
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// Returns its serial key, given with [`Deferred::serial`](crate::Deferred::serial).
    pub fn serial_key(&self) -> Option<&str> {
        self.0.serial_key.as_deref()
    }

    /// Returns its unique key, given with [`Deferred::unique`](crate::Deferred::unique).
    pub fn unique_key(&self) -> Option<&str> {
        self.0.unique_key.as_deref()
    }

    /// Returns whether it takes the place of the job with its unique key, as told with
    /// [`Deferred::replace`](crate::Deferred::replace) and [`replace_within`](crate::Deferred::replace_within).
    pub fn replace(&self) -> Option<Replace> {
        self.0.replace
    }

    /// Returns the key of the jobs that it is counted with and how often one of them may start, given with
    /// [`Deferred::at_most_every`](crate::Deferred::at_most_every).
    pub fn at_most_every(&self) -> Option<(&str, Duration)> {
        let (key, every) = self.0.at_most.as_ref()?;
        Some((key, *every))
    }

    /// Returns its delay, as given with [`Deferred::delay`](crate::Deferred::delay).
    pub fn delay(&self) -> Option<Duration> {
        self.0.delay
    }

    /// Returns how many jobs of its type run together at most, if they do. See [`BatchJob`](crate::BatchJob).
    pub fn batch_size(&self) -> Option<usize> {
        self.0.job.as_ref()?.batch_size
    }

    /// Returns its condition. For a [faked](crate::testing::Recorder::fake) job whose turn has come, the condition has been
    /// evaluated, and this returns [`Always`](Condition::Always).
    pub fn condition(&self) -> Condition {
        self.0.condition
    }

    /// Returns the request that deferred it, if there is one. It is known once the handler has answered.
    pub fn request(&self) -> Option<&RequestInfo> {
        self.0.request.as_ref()
    }

    /// Returns the job itself, if it is of this type. Returns `None` for a closure.
    ///
    /// Also returns `None` if a worker already has the job, which happens only while
    /// [`run_all`](crate::testing::Recorder::run_all) runs.
    pub fn job<J: Deferrable>(&self) -> Option<&J> {
        self.0.job.as_ref()?.job.downcast_ref()
    }

    /// Returns whether the [job](Self::job) is of this type.
    pub fn is<J: Deferrable>(&self) -> bool {
        self.job::<J>().is_some()
    }

    /// Writes the job with its fields, if it is `Debug`, and what it was deferred with.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = self.0.job.as_ref();
        match job.and_then(|job| Some((job, job.show?))) {
            Some((job, show)) => show(&*job.job, f)?,
            None => f.write_str(self.name())?,
        }
        for (what, key) in [("key", self.key()), ("serial", self.serial_key()), ("unique", self.unique_key())]
        {
            if let Some(key) = key {
                write!(f, ", {what} {key:?}")?;
            }
        }
        match self.replace() {
            Some(Replace::AtItsTime) => f.write_str(", replaces")?,
            Some(Replace::Within(longest)) => write!(f, ", replaces within {longest:?}")?,
            None => {}
        }
        if let Some((key, every)) = self.at_most_every() {
            write!(f, ", at most every {every:?} {key:?}")?;
        }
        if let Some(delay) = self.delay() {
            write!(f, ", delay {delay:?}")?;
        }
        if let Some(size) = self.batch_size() {
            write!(f, ", in batches of {size}")?;
        }
        match self.condition() {
            Condition::Always => Ok(()),
            Condition::Success => f.write_str(", on success"),
            Condition::When => f.write_str(", when(..)"),
        }
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("name", &self.name())
            .field("id", &self.id())
            .field("key", &self.0.key)
            .field("serial_key", &self.0.serial_key)
            .field("unique_key", &self.0.unique_key)
            .field("replace", &self.0.replace)
            .field("at_most_every", &self.0.at_most)
            .field("delay", &self.0.delay)
            .field("condition", &self.0.condition)
            // Not the URI or the headers, which may contain a token.
            .field("request", &self.request().map(RequestInfo::route))
            .finish_non_exhaustive()
    }
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
        Detached::new(list, index, job, Held { room: Room::take_over(list, room), ..Held::default() })
    };
    list.see_answer();
    detached.start();
    Some(ended)
}

//! What a transition leaves to do once the lock is released.

use std::{task::Waker, time::Duration};

use tokio::task::{AbortHandle, JoinHandle};

use super::entry::{Condition, Extras};
use crate::{event::JobRef, policy::Policy, queue::Envelope};

/// Whether an attempt was started.
pub(super) enum Start {
    /// The job has ended, or is handed over.
    Gone,
    /// This has to be asked first, without the lock.
    Ask(Condition),
    /// It has to be pushed to the queue first, which is done when [`poll_pushed`] is ready.
    ///
    /// [`poll_pushed`]: super::state::State::poll_pushed
    Push,
    /// A task of its own starts it after this long. The room is to be given back.
    Delay { delay: Duration, room: usize },
    /// It was, and the room of so many jobs is to be given back.
    Started { job: JobRef, policy: &'static Policy, room: usize },
}

/// What follows an attempt.
pub(super) enum AttemptEnd {
    /// The job has ended meanwhile, or is handed over.
    Gone,
    Ended(JobRef, Option<Box<Extras>>),
    Retry(JobRef, &'static Policy),
    /// The queue that the job comes from runs the next attempt.
    Return(JobRef, &'static Policy, Option<Box<Extras>>),
}

/// A job that ended. Each job yields exactly one, which is to be counted.
#[must_use]
pub(super) struct Ended {
    pub(super) job: JobRef,
    pub(super) freed: Freed,
    /// To be dropped, quietly.
    pub(super) extras: Option<Box<Extras>>,
    pub(super) work: Option<Box<dyn Send>>,
    /// Whom to wake that waited for its push.
    pub(super) pushed: Vec<Waker>,
}

/// What jobs leave behind that no longer wait.
#[must_use]
#[derive(Default)]
pub(super) struct Freed {
    /// For how many jobs to give back room.
    pub(super) room: usize,
    /// The response to wake that was held for them.
    pub(super) held: Option<Waker>,
}

/// Who waits for a list.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Waiters {
    /// The held response.
    pub(super) held: Option<Waker>,
    /// The worker and others that wait for a push.
    pub(super) pushed: Vec<Waker>,
}

/// What follows when a push has failed: what to wake, and whether the list has to be started.
#[must_use]
#[derive(Default)]
pub(super) struct PushFailed {
    pub(super) job: Option<JobRef>,
    pub(super) pushed: Vec<Waker>,
    pub(super) starts: bool,
}

/// Jobs that were stopped, and what is to be aborted and dropped with them.
#[must_use]
pub(super) struct Halted<S> {
    pub(super) abandoned: Vec<Ended>,
    /// Without an envelope the queue has the job already.
    pub(super) handed_over: Vec<(usize, JobRef, Option<Envelope>)>,
    pub(super) freed: Freed,
    pub(super) worker: Option<JoinHandle<()>>,
    pub(super) retries: Vec<AbortHandle>,
    pub(super) segments: Vec<S>,
}

impl Freed {
    pub(super) fn add(&mut self, other: Self) {
        self.room += other.room;
        self.held = self.held.take().or(other.held);
    }
}

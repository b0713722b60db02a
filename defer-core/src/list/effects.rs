//! What a transition leaves to do once the lock is released.

use std::{task::Waker, time::Duration};

use tokio::task::{AbortHandle, JoinHandle};

use super::entry::Extras;
use crate::{event::JobRef, queue::Envelope};

/// What follows the release of a list.
#[must_use]
pub(super) struct Released {
    pub(super) shed: Vec<Ended>,
    /// The list has to be started.
    pub(super) starts: bool,
    /// Jobs may be superfluous.
    pub(super) has_unique: bool,
    /// Jobs may leave the line.
    pub(super) has_beside: bool,
}

/// Whether an attempt was started.
pub(super) enum Start {
    /// The job has ended, or is handed over.
    Gone,
    /// It has something to [pass](super::entry::Gate) first.
    Gated,
    /// It has to wait for its turn in a lane.
    Wait,
    /// It has to wait for that in a task of its own, which gets the room of this many jobs.
    Leave { room: usize },
    /// The job must go to the queue first. Wait until [`poll_pushed`] is ready.
    ///
    /// [`poll_pushed`]: super::state::State::poll_pushed
    Push,
    /// Let a task of the job's own start it after this long. Give the room back.
    Delay { delay: Duration, room: usize },
    /// An attempt was started. Give back the room of this many jobs.
    Started { job: JobRef, room: usize },
}

/// What follows an attempt.
pub(super) enum AttemptEnd {
    /// The job has already ended, or is handed over.
    Gone,
    Ended(JobRef, Option<Box<Extras>>),
    /// Another attempt follows here.
    Again(JobRef),
    /// The queue that the job comes from runs the next attempt.
    Return(JobRef, Option<Box<Extras>>),
}

/// A job that ended. Each job yields exactly one of these: count it.
#[must_use]
pub(super) struct Ended {
    pub(super) job: JobRef,
    pub(super) freed: Freed,
    /// Drop it with `drop_quietly`.
    pub(super) extras: Option<Box<Extras>>,
    pub(super) work: Option<Box<dyn Send>>,
    /// Those that waited for its push, or for its turn.
    pub(super) wakes: Vec<Waker>,
}

/// What jobs leave behind once they no longer wait.
#[must_use]
#[derive(Default)]
pub(super) struct Freed {
    /// How many jobs' room to give back.
    pub(super) room: usize,
    /// Wakes the response that was held for them.
    pub(super) held: Option<Waker>,
}

/// The wakers of what waits for a list.
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
    pub(super) is_released: bool,
}

/// Jobs that were stopped, and what to abort and drop with them.
#[must_use]
pub(super) struct Halted<S> {
    pub(super) abandoned: Vec<Ended>,
    /// `None`: the queue already has the job.
    pub(super) handed_over: Vec<(usize, JobRef, Option<Envelope>)>,
    pub(super) freed: Freed,
    pub(super) worker: Option<JoinHandle<()>>,
    pub(super) tasks: Vec<AbortHandle>,
    pub(super) segments: Vec<S>,
    /// Wakes those that waited for a push.
    pub(super) pushed: Vec<Waker>,
}

impl Freed {
    pub(super) fn add(&mut self, other: Self) {
        self.room += other.room;
        self.held = self.held.take().or(other.held);
    }
}

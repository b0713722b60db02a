//! The effects of a transition, to be carried out once the lock is released.

use std::task::Waker;

use smallvec::SmallVec;
use tokio::task::{AbortHandle, JoinHandle};

use crate::{
    list::extras::Extras,
    model::{id::JobId, job_type::JobRef},
    observe::{event::JobEventKind, hooks::Times, stats::Final},
};

/// The effects that follow once the lock is released.
#[must_use]
#[derive(Default)]
pub(crate) struct Effects {
    /// Jobs that ended without an attempt, or in one that was broken off: report and count each.
    pub(crate) ended: SmallVec<[Ended; 1]>,
    /// How many jobs' room to give back.
    pub(crate) room: usize,
    /// The held response, and tasks that wait for a change.
    pub(crate) wakers: SmallVec<[Waker; 2]>,
    /// The worker to abort.
    pub(crate) worker: Option<JoinHandle<()>>,
    /// The tasks to abort.
    pub(crate) tasks: Vec<AbortHandle>,
}

impl Effects {
    /// Returns whether nothing is left to do.
    #[inline]
    pub(crate) fn has_nothing(&self) -> bool {
        let Self { ended, room, wakers, worker, tasks } = self;
        ended.is_empty() && *room == 0 && wakers.is_empty() && worker.is_none() && tasks.is_empty()
    }
}

/// A job that ended. Each job yields exactly one of these.
#[must_use]
pub(crate) struct Ended {
    pub(crate) index: usize,
    pub(crate) job: JobRef,
    /// Holds user code.
    pub(crate) extras: Option<Box<Extras>>,
}

/// How a job ended, which is reported and counted once the queue has stored it.
pub(crate) struct Report {
    pub(crate) job: JobRef,
    pub(crate) event: JobEventKind,
    pub(crate) how: Final,
    pub(crate) times: Times,
}

/// Rarely used state of a list, boxed to keep `State` small.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Rare {
    /// The tasks that wait for a push, or for the end of a job that waits for its turn.
    pub(super) changed: Vec<Waker>,
    /// The jobs whose attempts were asked to stop, the latest last: a task that such a job has spawned may ask only after its end.
    pub(super) cancelled: Vec<JobId>,
}

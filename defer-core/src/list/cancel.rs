//! Cancels a job, wherever it is in a list, and stops a running attempt.
//!
//! An attempt that waits says so, and asks whether it is to be stopped. Only then it can be woken for that: one that never waits pays
//! nothing.

use std::{sync::Arc, task::Waker};

use super::{extras::Cancellation, list::JobList, state::Asked};
use crate::{model::id::JobId, observe::event::JobEventKind, primitives::sync::atomic::Ordering};

impl JobList {
    /// Cancels a job that is in no attempt, or lets the attempt be stopped. A job that the queue has is left alone, unless
    /// `though_queued`. `None` if it is not here.
    pub(crate) fn cancel_job(&self, id: JobId, though_queued: bool) -> Option<Asked> {
        let mut asked = None;
        self.end_with(&JobEventKind::Cancelled, |locked, effects| {
            asked = locked.state.cancel_job(id, though_queued, effects);
            if let Some(Asked::Runs(_)) = asked {
                self.stops_attempts.store(true, Ordering::Release);
            }
        });
        if let Some(Asked::Runs(stop)) = &mut asked {
            stop.wake();
        }
        asked
    }

    /// The queue lets an attempt be stopped.
    pub(crate) fn stop_attempt(&self, index: usize) {
        let mut stop = {
            let mut locked = self.lock();
            self.stops_attempts.store(true, Ordering::Release);
            locked.state.stop_attempt(index)
        };
        stop.wake();
    }

    /// An attempt that the worker polls waits, for the first time: from here on it can be woken to be stopped. Who stops it after this
    /// sees the waker, and who did before has said so under the same lock.
    pub(crate) fn waits_in_line(&self, worker: &Waker) {
        // Cloned before the lock, and dropped after it.
        let worker = worker.clone();
        let unused = self.lock().state.keep_worker_waker(worker);
        drop(unused);
    }

    /// Returns whether an attempt is to be stopped; without an index, the one that runs in the line.
    #[inline]
    pub(crate) fn stops(&self, index: Option<usize>) -> bool {
        self.stops_attempts.load(Ordering::Acquire) && self.stops_this(index)
    }

    #[cold]
    fn stops_this(&self, index: Option<usize>) -> bool {
        self.lock().state.stops(index)
    }

    /// Returns what a job is told with that it is cancelled. `None` if it has ended without that.
    pub(crate) fn cancellation(&self, id: JobId) -> Option<Arc<Cancellation>> {
        self.lock().state.cancellation(id)
    }
}

//! How a job is cancelled, wherever it is in a list, and how an attempt that runs is stopped.
//!
//! An attempt that waits says so, and asks whether it is to be stopped. Only then it can be woken for that: one that never waits pays
//! nothing.

use std::{sync::Arc, task::Waker};

use super::{
    extras::Cancellation,
    list::JobList,
    state::{Asked, StopAttempt},
};
use crate::{model::id::JobId, observe::event::JobEventKind, primitives::sync::atomic::Ordering};

impl JobList {
    /// Cancels a job that is in no attempt, or lets the attempt be stopped. A job that the queue has is left alone, unless
    /// `though_queued`. `None` if it is not here.
    pub(crate) fn cancel_job(&self, id: JobId, though_queued: bool) -> Option<Asked> {
        let mut asked = None;
        self.end_with(&JobEventKind::Cancelled, |locked, effects| {
            asked = locked.state.cancel_job(id, though_queued, effects);
        });
        if let Some(Asked::Runs(stop)) = &mut asked {
            self.wake_attempt(stop);
        }
        asked
    }

    /// The queue lets an attempt be stopped.
    pub(crate) fn stop_attempt(&self, index: usize) {
        let mut stop = self.lock().state.stop_attempt(index);
        self.wake_attempt(&mut stop);
    }

    /// Wakes an attempt that is to be stopped, and lets it ask.
    fn wake_attempt(&self, stop: &mut StopAttempt) {
        // Either this sees the worker's waker, or the worker sees this: both change the same atomic, after the one and before the
        // other.
        self.stops_attempts.swap(true, Ordering::AcqRel);
        if let Some(worker) = self.worker.get().filter(|_| stop.is_in_line) {
            worker.wake_by_ref();
        }
        stop.wake();
    }

    /// An attempt that the worker polls waits, for the first time: from here on it can be woken to be stopped.
    pub(crate) fn waits_in_line(&self, worker: &Waker) {
        match self.worker.get() {
            Some(known) if known.will_wake(worker) => {}
            Some(_) => self.later_worker_waits(worker),
            None => {
                let _ = self.worker.set(worker.clone());
                self.stops_attempts.fetch_or(false, Ordering::AcqRel);
            }
        }
    }

    #[cold]
    fn later_worker_waits(&self, worker: &Waker) {
        let worker = worker.clone();
        let replaced = self.lock().state.keep_later_worker(worker);
        drop(replaced);
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

    /// Returns what a job is told with that it is cancelled. `None` if it has ended.
    pub(crate) fn cancellation(&self, id: JobId) -> Option<Arc<Cancellation>> {
        self.lock().state.cancellation(id)
    }
}

//! The transitions of a job that somebody asks to be cancelled, wherever it is.

use std::{sync::Arc, task::Waker};

use crate::{
    list::{
        entry::{Entry, InQueue, JobState},
        extras::Cancellation,
        state::{Effects, State},
    },
    model::{id::JobId, policy::Flags},
};

/// How many of a list's cancelled jobs are known once they have ended. A list may live as long as its process.
const MOST_CANCELLED: usize = 64;

/// The result of asking for a cancellation.
pub(crate) enum Asked {
    /// The job has ended. It may be on the queue too, if a push of it was not confirmed.
    Ended { is_unsure: bool },
    /// An attempt runs.
    Runs(StopAttempt),
    /// It is on its way to the queue: ask again when that has answered.
    Pushing { index: usize },
    /// The queue has it, and is to be asked. With a lease it can be cancelled here too.
    Queued { is_leased: bool },
}

/// The wakers of attempts that have to stop. Wake them after unlocking.
#[must_use]
#[derive(Default)]
pub(crate) struct StopAttempt {
    told: Option<Arc<Cancellation>>,
    /// The task that polls the attempt.
    task: Option<Waker>,
}

impl StopAttempt {
    pub(crate) fn wake(&mut self) {
        if let Some(told) = self.told.take() {
            told.wake();
        }
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl State {
    /// Cancels a job that is in no attempt, or lets the attempt be stopped. A job that the queue has is left alone, unless
    /// `though_queued`. `None` if it is not here.
    pub(crate) fn cancel_job(
        &mut self,
        id: JobId,
        though_queued: bool,
        effects: &mut Effects,
    ) -> Option<Asked> {
        let (index, entry) = self.entries.open().find(|(_, entry)| entry.id == id)?;
        let is_leased = entry.leased().is_some();
        let is_unsure = entry.queue == InQueue::Unsure && !entry.has_lease();
        Some(match entry.state {
            JobState::Pushing => Asked::Pushing { index },
            JobState::HandedOver => Asked::Queued { is_leased: false },
            _ if entry.is_from_queue() && !though_queued => Asked::Queued { is_leased },
            JobState::Running => Asked::Runs(self.stop_attempt(index)),
            JobState::Waiting | JobState::Detached | JobState::Ended => {
                self.end(index, |_| true, effects);
                Asked::Ended { is_unsure }
            }
        })
    }

    /// Lets an attempt that runs be stopped. Not one whose job is being told that it is given up: that ends as it would have.
    pub(crate) fn stop_attempt(&mut self, index: usize) -> StopAttempt {
        let running = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Running);
        let Some(entry) = running.filter(|entry| !entry.has(Flags::GIVEN_UP)) else {
            return StopAttempt::default();
        };
        entry.set(Flags::CANCELLED);
        let id = entry.id;
        let told = entry.tell_cancelled();
        let is_in_line = !entry.has(Flags::DETACHED);
        let own = entry.task_waker().cloned();
        let of_line = self.line_waker.clone().filter(|_| is_in_line);
        let cancelled = &mut self.rare.get_or_insert_default().cancelled;
        if cancelled.len() == MOST_CANCELLED {
            cancelled.remove(0);
        }
        cancelled.push(id);
        StopAttempt { told, task: own.or(of_line) }
    }

    /// Keeps the waker of the worker. Returns one to drop.
    pub(crate) fn keep_worker_waker(&mut self, waker: Waker) -> Option<Waker> {
        if self.line_waker.as_ref().is_some_and(|known| known.will_wake(&waker)) {
            return Some(waker);
        }
        self.line_waker.replace(waker)
    }

    /// Returns whether an attempt is to be stopped; without an index, the one that runs in the line. A blocking one cannot be: it is
    /// only told.
    pub(crate) fn stops(&mut self, index: Option<usize>) -> bool {
        let stops = |entry: &Entry| entry.is_cancelled() && !entry.policy().is_blocking();
        match index {
            Some(index) => self.entries.get_mut(index).is_some_and(|entry| stops(entry)),
            None => self.entries.open().any(|(_, entry)| stops(entry) && !entry.has(Flags::DETACHED)),
        }
    }

    /// Returns what a job is told with that it is cancelled. `None` if it has ended without that.
    pub(crate) fn cancellation(&mut self, id: JobId) -> Option<Arc<Cancellation>> {
        if let Some(entry) = self.entry_of(id) {
            return Some(entry.cancellation());
        }
        let is_cancelled = self.rare.as_ref()?.cancelled.contains(&id);
        is_cancelled.then(|| Arc::new(Cancellation::new(true)))
    }
}

impl Entry {
    /// Returns whether the job runs and is to be cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.has(Flags::CANCELLED) && !self.has(Flags::GIVEN_UP)
    }
}

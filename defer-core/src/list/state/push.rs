//! The transitions of a job on its way to the queue.

use std::task::Waker;

use crate::{
    list::{
        entry::{Entry, InQueue, JobState},
        extras::Question,
        state::{Bounds, Effects, Phase, State},
    },
    model::{job_type::JobRef, policy::Flags},
    store::Envelope,
};

/// What follows when a push has failed.
#[must_use]
pub(crate) struct PushFailed {
    pub(crate) job: JobRef,
    /// Tasks that wait for it.
    pub(crate) wakers: Vec<Waker>,
    /// The list has to be started.
    pub(crate) starts: bool,
    pub(crate) is_released: bool,
}

impl State {
    /// Returns whether any job waits to be pushed.
    pub(crate) fn has_due(&mut self) -> bool {
        self.waiting_entries().any(|(_, entry)| entry.has(Flags::PUSH))
    }

    /// Begins to push the jobs for the queue. Leaves those for which `keeps` returns true. Returns the jobs.
    pub(crate) fn begin_push(&mut self, keeps: impl Fn(&Entry) -> bool, effects: &mut Effects) -> Vec<usize> {
        let due: Vec<usize> = self
            .entries
            .open()
            .filter(|(_, entry)| entry.may_start() && entry.has(Flags::PUSH) && !keeps(entry))
            .map(|(index, _)| index)
            .collect();
        for index in &due {
            let Some(entry) = self.entries.get_mut(*index) else { continue };
            if std::mem::replace(&mut entry.state, JobState::Pushing) == JobState::Waiting {
                self.stop_waiting(effects);
            }
        }
        due
    }

    /// Takes the condition of a job that is being pushed. `None` if it is no longer being pushed.
    pub(crate) fn ask_push(&mut self, index: usize) -> Option<Option<Question>> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing)?;
        Some(entry.take_question())
    }

    /// The condition of a job that is being pushed is true. Returns what the queue stores. `None` if the job is no longer
    /// being pushed.
    pub(crate) fn pass_push(&mut self, index: usize) -> Option<Envelope> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing)?;
        entry.pass();
        entry.envelope()
    }

    /// The queue did not take a job, or may not have: it runs in this process.
    pub(crate) fn fail_push(&mut self, index: usize, unsure: bool, bounds: Bounds<'_>) -> Option<PushFailed> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing)?;
        entry.queue = if unsure { InQueue::Unsure } else { InQueue::Failed };
        entry.unset(Flags::PUSH);
        let job = entry.job();
        let is_detached = entry.has(Flags::DETACHED);
        entry.state = if is_detached { JobState::Detached } else { JobState::Waiting };
        self.counts.waiting += usize::from(!is_detached);
        if !is_detached && self.phase != Phase::Collecting && self.counts.room < bounds.capacity.max() {
            // Neither shed nor waited for: its response has been let through.
            bounds.capacity.take(1);
            self.counts.room += 1;
        }
        let starts = self.activate();
        Some(PushFailed { job, wakers: self.take_changed(), starts, is_released: self.is_released() })
    }

    /// Returns whether a job, or any if no index is given, is on its way to the queue.
    pub(crate) fn is_pushing(&mut self, index: Option<usize>) -> bool {
        let is_pushing = |entry: &mut Entry| entry.state == JobState::Pushing;
        match index {
            Some(index) => self.entries.get_mut(index).is_some_and(is_pushing),
            None => self.entries.open().any(|(_, entry)| is_pushing(entry)),
        }
    }
}

//! The transitions of a job on its way to the queue.

use std::{mem, task::Waker};

use super::{Bounds, ListState, State};
use crate::{
    list::{
        effects::{Ended, Freed, PushFailed},
        entry::{Condition, Entry, InQueue, JobState},
        segment::Slots,
    },
    queue::Envelope,
};

impl<S: Slots> State<S> {
    /// Returns whether any job waits to be pushed.
    pub(in crate::list) fn has_due(&mut self) -> bool {
        self.waiting_entries().any(|(_, entry)| entry.queue == InQueue::Due)
    }

    /// Begins to push the jobs for the queue. Leaves those for which `asks` returns true. Returns the jobs and what they
    /// leave behind.
    pub(in crate::list) fn begin_push(&mut self, asks: impl Fn(&Entry) -> bool) -> (Vec<usize>, Freed) {
        let due: Vec<usize> = self
            .waiting_entries()
            .filter(|(_, entry)| entry.queue == InQueue::Due && !asks(entry))
            .map(|(index, _)| index)
            .collect();
        let mut freed = Freed::default();
        for index in &due {
            if let Some(entry) = self.entries.get_mut(*index) {
                entry.state = JobState::Pushing;
                freed.add(self.free());
            }
        }
        (due, freed)
    }

    /// Takes the condition of a job that is being pushed. `None` if it is no longer being pushed.
    pub(in crate::list) fn ask_push(&mut self, index: usize) -> Option<Condition> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing)?;
        Some(entry.take_condition())
    }

    /// The condition of a job that is being pushed is true. Returns what the queue stores. `None` if the job is no longer
    /// being pushed.
    pub(in crate::list) fn pass_push(&mut self, index: usize) -> Option<Envelope> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing)?;
        entry.pass();
        entry.envelope()
    }

    /// Ends a job that the queue took, and takes it out of its segment.
    pub(in crate::list) fn end_queued(&mut self, index: usize) -> Option<Ended> {
        self.remove(index, |state| state == JobState::Pushing)
    }

    /// The queue did not take a job, or may not have: it waits again, to run in this process.
    pub(in crate::list) fn fail_push(
        &mut self,
        index: usize,
        unsure: bool,
        bounds: Bounds<'_>,
    ) -> PushFailed {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing);
        let Some(entry) = entry else { return PushFailed::default() };
        entry.state = JobState::Waiting;
        entry.queue = if unsure { InQueue::Unsure } else { InQueue::Failed };
        let job = Some(entry.job());
        self.counts.waiting += 1;
        if self.list != ListState::Collecting && self.counts.room < bounds.capacity.max() {
            // Not shed, and not waited for: its response has been let through.
            bounds.capacity.take(1);
            self.counts.room += 1;
        }
        let starts = self.list == ListState::Idle;
        if starts {
            self.list = ListState::Active;
        }
        PushFailed { job, pushed: self.take_pushed(), starts, is_released: self.is_released() }
    }

    /// Takes the wakers that wait for a push.
    pub(super) fn take_pushed(&mut self) -> Vec<Waker> {
        self.waiters.as_mut().map(|waiters| mem::take(&mut waiters.pushed)).unwrap_or_default()
    }

    /// Keeps the waker of a task that waits for the push of one job, or of all. Returns whether the task has to wait, and a
    /// waker to drop.
    pub(in crate::list) fn poll_pushed(
        &mut self,
        index: Option<usize>,
        waker: Waker,
    ) -> (bool, Option<Waker>) {
        let is_pushing = |entry: &mut Entry| entry.state == JobState::Pushing;
        let waits = match index {
            Some(index) => self.entries.get_mut(index).is_some_and(is_pushing),
            None => self.entries.open().any(|(_, entry)| is_pushing(entry)),
        };
        if !waits {
            return (false, Some(waker));
        }
        let waiters = &mut self.waiters.get_or_insert_default().pushed;
        if waiters.iter().any(|known| known.will_wake(&waker)) {
            return (true, Some(waker));
        }
        waiters.push(waker);
        (true, None)
    }
}

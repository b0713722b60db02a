//! The transitions of a job on its way to the queue.

use std::{sync::Arc, task::Waker};

use crate::{
    list::{
        entry::{Entry, InQueue, JobState},
        extras::Question,
        state::{Bounds, Effects, Ended, Phase, State},
    },
    model::{
        job_type::JobRef,
        policy::{Condition, Flags},
    },
    store::{Envelope, Lease},
};

/// The next step of a job whose push ended and that may start here.
#[must_use]
#[derive(Default)]
pub(crate) struct Returned {
    /// Tasks that wait for it.
    pub(crate) wakers: Vec<Waker>,
    /// The list has to be started.
    pub(crate) starts: bool,
    pub(crate) is_released: bool,
}

/// Which way a job goes that the queue holds for this process and that does not run here, once its response is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Anyone may take it.
    Queue,
    /// It does not run.
    Skipped,
}

impl State {
    /// Returns whether any job waits to be pushed.
    pub(crate) fn has_due(&mut self) -> bool {
        let is_due = |entry: &Entry| entry.has(Flags::PUSH) && !entry.has(Flags::CHILD);
        self.flags.has(Flags::PUSH) && self.waiting_entries().any(|(_, entry)| is_due(entry))
    }

    /// Begins to push the jobs for the queue. Leaves those for which `keeps` returns true. Returns the jobs.
    pub(crate) fn begin_push(&mut self, keeps: impl Fn(&Entry) -> bool, effects: &mut Effects) -> Vec<usize> {
        let due: Vec<usize> = self
            .entries
            .open()
            .filter(|(_, entry)| entry.may_start() && entry.has(Flags::PUSH) && !keeps(entry))
            .map(|(index, _)| index)
            .collect();
        self.push_all(&due, effects);
        due
    }

    /// Begins to store the jobs that this one has deferred. Returns them.
    pub(crate) fn begin_children(&mut self, parent: usize, effects: &mut Effects) -> Vec<usize> {
        if !self.flags.has(Flags::CHILD) {
            return Vec::new();
        }
        let children =
            self.entries.open().filter(|(_, entry)| entry.may_start() && entry.is_child_of(parent));
        let children: Vec<usize> = children.map(|(index, _)| index).collect();
        self.push_all(&children, effects);
        children
    }

    fn push_all(&mut self, jobs: &[usize], effects: &mut Effects) {
        for index in jobs {
            let Some(entry) = self.entries.get_mut(*index) else { continue };
            if std::mem::replace(&mut entry.state, JobState::Pushing) == JobState::Waiting {
                self.stop_waiting(effects);
            }
        }
    }

    /// The queue has stored a job, and gives this lease of it: the job may start. Returns what follows; the lease, if the job is
    /// no longer on its way.
    pub(crate) fn store(
        &mut self,
        index: usize,
        lease: Arc<dyn Lease>,
        bounds: Bounds<'_>,
    ) -> Result<Returned, Arc<dyn Lease>> {
        match self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing) {
            Some(entry) => {
                entry.lease(lease, InQueue::Held);
                self.flags = self.flags.with(entry.flags);
                Ok(self.return_to_line(index, bounds))
            }
            None => Err(lease),
        }
    }

    /// Ends the jobs that the queue holds for this process, have not started, and do not run here: those that go some way. Returns them.
    pub(crate) fn part(
        &mut self,
        only: Option<usize>,
        way: impl Fn(&Entry) -> Option<Way>,
        effects: &mut Effects,
    ) -> Vec<(Way, Ended)> {
        let held = self.entries.open().filter(|(index, entry)| {
            only.is_none_or(|only| only == *index) && entry.may_start() && entry.is_held()
        });
        let mut parting = Vec::new();
        for (index, entry) in held {
            match way(entry) {
                Some(way) => parting.push((index, way)),
                // The part of the response that is known by now is stored with the job.
                None if entry.condition() == Condition::Success => entry.pass(),
                None => {}
            }
        }
        let mut parted = Vec::with_capacity(parting.len());
        for (index, way) in parting {
            let Some((before, mut ended)) = self.end_entry(index, |_| true) else { continue };
            match before {
                JobState::Waiting => self.stop_waiting(effects),
                // It may wait for long.
                _ => {
                    effects.tasks.extend(ended.extras.as_mut().and_then(|extras| extras.progress.task.take()))
                }
            }
            parted.push((way, ended));
        }
        if !parted.is_empty() {
            effects.wakers.extend(self.take_changed());
        }
        parted
    }

    /// Lets a job that was on its way to the queue start here.
    fn return_to_line(&mut self, index: usize, bounds: Bounds<'_>) -> Returned {
        let Some(entry) = self.entries.get_mut(index) else { return Returned::default() };
        let is_detached = entry.has(Flags::DETACHED);
        entry.state = if is_detached { JobState::Detached } else { JobState::Waiting };
        self.counts.waiting += usize::from(!is_detached);
        if !is_detached && self.phase != Phase::Collecting && self.counts.room < bounds.capacity.max() {
            // Neither shed nor waited for: its response has been let through.
            bounds.capacity.take(1);
            self.counts.room += 1;
        }
        let starts = self.activate();
        Returned { wakers: self.take_changed(), starts, is_released: self.is_released() }
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

    /// Returns what the queue stores of a job that is being pushed, with its condition. `None` if it is no longer being pushed.
    pub(crate) fn pushed_envelope(&mut self, index: usize) -> Option<Envelope> {
        self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing)?.envelope()
    }

    /// The queue did not take a job, or may not have: it runs in this process. Its lease, if it has one, is told how it ends.
    pub(crate) fn fail_push(
        &mut self,
        index: usize,
        unsure: bool,
        lease: Option<Arc<dyn Lease>>,
        bounds: Bounds<'_>,
    ) -> Option<(JobRef, Returned)> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Pushing)?;
        entry.queue = if unsure { InQueue::Unsure } else { InQueue::Failed };
        entry.unset(Flags::PUSH.with(Flags::CHILD));
        if let Some(lease) = lease {
            entry.keep_unsure(lease);
        }
        let job = entry.job();
        Some((job, self.return_to_line(index, bounds)))
    }

    /// Returns whether a job is on its way to the queue.
    pub(crate) fn is_on_its_way(&mut self, index: usize) -> bool {
        self.entries.get_mut(index).is_some_and(|entry| entry.state == JobState::Pushing)
    }

    /// Returns whether a job, or any if no index is given, is on its way to the queue, or will be at the end of the job that
    /// deferred it.
    pub(crate) fn is_pushing(&mut self, index: Option<usize>) -> bool {
        let is_pushing = |entry: &mut Entry| {
            entry.state == JobState::Pushing || entry.may_start() && entry.has(Flags::CHILD)
        };
        match index {
            Some(index) => self.entries.get_mut(index).is_some_and(is_pushing),
            None => self.entries.open().any(|(_, entry)| is_pushing(entry)),
        }
    }
}

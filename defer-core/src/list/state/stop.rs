//! The transitions that stop jobs: at the end of a shutdown, and when a worker is lost.

use super::State;
use crate::list::{
    effects::{Ended, Freed, Halted},
    entry::{Entry, JobState},
    segment::Slots,
};

impl<S: Slots> State<S> {
    /// Stops everything at the end of a shutdown, in one step: none of the jobs starts because the one before it was
    /// stopped. Jobs that a queue can take are handed over, if there is one.
    pub(in crate::list) fn stop(&mut self, has_queue: bool) -> Halted<S> {
        let mut handed_over = Vec::new();
        let mut freed = Freed::default();
        let mut retries = Vec::new();
        for index in self.open_indices(|entry| entry.state != JobState::HandedOver) {
            let Some(entry) = self.entries.get_mut(index) else { continue };
            retries.extend(entry.take_retry());
            // Whether a condition lets a job run is known once it has run.
            let may_leave = has_queue && (entry.attempts > 0 || entry.is_unconditional());
            let envelope = entry.envelope().filter(|_| may_leave);
            if envelope.is_none() && !entry.is_from_queue() {
                continue;
            }
            let job = entry.job();
            match std::mem::replace(&mut entry.state, JobState::HandedOver) {
                JobState::Waiting => freed.add(self.free()),
                JobState::Running => self.counts.running -= 1,
                JobState::Pushing | JobState::Backoff | JobState::HandedOver | JobState::Ended => {}
            }
            handed_over.push((index, job, envelope));
        }
        let abandoned = self.end_all(|entry| entry.state != JobState::HandedOver);
        let worker = self.worker.take();
        self.worker_epoch = self.worker_epoch.wrapping_add(1);
        Halted { abandoned, handed_over, freed, worker, retries, segments: self.segments.take_all() }
    }

    /// The worker is gone, with a runtime that was dropped or by an abort: ends what it would have run. A job
    /// with a task of its own goes on.
    pub(in crate::list) fn lose_worker(&mut self) -> Halted<S> {
        self.forget_worker();
        Halted {
            abandoned: self.end_all(|entry| match entry.state {
                JobState::Waiting | JobState::Pushing => true,
                JobState::Running => !entry.has_task,
                JobState::Backoff | JobState::HandedOver | JobState::Ended => false,
            }),
            handed_over: Vec::new(),
            freed: Freed::default(),
            worker: None,
            retries: Vec::new(),
            segments: self.segments.take_all(),
        }
    }

    fn end_all(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<Ended> {
        let indices = self.open_indices(which);
        indices.into_iter().filter_map(|index| self.end_from(index, |_| true)).collect()
    }

    fn open_indices(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<usize> {
        self.entries.open().filter(|(_, entry)| which(entry)).map(|(index, _)| index).collect()
    }
}

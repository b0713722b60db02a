//! The transitions that stop jobs: at the end of a shutdown, when a `Resumed` is dropped, and when a worker is lost.

use super::State;
use crate::list::{
    effects::{Ended, Freed, Halted},
    entry::{Entry, JobState},
    segment::Slots,
};

impl<S: Slots> State<S> {
    /// Stops everything, at the end of a shutdown or when the list's `Resumed` is dropped. It does so in one step, so
    /// that stopping one job does not start the next. Hands over the jobs that came from a queue and, with `has_queue`,
    /// those that the queue can take.
    pub(in crate::list) fn stop(&mut self, has_queue: bool) -> Halted<S> {
        let mut handed_over = Vec::new();
        let mut freed = Freed::default();
        let mut tasks = Vec::new();
        for index in self.open_indices(|entry| entry.state != JobState::HandedOver) {
            let Some(entry) = self.entries.get_mut(index) else { continue };
            tasks.extend(entry.take_task());
            // A job with a condition may leave only once the condition was asked, which is certain after an attempt.
            // Nor one that is being told that it is given up: elsewhere it might yet succeed.
            let may_leave = has_queue && !entry.is_told() && (entry.attempts > 0 || entry.is_unconditional());
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
        let (segments, pushed) = (self.segments.take_all(), self.take_pushed());
        Halted { abandoned, handed_over, freed, worker, tasks, segments, pushed }
    }

    /// The worker is gone, because its runtime was dropped or it was aborted: ends what it would have run. A job with a
    /// task of its own goes on.
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
            tasks: Vec::new(),
            segments: self.segments.take_all(),
            pushed: Vec::new(),
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

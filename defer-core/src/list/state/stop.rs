//! The transitions that stop jobs: at the end of a shutdown, when a `Resumed` is dropped, and when a worker is lost.

use crate::{
    list::{
        entry::{Entry, JobState},
        state::{Effects, State},
    },
    model::{job_type::JobRef, policy::Flags},
    store::Envelope,
};

/// A job that was stopped and is left to the queue.
pub(crate) struct HandedOver {
    pub(crate) index: usize,
    pub(crate) job: JobRef,
    /// `None`: the queue already has the job.
    pub(crate) envelope: Option<Envelope>,
}

impl State {
    /// Stops everything, in one step, so that stopping one job does not start the next. Returns the jobs that are handed over:
    /// those that came from a queue and, with `has_queue`, those that the queue can take. The others have ended.
    pub(crate) fn stop(&mut self, has_queue: bool, effects: &mut Effects) -> Vec<HandedOver> {
        let mut handed_over = Vec::new();
        for index in self.open_indices(|entry| entry.state != JobState::HandedOver) {
            let Some(entry) = self.entries.get_mut(index) else { continue };
            effects.tasks.extend(entry.take_task());
            // A job with a condition may leave only once the condition was asked. Nor one that is cancelled, or is being told that it
            // is given up: elsewhere it might yet succeed.
            let may_leave =
                has_queue && !entry.has(Flags::GIVEN_UP.with(Flags::CONDITION).with(Flags::CANCELLED));
            // One that a job with a lease has deferred was never deferred: that job runs again elsewhere.
            let is_child = entry.has(Flags::CHILD);
            let envelope = entry.envelope().filter(|_| may_leave && !is_child);
            if envelope.is_none() && !is_child && !entry.is_from_queue() {
                continue;
            }
            let job = entry.job();
            match std::mem::replace(&mut entry.state, JobState::HandedOver) {
                JobState::Waiting => self.stop_waiting(effects),
                JobState::Running => self.counts.running -= 1,
                JobState::Pushing | JobState::Detached | JobState::HandedOver | JobState::Ended => {}
            }
            handed_over.push(HandedOver { index, job, envelope });
        }
        self.end_all(|entry| entry.state != JobState::HandedOver, effects);
        effects.worker = self.worker.take();
        self.worker_epoch = self.worker_epoch.wrapping_add(1);
        effects.wakers.extend(self.take_changed());
        handed_over
    }

    /// The worker is gone, because its runtime was dropped or it was aborted: ends what it would have run. A job with a
    /// task of its own goes on.
    pub(crate) fn lose_worker(&mut self, effects: &mut Effects) {
        self.forget_worker();
        let was_in_line = |entry: &Entry| match entry.state {
            JobState::Waiting => true,
            JobState::Pushing | JobState::Running => !entry.has(Flags::DETACHED),
            JobState::Detached | JobState::HandedOver | JobState::Ended => false,
        };
        self.end_all(was_in_line, effects);
    }

    fn end_all(&mut self, which: impl Fn(&Entry) -> bool, effects: &mut Effects) {
        for index in self.open_indices(which) {
            self.end(index, |_| true, effects);
        }
    }

    fn open_indices(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<usize> {
        self.entries.open().filter(|(_, entry)| which(entry)).map(|(index, _)| index).collect()
    }
}

//! The transitions of a job from its place in line to the end of an attempt.

use std::{sync::Arc, task::Waker, time::Duration};

#[cfg(feature = "testing")]
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

#[cfg(feature = "testing")]
use crate::observe::event::JobEventKind;
use crate::{
    limits::keyed_semaphore::{Key, Slot},
    list::{
        entry::{Entry, JobState},
        extras::Question,
        state::{Counts, Ended, State},
    },
    model::{
        failure::Failure,
        id::JobId,
        job_type::JobRef,
        policy::{Flags, Policy},
    },
    store::Lease,
};

/// The obstacle in the way of a job's next attempt.
pub(crate) enum Obstacle {
    /// The job has ended, or is handed over.
    Gone,
    /// It is a duplicate of this job. [End](crate::list::list::JobList::end_duplicate) it as one.
    Duplicate(JobId),
    /// It has to be pushed to the queue, or is on its way there. Wait for that.
    Push,
    /// Ask this about its response. If the answer is yes, the job [passes](State::pass).
    Ask(Question),
    /// It is not due. It is detached, and takes no room: give back that of this many jobs.
    Delay { delay: Duration, room: usize, policy: &'static Policy },
    /// It has to wait for its turn.
    Slots(Slots),
    /// It has to wait for a permit.
    Permit,
    /// It has to wait until its lease lets it start.
    Lease(Arc<dyn Lease>),
    /// None: an attempt was started. Give back the room of this many jobs.
    Started { job: JobRef, room: usize },
}

/// The turns that a job has to wait for.
pub(crate) struct Slots {
    /// Its serial key, and its turn, if that was taken when its response was over.
    pub(crate) serial: Option<(Arc<str>, Option<Slot>)>,
    /// Its type, and how many jobs of that may run.
    pub(crate) limit: Option<(Key, usize)>,
    /// It runs in its request's line.
    pub(crate) is_in_line: bool,
}

/// The step after an attempt.
pub(crate) enum AfterAttempt {
    /// The job has already ended, or is handed over.
    Gone,
    Ended(Ended),
    /// The job was to be cancelled, and has ended so.
    Cancelled(Ended),
    /// Another attempt follows here, in a task of the job's own.
    Again(JobRef),
    /// The queue that the job comes from runs the next attempt.
    Return(Ended),
}

impl Counts {
    /// Starts an attempt of a job that waits or is between two attempts. Returns how many jobs' room to give back.
    #[inline]
    fn start(&mut self, entry: &mut Entry) -> Option<(JobRef, usize)> {
        let room = match entry.state {
            JobState::Waiting => self.stop_waiting(),
            JobState::Detached => 0,
            JobState::Pushing | JobState::Running | JobState::HandedOver | JobState::Ended => return None,
        };
        self.running += 1;
        entry.state = JobState::Running;
        entry.attempts += 1;
        Some((entry.job(), room))
    }

    /// Takes a job out of its line.
    fn detach(&mut self, entry: &mut Entry) -> usize {
        entry.set(Flags::DETACHED);
        match entry.state {
            // It is on its way to the queue all the while.
            JobState::Pushing => return 0,
            JobState::Waiting => {
                entry.state = JobState::Detached;
                return self.stop_waiting();
            }
            _ => entry.state = JobState::Detached,
        }
        0
    }
}

impl State {
    /// Starts an attempt of a job in line. `None` if there is something in its way, or it has ended: see
    /// [`advance`](Self::advance). Returns how many jobs' room to give back, too.
    #[inline]
    pub(crate) fn start(&mut self, index: usize) -> Option<(JobRef, usize)> {
        let entry = self.entries.get_mut(index)?;
        if entry.has(Flags::DETOUR) || entry.state != JobState::Waiting {
            return None;
        }
        self.counts.start(entry)
    }

    /// Starts an attempt of a job that is beyond its obstacles, or returns the next.
    ///
    /// `has_slots`, `has_permit` and `has_leave` tell what the caller has waited for: turns, a permit, and its lease. Keeps the waker of
    /// its own task when it starts.
    pub(crate) fn advance(
        &mut self,
        index: usize,
        own_task: Option<&Waker>,
        has_slots: bool,
        has_permit: bool,
        has_leave: bool,
    ) -> Obstacle {
        let Some(entry) = self.entries.get_mut(index) else { return Obstacle::Gone };
        if entry.state == JobState::Pushing {
            return Obstacle::Push;
        }
        if !entry.may_start() {
            return Obstacle::Gone;
        }
        if let Some(other) = entry.twin() {
            return Obstacle::Duplicate(other);
        }
        if entry.has(Flags::PUSH) {
            return Obstacle::Push;
        }
        if let Some(question) = entry.take_question() {
            return Obstacle::Ask(question);
        }
        if entry.has(Flags::DELAY) {
            if let Some(delay) = entry.take_delay() {
                let (room, policy) = (self.counts.detach(entry), entry.policy());
                return Obstacle::Delay { delay, room, policy };
            }
        }
        if !has_slots && entry.has(Flags::SLOTS) {
            entry.set(Flags::IN_TURN);
            let slot = entry.take_slot();
            return Obstacle::Slots(Slots {
                serial: entry.serial_key().map(|key| (key.clone(), slot)),
                limit: entry.limit(),
                is_in_line: entry.state == JobState::Waiting,
            });
        }
        if !has_permit {
            return Obstacle::Permit;
        }
        if let Some(lease) = entry.leased().filter(|_| !has_leave) {
            return Obstacle::Lease(lease.clone());
        }
        // In the same step as the start, so that the one that counts has started.
        if let Some(other) = entry.starts_too_soon() {
            return Obstacle::Duplicate(other);
        }
        if let Some(task) = own_task {
            entry.keep_task_waker(task);
        }
        match self.counts.start(entry) {
            Some((job, room)) => Obstacle::Started { job, room },
            None => Obstacle::Gone,
        }
    }

    /// The condition of a job was asked, and is true. Returns whether it takes the place of another from here on.
    pub(crate) fn pass(&mut self, index: usize) -> bool {
        let Some(entry) = self.entries.get_mut(index) else { return false };
        entry.pass();
        entry.replace().is_some()
    }

    /// Lets a job leave its line, for a task of its own. Returns how many jobs' room it takes with it. `None` if it has
    /// started.
    pub(crate) fn detach(&mut self, index: usize) -> Option<usize> {
        let entry = self.entries.get_mut(index)?;
        entry.may_leave().then(|| self.counts.detach(entry))
    }

    /// Returns the jobs with a unique key that have not started.
    pub(crate) fn unique(&mut self) -> Vec<usize> {
        let may_start =
            self.entries.open().filter(|(_, entry)| entry.may_start() && entry.has(Flags::UNIQUE));
        may_start.map(|(index, _)| index).collect()
    }

    /// Returns the concurrent jobs in line.
    pub(crate) fn concurrent(&mut self) -> Vec<usize> {
        let in_line = self.entries.open().filter(|(_, entry)| {
            entry.may_leave() && entry.has(Flags::CONCURRENT) && !entry.has(Flags::DETACHED)
        });
        in_line.map(|(index, _)| index).collect()
    }

    /// Lets a job leave its line for one attempt, at once, after `attempts` earlier ones. Returns what [`detach`](Self::detach)
    /// does.
    #[cfg(feature = "testing")]
    pub(crate) fn detach_for_attempt(
        &mut self,
        index: usize,
        attempts: u32,
        observer: oneshot::Sender<JobEventKind>,
    ) -> Option<usize> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Waiting)?;
        entry.limit_to_one_attempt(attempts, observer);
        entry.take_delay();
        self.detach(index)
    }

    /// Returns the job if no other attempt follows one that ended like this. Call its `failed` before it ends: from here on it is
    /// not handed over.
    pub(crate) fn give_up(&mut self, index: usize, failure: &Failure) -> Option<JobRef> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Running)?;
        if entry.goes_on(failure) || entry.has(Flags::CANCELLED) {
            return None;
        }
        entry.set(Flags::GIVEN_UP);
        Some(entry.job())
    }

    /// Ends an attempt that succeeded, and with it the job. `None` if the job has ended, or is handed over.
    #[inline]
    pub(crate) fn succeed(&mut self, index: usize) -> Option<Ended> {
        self.end_entry(index, |state| state == JobState::Running).map(|(_, ended)| ended)
    }

    /// Ends an attempt that failed, and with it the job, unless another attempt follows.
    pub(crate) fn end_attempt(&mut self, index: usize, failure: &Failure) -> AfterAttempt {
        let is_running = |state| state == JobState::Running;
        let Some(entry) = self.entries.get_mut(index).filter(|entry| is_running(entry.state)) else {
            return AfterAttempt::Gone;
        };
        if entry.is_cancelled() {
            let ended = self.end_entry(index, is_running);
            return ended.map_or(AfterAttempt::Gone, |(_, ended)| AfterAttempt::Cancelled(ended));
        }
        if !entry.goes_on(failure) || entry.is_from_queue() {
            let goes_on = entry.goes_on(failure);
            return match self.end_entry(index, is_running) {
                None => AfterAttempt::Gone,
                Some((_, ended)) if goes_on => AfterAttempt::Return(ended),
                Some((_, ended)) => AfterAttempt::Ended(ended),
            };
        }
        let job = entry.job();
        if failure.is_snooze() {
            entry.give_attempt_back();
            entry.set_due(failure.retry_after().unwrap_or_default());
        }
        self.counts.running -= 1;
        self.counts.detach(entry);
        AfterAttempt::Again(job)
    }

    /// Keeps what aborts a job's own task. Returns it if the job has already been stopped.
    pub(crate) fn keep_task(&mut self, index: usize, task: AbortHandle) -> Option<AbortHandle> {
        match self.entries.get_mut(index) {
            Some(entry) if !matches!(entry.state, JobState::HandedOver | JobState::Ended) => {
                entry.set_task(task);
                None
            }
            _ => Some(task),
        }
    }
}

impl Entry {
    /// Returns whether the job is in line, or on its way to the queue, and has not started.
    fn may_leave(&self) -> bool {
        matches!(self.state, JobState::Waiting | JobState::Pushing)
    }

    /// Returns whether another attempt follows one that ended like this.
    fn goes_on(&self, failure: &Failure) -> bool {
        failure.is_snooze() || !failure.error().is_fatal() && self.attempts < self.policy().tries()
    }

    /// The attempt does not count.
    fn give_attempt_back(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }
}

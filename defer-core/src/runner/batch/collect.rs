//! A batch until its response is over: jobs join it, are changed or taken back, and are let in.

use std::{sync::Arc, task::Waker};

use super::state::{Batch, Jobs, Phase};
#[cfg(feature = "testing")]
use crate::runner::line::SharedJob;
use crate::{
    collector::{Entry, Step},
    exchange::RequestInfo,
    job::JobId,
    panic::drop_quietly,
    policy::Policy,
    runner::{
        admission::Admission,
        builder::Overflow,
        event::{JobEventKind, Subject},
        gate::Gate,
        line::{Row, Work},
        stats::Final,
    },
    scope::is_in_job,
    sync::lock,
};

impl Batch {
    /// Adds a job, and returns its id and index. After the release it is run at once.
    pub(crate) fn push<W: Work>(
        self: &Arc<Self>,
        work: W,
        name: &'static str,
        policy: &'static Policy,
    ) -> (JobId, usize) {
        let id = JobId::next();
        let subject = Subject::new(name, id);
        self.runner.counters().deferred();
        subject.tell(self.runner.hooks(), JobEventKind::Deferred);
        let mut entry = Entry::new(id, name, policy);
        if policy.is_queued() && self.runner.queue().is_some() {
            self.encode(&mut entry, &work);
        }
        let mut jobs = lock(&self.jobs);
        if !self.makes_room(&mut jobs) {
            drop(jobs);
            drop_quietly((work, entry));
            self.count(subject, Final::Shed, JobEventKind::Shed);
            return (id, usize::MAX);
        }
        let index = jobs.collector.push(entry, |last, index| Row::append(work, last, index));
        let start = jobs.phase == Phase::Idle;
        if start {
            jobs.phase = Phase::Active;
        }
        drop(jobs);
        if start {
            Gate::start(self.clone());
        }
        (id, index)
    }

    /// Takes room for one more job once the response is over. Returns whether the job may join.
    fn makes_room(&self, jobs: &mut Jobs) -> bool {
        let room = self.runner.room();
        let sheds = self.runner.overflow() == Overflow::Shed;
        if jobs.phase == Phase::Collecting {
            // Those beyond the bound would be shed at the release.
            return !sheds || jobs.collector.waiting() < room.capacity();
        }
        let taken = if sheds {
            room.take_free(1)
        } else if jobs.room < room.capacity() {
            room.take(1);
            1
        } else {
            0
        };
        jobs.room += taken;
        taken > 0 || !sheds
    }

    /// Lets jobs know the request. Only the first call does anything.
    pub(crate) fn set_request(&self, request: RequestInfo) {
        let _ = self.request.set(request);
    }

    /// Whether the response may go at once: nothing is for the queue, and there is room for its jobs.
    pub(crate) fn try_admit(&self) -> bool {
        if self.runner.queue().is_some() {
            return false;
        }
        if !self.is_held() {
            return true;
        }
        let waiting = lock(&self.jobs).collector.waiting();
        waiting == 0 || self.runner.room().has(waiting)
    }

    /// Waits until there is room for the jobs collected so far. Cancel safe.
    pub(crate) async fn admit(self: &Arc<Self>) {
        if self.is_held() {
            Admission::new(self.clone()).await;
        }
    }

    /// Whether the response waits for room. One to a request that a job makes does not: that may be the very job that has
    /// to end first. Asked where the response is polled, and so inside of the job.
    fn is_held(&self) -> bool {
        self.runner.overflow() == Overflow::Wait && !is_in_job() && !self.runner.is_recording()
    }

    /// The response is held back: keeps what wakes it when its jobs are gone. Returns for how many jobs it is held.
    pub(crate) fn hold(&self, waker: &Waker) -> usize {
        let mut jobs = lock(&self.jobs);
        let waiting = if jobs.phase == Phase::Collecting { jobs.collector.waiting() } else { 0 };
        let old = (waiting > 0).then(|| jobs.held.replace(waker.clone()));
        drop(jobs);
        drop(old);
        waiting
    }

    /// The response is not held back any more.
    pub(crate) fn let_go(&self) -> Option<Waker> {
        lock(&self.jobs).held.take()
    }

    /// Changes a job that has not started; `None` if it has.
    pub(crate) fn change<T>(&self, index: usize, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut jobs = lock(&self.jobs);
        let entry = jobs.collector.entry(index)?;
        (entry.step() == Step::Waiting).then(|| change(entry))
    }

    /// Cancels a job that has not started. Returns whether it was this call that did.
    pub(crate) fn cancel(&self, index: usize) -> bool {
        let waits = |step| step == Step::Waiting;
        let cancelled = self.end_from(index, waits, Final::Cancelled, JobEventKind::Cancelled);
        if cancelled {
            let work = {
                let mut jobs = lock(&self.jobs);
                jobs.collector.lines().find_map(|line| line.take(index))
            };
            drop_quietly(work);
        }
        cancelled
    }

    /// Cancels the jobs with this key that have not started, but for one. Returns whether there was any.
    pub(crate) fn cancel_key(&self, key: &str, but: Option<usize>) -> bool {
        let same: Vec<usize> = lock(&self.jobs)
            .collector
            .open_entries()
            .filter(|(index, entry)| {
                Some(*index) != but && entry.step() == Step::Waiting && entry.has_key(key)
            })
            .map(|(index, _)| index)
            .collect();
        let mut any = false;
        for index in same {
            any |= self.cancel(index);
        }
        any
    }

    /// How many jobs have not started.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.jobs).collector.waiting()
    }

    /// The names of the jobs that have not started, and the jobs themselves where nobody runs them.
    #[cfg(feature = "testing")]
    pub(crate) fn inspect(&self) -> Vec<(&'static str, Option<SharedJob>)> {
        let mut jobs = lock(&self.jobs);
        let waiting: Vec<_> =
            jobs.collector.open_entries().map(|(index, entry)| (index, entry.name)).collect();
        let mut job = |index| jobs.collector.lines().find_map(|line| line.job(index));
        waiting.into_iter().map(|(index, name)| (name, job(index))).collect()
    }
}

//! A batch until its response is over: jobs join it, are changed or taken back, and are let in.

use std::sync::Arc;

use super::state::{Batch, Jobs, Phase};
use crate::{
    collector::{Entry, Step},
    exchange::RequestInfo,
    job::JobId,
    lock::lock,
    policy::Policy,
    runner::{
        attempt::drop_quietly,
        event::{JobEventKind, Subject},
        limits::{Gate, Overflow},
        line::{Row, Work},
        stats::Final,
    },
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
        let subject = Subject { name, id, attempt: 0 };
        let sheds = self.runner.overflow() == Overflow::Shed;
        self.runner.counters().deferred();
        subject.tell(self.runner.hooks(), JobEventKind::Deferred);
        if sheds && self.runner.room().try_take(1).is_none() {
            drop_quietly(work);
            self.count(subject, Final::Shed, JobEventKind::Shed);
            return (id, usize::MAX);
        }
        let mut entry = Entry::new(id, name, policy);
        if policy.is_queued() && self.runner.queue().is_some() {
            self.encode(&mut entry, &work);
        }
        let (index, start) = {
            let mut jobs = lock(&self.jobs);
            let index = jobs.collector.push(entry, |last, index| Row::append(work, last, index));
            if sheds {
                jobs.room += 1;
            } else if jobs.admitted {
                self.runner.room().take_anyway(1);
                jobs.room += 1;
            }
            let start = jobs.phase == Phase::Idle;
            if start {
                jobs.phase = Phase::Active;
            }
            (index, start)
        };
        if start {
            Gate::start(self.clone());
        }
        (id, index)
    }

    /// Lets jobs know the request. Only the first call does anything.
    pub(crate) fn set_request(&self, request: RequestInfo) {
        let _ = self.request.set(request);
    }

    /// Lets the jobs collected so far in, if there is room at once and none is for the queue.
    pub(crate) fn try_admit(&self) -> bool {
        if self.runner.queue().is_some() {
            return false;
        }
        if self.runner.overflow() != Overflow::Wait {
            return true;
        }
        let mut jobs = lock(&self.jobs);
        let waiting = jobs.collector.waiting();
        if jobs.admitted || waiting == 0 {
            return true;
        }
        let Some(taken) = self.runner.room().try_take(waiting) else { return false };
        jobs.admitted = true;
        jobs.room += taken;
        true
    }

    /// Waits until there is room for the jobs collected so far. Cancel safe.
    pub(crate) async fn admit(&self) {
        if self.runner.overflow() != Overflow::Wait {
            return;
        }
        let waiting = lock(&self.jobs).collector.waiting();
        if waiting == 0 {
            return;
        }
        let taken = self.runner.room().take(waiting).await;
        let mut jobs = lock(&self.jobs);
        if jobs.admitted {
            self.runner.room().give_back(taken);
        } else {
            jobs.admitted = true;
            jobs.room += taken;
            self.leave_room(&mut jobs);
        }
    }

    /// Takes room, whether there is any or not, for jobs that nobody let in.
    pub(super) fn admit_anyway(&self, jobs: &mut Jobs) {
        if self.runner.overflow() == Overflow::Wait && !jobs.admitted {
            let waiting = u32::try_from(jobs.collector.waiting()).unwrap_or(u32::MAX);
            self.runner.room().take_anyway(waiting);
            jobs.room = waiting;
            jobs.admitted = true;
        }
    }

    /// Gives back room that jobs no longer need which have started or ended.
    pub(super) fn leave_room(&self, jobs: &mut Jobs) {
        let needed = u32::try_from(jobs.collector.waiting()).unwrap_or(u32::MAX);
        if jobs.room > needed {
            self.runner.room().give_back(jobs.room - needed);
            jobs.room = needed;
        }
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

    /// Shows the jobs that have not started to `see`: their names, and themselves where nobody runs them.
    #[cfg(feature = "testing")]
    pub(crate) fn inspect(&self, mut see: impl FnMut(&'static str, Option<&dyn std::any::Any>)) {
        let mut jobs = lock(&self.jobs);
        let waiting: Vec<_> =
            jobs.collector.open_entries().map(|(index, entry)| (index, entry.name)).collect();
        for (index, name) in waiting {
            see(name, jobs.collector.lines().find_map(|line| line.job(index)));
        }
    }
}

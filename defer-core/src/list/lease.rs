//! Jobs that a queue has stored: which way they go after their response, and how the queue is told their ends.

use std::{future::ready, mem, sync::Arc, task::Waker};

use super::{
    entry::{Entry, JobState, stored_at_most},
    extras::{Delay, DuplicateOf, Extras, Leased},
    list::{JobList, Locked, Segment},
    state::{Effects, Ended, Report, Returned, Way},
};
use crate::{
    limits::semaphore::Semaphore,
    model::{
        error::{JobError, caught},
        job_type::JobRef,
        policy::{Condition, Flags},
        progress::Progress,
        response::ResponseInfo,
    },
    observe::{event::JobEventKind, hooks::Times, stats::Final},
    primitives::{BoxFuture, panic::drop_quietly},
    store::{End, Lease, Ready, Settle, Settled},
};

/// Storing.
impl JobList {
    /// Returns the lease of a job that a queue has stored.
    pub(crate) fn lease(&self, index: usize) -> Option<Arc<dyn Lease>> {
        self.lock().state.open_entry(index)?.leased().cloned()
    }

    /// The queue has stored a job, which may start once its response is over.
    pub(crate) fn stored(self: &Arc<Self>, index: usize, lease: Arc<dyn Lease>) {
        let returned = self.lock().state.store(index, lease, self.bounds());
        match returned {
            // It was stopped, or has ended, and is given back.
            Err(lease) => drop(lease),
            Ok(returned) => {
                if returned.is_released {
                    self.part(Some(index));
                }
                self.go_on(returned);
            }
        }
    }

    /// The queue could not store a job, and the request is refused for that: the job does not run, wherever it may be stored.
    pub(crate) fn refuse(self: &Arc<Self>, index: usize, error: JobError, lease: Option<Arc<dyn Lease>>) {
        self.lock().is_refused = true;
        self.push_failed(index, error, lease.is_some(), lease);
        self.refuse_stored(index);
    }

    /// Cancels a job of a request that is refused, though it is stored.
    pub(crate) fn refuse_stored(&self, index: usize) {
        self.end_with(&JobEventKind::Cancelled, |locked, effects| {
            locked.state.end(index, |state| matches!(state, JobState::Waiting | JobState::Detached), effects);
        });
    }

    /// Returns whether a queue may store how far a job of this list is.
    pub(crate) fn stores_progress(&self) -> bool {
        self.engine.queue().is_some_and(|queue| queue.hold().is_some())
    }

    /// Lets the queue store how far an attempt is, if it has the job and the attempt still runs.
    pub(crate) fn store_progress(&self, job: JobRef, progress: &Progress) {
        let lease = self.lock().state.lease_of_attempt(job);
        if let Some(lease) = lease {
            // Somebody else's code.
            drop(caught(|| lease.set_progress(progress.json())));
        }
    }

    /// Does what is left to do when a job that was on its way to the queue may start here.
    pub(crate) fn go_on(self: &Arc<Self>, returned: Returned) {
        let Returned { wakers, starts, .. } = returned;
        wakers.into_iter().for_each(Waker::wake);
        if starts {
            Semaphore::request(self.clone());
        }
    }

    /// The response is over: gives to the queue what does not stay here of the jobs that it holds.
    pub(crate) fn part(self: &Arc<Self>, only: Option<usize>) {
        let mut parted = Vec::new();
        self.end_with(&JobEventKind::Queued, |locked, effects| {
            parted = self.part_locked(locked, only, effects)
        });
        self.follow_parted(parted);
    }

    /// Ends the jobs that the queue holds and that do not stay here. [Follow](Self::follow_parted) after unlocking.
    #[cold]
    pub(crate) fn part_locked(
        &self,
        locked: &mut Locked,
        only: Option<usize>,
        effects: &mut Effects,
    ) -> Vec<Parted> {
        let Some(queue) = self.engine.queue().and_then(|queue| queue.hold()) else { return Vec::new() };
        let engine = &self.engine;
        let (runner, response) = (Arc::as_ptr(engine).addr(), self.response());
        // Decided once for all jobs of a request: one after another some of them would find room.
        let is_full = !engine.capacity.has(locked.state.waiting());
        let leaves = is_full || engine.shutdown.has_begun();
        let way = |entry: &Entry| {
            match (entry.condition(), response) {
                (Condition::Success, Some(response)) if !response.is_success() => return Some(Way::Skipped),
                // Its predicate is asked when its turn comes.
                (Condition::When, Some(_)) => return None,
                _ => {}
            }
            let waits = entry.has(Flags::SERIAL.with(Flags::UNIQUE)) || !entry.is_due();
            // Somebody else's code, in the midst of a release.
            let runs_here = || caught(|| queue.runs_here(runner, entry.kind.name())).unwrap_or(false);
            (leaves || waits || !runs_here()).then_some(Way::Queue)
        };
        let parted = locked.state.part(only, way, effects);
        parted
            .into_iter()
            .map(|(way, ended)| {
                let job = locked.take_job(ended.index);
                Parted { way, ended, job }
            })
            .collect()
    }

    #[cold]
    pub(crate) fn follow_parted(self: &Arc<Self>, parted: Vec<Parted>) {
        for Parted { way, ended, job } in parted {
            drop_quietly(job);
            match way {
                Way::Skipped => self.ended(ended, &JobEventKind::Skipped, Final::Skipped, Times::default()),
                Way::Queue => self.make_ready(ended),
            }
        }
    }

    /// Lets anyone take a job that has ended here.
    fn make_ready(self: &Arc<Self>, ended: Ended) {
        let Ended { index, job, extras, .. } = ended;
        let Some(mut extras) = extras else { return };
        let ready = extras.ready(self.response().cloned());
        let duplicate_of = extras.duplicate_of();
        let leased = extras.take_leased();
        drop_quietly(extras);
        let Some(Leased { lease, .. }) = leased else { return };
        let report = Report { job, event: JobEventKind::Queued, how: Final::Queued, times: Times::default() };
        let mut settlement = Settlement::new(self, report);
        settlement.duplicate_of = duplicate_of;
        settlement.begin(&*lease, index, End::Ready(ready));
    }
}

/// A job that the queue holds, and that does not stay here.
pub(crate) struct Parted {
    way: Way,
    ended: Ended,
    job: Option<Box<dyn Segment>>,
}

/// Settling.
impl JobList {
    /// Follows up on the end of a job that the queue has stored, or may have.
    #[cold]
    pub(super) fn ended_with_lease(&self, leased: Leased, index: usize, report: Report) {
        let Leased { lease, is_stored } = leased;
        let end = end_of(&report.event);
        match (end, is_stored) {
            (Some(end), false) => {
                // Whether it is there or not: nobody else is to run it.
                let settled = caught(|| lease.settle(end, Vec::new()));
                drop_quietly(settled);
                self.count_report(report);
            }
            (Some(end), true) => match self.engine.list(self.key()) {
                Some(list) => {
                    // It is told when the queue has answered, by then outside of the attempt's span.
                    let report = Report { job: report.job.in_span(false), ..report };
                    Settlement::new(&list, report).begin(&*lease, index, end);
                }
                None => self.give_back(report),
            },
            (None, true) => {
                self.cancel_children(index);
                self.give_back(report);
            }
            (None, false) => self.count_report(report),
        }
    }

    /// Nothing of a job ended, and its lease is dropped: others run it. Its children were never deferred.
    fn give_back(&self, report: Report) {
        self.count(report.job, &JobEventKind::Queued, Final::HandedOver, Times::default());
    }

    pub(crate) fn count_report(&self, report: Report) {
        let Report { job, event, how, times } = report;
        self.count(job, &event, how, times);
    }

    /// Stores how an attempt of a job ended, and then counts it as queued.
    pub(crate) fn return_leased(
        self: &Arc<Self>,
        leased: Leased,
        index: usize,
        job: JobRef,
        again: &JobEventKind,
    ) {
        let Some(end) = end_of(again) else { return };
        let report = Report { job, event: JobEventKind::Queued, how: Final::Queued, times: Times::default() };
        Settlement::new(self, report).begin(&*leased.lease, index, end);
    }

    /// The job with a lease that deferred these ended without being settled: they were never deferred.
    pub(crate) fn cancel_children(&self, parent: usize) {
        let event = JobEventKind::Cancelled;
        self.end_with(&event, |locked, effects| {
            for index in locked.state.begin_children(parent, effects) {
                locked.state.end(index, |state| state == JobState::Pushing, effects);
            }
        });
    }
}

/// Returns what a queue stores of an end. `None` if it was none, and others run the job.
fn end_of(event: &JobEventKind) -> Option<End> {
    Some(match event {
        JobEventKind::Succeeded { .. } => End::Succeeded,
        JobEventKind::Failed { error, .. }
        | JobEventKind::Panicked { error, .. }
        | JobEventKind::TimedOut { error, .. } => {
            // An error's `Display` is user code.
            End::Failed { error: caught(|| error.to_string()).unwrap_or_default() }
        }
        JobEventKind::Retrying { error, delay, .. } => {
            End::Retry { error: caught(|| error.to_string()).unwrap_or_default(), delay: *delay }
        }
        JobEventKind::Snoozed { delay, .. } => End::Snoozed { delay: *delay },
        JobEventKind::Skipped => End::Skipped,
        JobEventKind::Cancelled | JobEventKind::Duplicate { .. } => End::Cancelled,
        _ => return None,
    })
}

/// An end that is being stored. Dropped before the queue has answered, the job is counted as the queue's.
struct Settlement {
    list: Arc<JobList>,
    report: Option<Report>,
    children: Vec<(usize, Option<Arc<dyn Lease>>)>,
    duplicate_of: Option<DuplicateOf>,
}

impl Settlement {
    fn new(list: &Arc<JobList>, report: Report) -> Self {
        Self { list: list.clone(), report: Some(report), children: Vec::new(), duplicate_of: None }
    }

    /// Begins to store an end, with the jobs that the job has deferred.
    fn begin(mut self, lease: &dyn Lease, index: usize, end: End) {
        let list = self.list.clone();
        let mut children = Vec::new();
        list.end_with(&JobEventKind::Queued, |locked, effects| {
            children = locked.state.begin_children(index, effects);
        });
        let mut envelopes = Vec::with_capacity(children.len());
        for child in children {
            if let Some(envelope) = list.envelope(child) {
                envelopes.push(envelope);
                self.children.push((child, None));
            }
        }
        let settle = caught(|| lease.settle(end, envelopes));
        let Settle { leases, settled } = settle.unwrap_or_else(|_panic| Settle {
            leases: Vec::new(),
            settled: Box::pin(ready(Settled::Unknown)),
        });
        for ((_, child), lease) in self.children.iter_mut().zip(leases) {
            *child = Some(lease);
        }
        drop(list.origin.runtime.spawn(self.run(settled)));
    }

    async fn run(mut self, settled: BoxFuture<'static, Settled>) {
        let settled = settled.await;
        self.finish(settled);
    }

    fn finish(&mut self, settled: Settled) {
        let Some(report) = self.report.take() else { return };
        let list = &self.list;
        let job = report.job;
        let queued = |how| list.count(job, &JobEventKind::Queued, how, Times::default());
        match settled {
            Settled::Done => list.count_report(report),
            Settled::Refused => queued(Final::Queued),
            Settled::Unknown => queued(Final::HandedOver),
            Settled::Duplicate(other) => {
                if let Some(duplicate_of) = &self.duplicate_of {
                    duplicate_of.set(Some(other));
                }
                let event = JobEventKind::Duplicate { of: other };
                list.count(job, &event, Final::Cancelled, Times::default());
            }
        }
        for (child, lease) in mem::take(&mut self.children) {
            match (settled, lease) {
                (Settled::Done, Some(lease)) if lease.is_stored() => list.stored(child, lease),
                (Settled::Done, Some(_)) => {
                    let error =
                        JobError::msg("the queue cannot store this job: it runs in this process only");
                    list.push_failed(child, error, false, None);
                }
                _ => drop(list.end_with(&JobEventKind::Cancelled, |locked, effects| {
                    locked.state.end(child, |state| state == JobState::Pushing, effects);
                })),
            }
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.finish(Settled::Unknown);
    }
}

impl Extras {
    /// Returns how anyone may take the job.
    fn ready(&self, response: Option<ResponseInfo>) -> Ready {
        let options = &self.options;
        Ready {
            delay: options.delay.as_ref().map(Delay::left).unwrap_or_default(),
            serial: options.serial.as_ref().map(ToString::to_string),
            unique: options.unique.as_ref().map(|unique| unique.key.to_string()),
            replace: options.replace,
            at_most: options.at_most.as_ref().map(stored_at_most),
            response,
        }
    }

    pub(super) fn duplicate_of(&self) -> Option<DuplicateOf> {
        self.options.duplicate_of.clone()
    }
}

//! A list whose response is over: what its worker, its jobs' own tasks and the runner do with it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::AbortHandle;

use super::{
    effects::{AttemptEnd, Released, Start},
    entry::Failure,
    list::{JobList, RunSegment, WorkerGuard, observer},
};
use crate::{
    attempt::{Outcome, Sequel},
    context::Surroundings,
    event::{JobEventKind, JobRef, Times},
    response::ResponseInfo,
    runner::{
        RunningJob, backoff,
        jobs::{Jobs, Permit, Stopped},
        semaphore::Semaphore,
    },
    span::JobSpan,
    stamp::Stamp,
    stats::Final,
    trace,
};

impl JobList {
    /// Releases the jobs: the response is over, and they may start. Jobs that join later start at once. Only the first
    /// call has an effect.
    pub fn release(self: &Arc<Self>, response: Option<ResponseInfo>) {
        if let Some(response) = response {
            self.set_response(response);
        }
        if !self.runner().is_recording() {
            self.release_now();
        }
    }

    /// Releases the jobs, including those that a recorder keeps. Only the first call has an effect; for a recorder, the
    /// first call with jobs.
    pub(crate) fn release_now(self: &Arc<Self>) {
        self.push_due();
        let now = self.now();
        let released = self.transition(|state| {
            let is_early = self.runner().is_recording() && state.waiting() == 0;
            if is_early { None } else { state.release(self.bounds(), now) }
        });
        let Some(Released { shed, starts, has_unique, has_beside }) = released else { return };
        for ended in shed {
            self.ended(ended, &JobEventKind::Shed);
        }
        if has_unique {
            self.begin_unique();
        }
        if has_beside {
            self.begin_beside();
        }
        if starts {
            self.request_permit();
        }
    }

    /// Takes the next segment for the worker. If there is none, the worker must end: the next job gets a new one.
    pub(crate) fn take_segment(&self) -> Option<Box<dyn RunSegment>> {
        self.lock().take_segment()
    }

    /// Starts an attempt of a job, unless something else has to be done first.
    #[inline]
    pub(crate) fn start_attempt(&self, index: usize) -> Turn {
        let mut start = self.transition(|state| state.start(index));
        if let Start::Gated = start {
            start = self.start_gated(index);
        }
        match start {
            Start::Started { job, room } => {
                self.give_back_room(room);
                let started = self.is_observed().then(|| self.note_start(index, job));
                Turn::Attempt { job, started }
            }
            Start::Push => Turn::Push,
            Start::Delay { delay, room } => {
                // While it waits for the clock it takes no room, which other jobs would have to wait for.
                self.give_back_room(room);
                if let Some(now) = self.now() {
                    self.lock().set_ready(index, now.after(delay));
                }
                Turn::Delay(delay)
            }
            Start::Wait => Turn::Wait,
            Start::Leave { room } => Turn::Leave { has_room: room > 0 },
            Start::Gone | Start::Gated => Turn::Nothing,
        }
    }

    /// Notes that an attempt of a job starts now.
    #[cold]
    fn note_start(&self, index: usize, job: JobRef) -> Stamp {
        let now = Stamp::now();
        self.lock().set_started(index, now);
        job.tell(self.runner().hooks(), &JobEventKind::Started, || self.lock().waited(index), self);
        now
    }

    /// Keeps how a job failed, if that was its last attempt and it has not been told. Then it is told, before it ends. Otherwise
    /// returns the outcome.
    #[cold]
    pub(crate) fn gives_up(
        &self,
        index: usize,
        outcome: Outcome,
        started: Option<Stamp>,
        span: &JobSpan,
    ) -> Result<(), Outcome> {
        // A subscriber clones it: not under the lock.
        let span = span.clone();
        let kept = self.lock().give_up(index, outcome, started, span);
        // A subscriber closes it: not under the lock either.
        kept.map_err(|(outcome, _span)| outcome)
    }

    /// Returns how a job that is given up has failed, for it to be told.
    pub(crate) fn take_failure(&self, index: usize) -> Option<Failure> {
        self.lock().open_entry(index)?.take_failure()
    }

    /// Ends an attempt. Returns the wait for the next one, if another follows, and whether the job takes room meanwhile.
    pub(crate) fn end_attempt(
        &self,
        index: usize,
        outcome: Outcome,
        started: Option<Stamp>,
        span: &JobSpan,
    ) -> Option<(Duration, bool)> {
        let _entered = span.enter();
        trace::record_outcome(span, &outcome);
        let mut times = Times::default();
        let mut elapsed = Duration::ZERO;
        if let Some(started) = started {
            let now = Stamp::now();
            times.ended = Some(now);
            elapsed = now.since(started);
        }
        let end = self.transition(|state| {
            if started.is_some() {
                times.wait = state.waited(index);
            }
            state.end_attempt(index, outcome.sequel())
        });
        match end {
            AttemptEnd::Gone => None,
            AttemptEnd::Ended(job, extras) => {
                let observer = observer(extras);
                let event = outcome.into_event(elapsed);
                self.count_attempt(job.within(span), &event, &times);
                if let Some(observer) = observer {
                    let _ = observer.send(event);
                }
                None
            }
            AttemptEnd::Return(job, extras) => {
                let observer = observer(extras);
                let again = self.report_again(job.within(span), outcome, elapsed, &times);
                self.count(job, &JobEventKind::Queued);
                if let Some(observer) = observer {
                    let _ = observer.send(again);
                }
                None
            }
            AttemptEnd::Again(job) => {
                // A job in its backoff takes room, which it does not wait for: its response has been let through. One that
                // says how long it waits takes none, as a delayed job does: that may be for days.
                let takes_room = outcome.next_attempt().is_none();
                if takes_room {
                    self.runner().capacity().take(1);
                }
                if job.policy().max_running().is_some() {
                    self.leave_limit(index);
                }
                let again = self.report_again(job.within(span), outcome, elapsed, &times);
                let delay = again.delay();
                if let Some(now) = self.now() {
                    self.lock().set_ready(index, now.after(delay));
                }
                Some((delay, takes_room))
            }
        }
    }

    /// Reports an attempt that another follows.
    #[cold]
    fn report_again(&self, job: JobRef, outcome: Outcome, elapsed: Duration, times: &Times) -> JobEventKind {
        let asked_for = outcome.next_attempt();
        let event = match (outcome.sequel(), outcome.into_error()) {
            (Sequel::Retry, Some(error)) => {
                self.runner().counters().retried();
                let delay = asked_for.unwrap_or_else(|| backoff::delay(job.policy(), job.attempt));
                JobEventKind::Retrying { error, elapsed, delay }
            }
            _ => JobEventKind::Snoozed { elapsed, delay: asked_for.unwrap_or_default() },
        };
        self.report_attempt(job, &event, times);
        event
    }

    /// Keeps what aborts a job's own task.
    pub(crate) fn keep_task(&self, index: usize, task: AbortHandle) {
        let too_late = self.lock().keep_task(index, task);
        if let Some(task) = too_late {
            task.abort();
        }
    }

    /// Returns the time, if a hook may want to know how long jobs wait.
    pub(super) fn now(&self) -> Option<Stamp> {
        (!self.runner().hooks().is_empty()).then(Stamp::now)
    }

    /// Returns whether a hook or a subscriber may want to know how long an attempt took.
    #[inline]
    fn is_observed(&self) -> bool {
        !self.runner().hooks().is_empty() || tracing::enabled!(target: "defer", tracing::Level::ERROR)
    }

    /// Creates the span of an attempt, if anybody listens.
    #[inline]
    pub(crate) fn span(&self, job: JobRef) -> JobSpan {
        if !trace::is_listened_to() {
            return JobSpan::NONE;
        }
        trace::span(job, &self.origin.source, self.request(), self.origin.queued.as_deref())
    }
}

/// What to do next with a job.
pub(crate) enum Turn {
    /// Run an attempt, which has started, at this time if a hook or a subscriber may want to know.
    Attempt {
        job: JobRef,
        started: Option<Stamp>,
    },
    /// Wait until the queue has the job or has failed.
    Push,
    /// Wait until it has its turn among the jobs with its key or of its type.
    Wait,
    /// Wait for that in a task of the job's own.
    Leave {
        has_room: bool,
    },
    /// Run the job after this long, in a task of its own.
    Delay(Duration),
    Nothing,
}

impl Jobs for JobList {
    fn semaphore(&self) -> &Semaphore<Arc<dyn Jobs>> {
        self.runner().semaphore()
    }

    fn granted(self: Arc<Self>, permit: Permit) {
        let (segment, epoch) = {
            let mut state = self.lock();
            let Some(segment) = state.take_segment() else { return };
            (segment, state.worker_epoch())
        };
        // Not under the lock: a runtime that was shut down drops the worker here, which locks.
        let worker = segment.spawn(WorkerGuard::new(self.clone(), permit));
        let too_late = self.lock().keep_worker(epoch, worker);
        if let Some(worker) = too_late {
            worker.abort();
        }
    }

    fn oldest_ready(&self, now: Stamp) -> Option<Stamp> {
        self.lock().oldest_ready(now)
    }

    fn add_running(&self, running: &mut Vec<RunningJob>) {
        // Of the many lists that wait, few have a job that runs.
        let in_attempt: Vec<_> = self.lock().in_attempt().collect();
        running.extend(in_attempt.into_iter().map(|(job, started)| RunningJob {
            id: job.id,
            name: job.name(),
            attempt: job.attempt,
            elapsed: started.map(Stamp::elapsed),
            route: self.route(),
        }));
    }

    fn count_unfinished(&self, counts: &mut BTreeMap<&'static str, u64>) {
        self.lock().count_unfinished(counts);
    }

    fn rely_on(&self, index: usize) -> bool {
        self.lock().open_entry(index).is_some_and(|entry| entry.rely_on())
    }

    fn stop(&self, has_queue: bool) -> Stopped {
        let halted = self.transition(|state| state.stop(has_queue));
        self.halted(halted)
    }

    fn end_handover(&self, index: usize, queued: bool) {
        let Some(ended) = self.transition(|state| state.end_handover(index)) else { return };
        if queued {
            let mut ended = ended;
            let observer = observer(ended.extras.take());
            let job = self.clean_up(ended);
            self.count_as(job, &JobEventKind::Queued, Final::HandedOver);
            drop(observer);
        } else {
            self.ended(ended, &JobEventKind::Abandoned);
        }
    }
}

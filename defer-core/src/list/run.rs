//! A list whose response is over: what its worker, its jobs' own tasks and the runner do with it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::AbortHandle};
use tracing::Span;

use super::{
    effects::{AttemptEnd, Start},
    entry::Condition,
    list::{JobList, RunSegment, WorkerGuard, observer},
};
use crate::{
    attempt::Outcome,
    context::Surroundings,
    error::{JobError, caught},
    event::{JobEventKind, JobRef, Times},
    policy::Policy,
    queue::Ran,
    response::ResponseInfo,
    runner::{
        RunningJob, backoff,
        jobs::{Jobs, Permit, Stopped},
        semaphore::Semaphore,
    },
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
        if !self.runner().is_recording() {
            self.push_due();
        }
        let now = self.now();
        let released = self.transition(|state| {
            let is_early = self.runner().is_recording() && state.waiting() == 0;
            if is_early { None } else { state.release(self.bounds(), now) }
        });
        let Some((shed, starts)) = released else { return };
        for ended in shed {
            self.ended(ended, &JobEventKind::Shed);
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
    pub(crate) fn start_attempt(&self, index: usize) -> Next {
        let mut start = self.transition(|state| state.start(index));
        if let Start::Ask(condition) = start {
            if let Err(event) = self.check(condition) {
                self.end(index, &event);
                return Next::Nothing;
            }
            start = self.transition(|state| state.start_unasked(index));
        }
        match start {
            Start::Started { job, policy, room } => {
                self.give_back_room(room);
                let started = self.is_observed().then(|| self.note_start(index, job));
                Next::Attempt { job, policy, started }
            }
            Start::Push => Next::Push,
            Start::Delay { delay, room } => {
                // While it waits for the clock it takes no room, which other jobs would have to wait for.
                self.give_back_room(room);
                if let Some(now) = self.now() {
                    self.lock().set_ready(index, now.after(delay));
                }
                Next::Delay(delay)
            }
            Start::Gone | Start::Ask(_) => Next::Nothing,
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

    /// Asks a job's condition. Without a response there is nothing to ask about, and the job runs.
    pub(super) fn check(&self, condition: Condition) -> Result<(), JobEventKind> {
        let Some(response) = self.response() else { return Ok(()) };
        let runs = match condition {
            Condition::None => return Ok(()),
            Condition::Success => response.is_success(),
            Condition::When(when) => caught(|| when(response))
                .map_err(|error| JobEventKind::Panicked { error, elapsed: Duration::ZERO })?,
        };
        if runs { Ok(()) } else { Err(JobEventKind::Skipped) }
    }

    /// Ends an attempt. Returns the wait for the next one, if another follows.
    pub(crate) fn end_attempt(
        &self,
        index: usize,
        outcome: Outcome,
        started: Option<Stamp>,
        span: &Span,
    ) -> Option<Duration> {
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
            state.end_attempt(index, outcome.may_retry())
        });
        let (job, policy) = match end {
            AttemptEnd::Gone => return None,
            AttemptEnd::Ended(job, extras) => {
                let observer = observer(extras);
                let event = outcome.into_event(elapsed);
                self.count_attempt(job.within(span), &event, &times);
                if let Some(observer) = observer {
                    let _ = observer.send(Ran::from(&event));
                }
                return None;
            }
            AttemptEnd::Return(job, policy, extras) => {
                let observer = observer(extras);
                self.return_to_queue((job, policy), outcome, elapsed, &times, span, observer);
                return None;
            }
            AttemptEnd::Retry(job, policy) => (job, policy),
        };
        self.runner().counters().retried();
        let delay = backoff::delay(policy, job.attempt);
        if let Some(now) = self.now() {
            self.lock().set_ready(index, now.after(delay));
        }
        // A job between two attempts takes room. It does not wait for it: its response has been let through.
        self.runner().capacity().take(1);
        if let Some(error) = outcome.into_error() {
            let event = JobEventKind::Retrying { error, elapsed, delay };
            self.report_attempt(job.within(span), &event, &times);
        }
        Some(delay)
    }

    /// Ends, in this process, a job whose next attempt the queue runs.
    #[cold]
    fn return_to_queue(
        &self,
        (job, policy): (JobRef, &'static Policy),
        outcome: Outcome,
        elapsed: Duration,
        times: &Times,
        span: &Span,
        observer: Option<oneshot::Sender<Ran>>,
    ) {
        self.runner().counters().retried();
        let delay = backoff::delay(policy, job.attempt);
        let error = outcome.into_error().unwrap_or_else(|| JobError::msg("failed"));
        let event = JobEventKind::Retrying { error: error.clone(), elapsed, delay };
        self.report_attempt(job.within(span), &event, times);
        self.count(job, &JobEventKind::Queued);
        if let Some(observer) = observer {
            let _ = observer.send(Ran::Retry { error, delay });
        }
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

    /// Creates the span of an attempt.
    pub(crate) fn span(&self, job: JobRef) -> Span {
        trace::span(job, &self.origin.source, self.request(), self.origin.queued.as_deref())
    }
}

/// What to do next with a job.
pub(crate) enum Next {
    /// Run an attempt, which has started, at this time if a hook or a subscriber may want to know.
    Attempt {
        job: JobRef,
        policy: &'static Policy,
        started: Option<Stamp>,
    },
    /// Wait until the queue has the job or has failed.
    Push,
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

    fn oldest_ready(&self) -> Option<Stamp> {
        self.lock().oldest_ready()
    }

    fn add_running(&self, running: &mut Vec<RunningJob>) {
        // Of the many lists that wait, few have a job that runs.
        let in_attempt: Vec<_> = self.lock().in_attempt().collect();
        running.extend(in_attempt.into_iter().map(|(job, started)| RunningJob {
            id: job.id,
            name: job.name,
            attempt: job.attempt,
            elapsed: started.map(Stamp::elapsed),
            route: self.route(),
        }));
    }

    fn count_unfinished(&self, counts: &mut BTreeMap<&'static str, u64>) {
        self.lock().count_unfinished(counts);
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

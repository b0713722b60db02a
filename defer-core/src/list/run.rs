//! A list whose response is over: what its worker, its retries and the runner do with it.

use std::{sync::Arc, time::Duration};

use tokio::task::AbortHandle;
use tracing::{Span, field::Empty};

use super::{
    effects::{AttemptEnd, Start},
    entry::Condition,
    list::{JobList, RunSegment, WorkerGuard, drop_some},
};
use crate::{
    attempt::Outcome,
    context::Surroundings,
    error::caught,
    event::{JobEventKind, JobRef},
    policy::Policy,
    runner::{
        backoff,
        jobs::{Jobs, Permit, Stopped},
        semaphore::Semaphore,
    },
    stats::Final,
};

impl JobList {
    /// Takes the next segment for the worker. If there is none, the worker must end: the next job gets a new one.
    pub(crate) fn take_segment(&self) -> Option<Box<dyn RunSegment>> {
        self.lock().take_segment()
    }

    /// Starts an attempt of a job, unless the job has ended or its condition is false.
    pub(crate) fn start_attempt(&self, index: usize) -> Option<(JobRef, &'static Policy)> {
        let mut start = self.transition(|state| state.start(index));
        if let Start::Ask(condition) = start {
            if let Err(event) = self.check(condition) {
                self.end(index, &event);
                return None;
            }
            start = self.transition(|state| state.start_unasked(index));
        }
        let Start::Started { job, policy, room } = start else { return None };
        self.give_back_room(room);
        job.tell(self.runner().hooks(), &JobEventKind::Started);
        Some((job, policy))
    }

    /// Asks a job's condition. Without a response there is nothing to ask about, and the job runs.
    fn check(&self, condition: Condition) -> Result<(), JobEventKind> {
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
        elapsed: Duration,
        span: &Span,
    ) -> Option<Duration> {
        let _entered = span.enter();
        let (job, policy) = match self.transition(|state| state.end_attempt(index, outcome.may_retry())) {
            AttemptEnd::Gone => return None,
            AttemptEnd::Ended(job, extras) => {
                drop_some(extras);
                self.count(job.within(span), &outcome.into_event(elapsed));
                return None;
            }
            AttemptEnd::Retry(job, policy) => (job, policy),
        };
        self.runner().counters().retried();
        let delay = backoff::delay(policy, job.attempt);
        // A job between two attempts takes room. It does not wait for it: its response has been let through.
        self.runner().capacity().take(1);
        if let Some(error) = outcome.into_error() {
            self.report(job.within(span), &JobEventKind::Retrying { error, delay });
        }
        Some(delay)
    }

    /// Keeps what stops the later attempts of a job.
    pub(crate) fn keep_retry(&self, index: usize, retry: AbortHandle) {
        let too_late = self.lock().keep_retry(index, retry);
        if let Some(retry) = too_late {
            retry.abort();
        }
    }

    /// Returns whether a hook or a subscriber may want to know how long an attempt took.
    pub(crate) fn is_observed(&self) -> bool {
        !self.runner().hooks().is_empty() || tracing::enabled!(target: "defer", tracing::Level::ERROR)
    }

    /// Creates the span of an attempt.
    pub(crate) fn span(&self, job: JobRef) -> Span {
        let span = tracing::info_span!(
            target: "defer",
            "job",
            name = job.name,
            id = %job.id,
            attempt = job.attempt,
            request = Empty,
            request_id = Empty,
        );
        if !span.is_disabled() {
            span.follows_from(self.origin.span.clone());
            if let Some(request) = self.request() {
                request.record(&span);
            }
        }
        span
    }
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

    fn stop(&self, has_queue: bool) -> Stopped {
        let halted = self.transition(|state| state.stop(has_queue));
        self.halted(halted)
    }

    fn end_handover(&self, index: usize, queued: bool) {
        let Some(ended) = self.transition(|state| state.end_handover(index)) else { return };
        if queued {
            let job = self.clean_up(ended);
            self.count_as(job, &JobEventKind::Queued, Final::HandedOver);
        } else {
            self.ended(ended, &JobEventKind::Abandoned);
        }
    }
}

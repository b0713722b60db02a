//! A batch when its response is over: the steps of its jobs, one after another.

use std::{sync::Arc, time::Duration};

use tokio::task::AbortHandle;
use tracing::{Span, field::Empty};

use super::state::{Batch, Jobs, Phase};
use crate::{
    collector::{Condition, Entry, Step},
    error::{JobError, caught},
    exchange::ResponseInfo,
    panic::drop_quietly,
    policy::Policy,
    runner::{
        attempt::Outcome,
        backoff,
        builder::Overflow,
        event::{JobEventKind, Subject},
        gate::{Gate, Permit},
        line::Line,
        stats::Final,
        worker::Worker,
    },
    sync::lock,
};

/// What follows an attempt.
pub(crate) enum Next {
    Done,
    Retry(Duration),
}
/// A job that may run.
pub(crate) struct Start {
    pub(crate) subject: Subject,
    pub(crate) policy: &'static Policy,
}
impl Batch {
    /// The response is over: runs what was collected. Only the first call does anything.
    pub(crate) fn release(self: &Arc<Self>, response: Option<ResponseInfo>) {
        if let Some(response) = response {
            let _ = self.response.set(response);
        }
        if !self.runner.is_recording() {
            self.start();
        }
    }

    /// Runs what was collected. Only the first call does anything.
    pub(crate) fn start(self: &Arc<Self>) {
        let (shed, starts) = {
            let mut jobs = lock(&self.jobs);
            let recorded_nothing = self.runner.is_recording() && jobs.collector.waiting() == 0;
            if jobs.phase != Phase::Collecting || recorded_nothing {
                return;
            }
            let shed = self.take_room(&mut jobs);
            let starts = jobs.collector.waiting() > 0;
            jobs.phase = if starts { Phase::Active } else { Phase::Idle };
            (shed, starts)
        };
        for (subject, dropped) in shed {
            drop_quietly(dropped);
            self.count(subject, Final::Shed, JobEventKind::Shed);
        }
        if starts {
            Gate::start(self.clone());
        }
    }

    /// Takes room for the jobs that are about to be released. Ends the newest of those that find none where such jobs
    /// are shed, and returns them.
    fn take_room(&self, jobs: &mut Jobs) -> Vec<(Subject, impl Send + use<>)> {
        let (room, waiting) = (self.runner.room(), jobs.collector.waiting());
        let excess = match self.runner.overflow() {
            Overflow::Wait => {
                jobs.room = waiting.min(room.capacity());
                room.take(jobs.room);
                0
            }
            Overflow::Shed => {
                jobs.room = room.take_free(waiting);
                waiting - jobs.room
            }
        };
        if excess == 0 {
            return Vec::new();
        }
        let waits = |(index, entry): (usize, &mut Entry)| (entry.step() == Step::Waiting).then_some(index);
        let newest: Vec<_> = jobs.collector.open_entries().filter_map(waits).skip(waiting - excess).collect();
        let mut shed = Vec::with_capacity(newest.len());
        for index in newest {
            let last = |entry: &mut Entry| (Subject::of(entry), entry.take_extras());
            if let Some((_, (subject, extras))) = jobs.collector.end(index, |_| true, last) {
                let work = jobs.collector.lines().find_map(|line| line.take(index));
                shed.push((subject, (extras, work)));
            }
        }
        shed
    }

    pub(crate) fn spawn_worker(self: Arc<Self>, permit: Permit<Arc<Self>>) {
        let (first, before) = {
            let mut jobs = lock(&self.jobs);
            let Some(first) = jobs.take_line() else { return };
            (first, jobs.workers)
        };
        // Not under the lock: a runtime that was shut down drops the worker here, which locks.
        let task = first.spawn(Worker::new(self.clone(), permit));
        let mut jobs = lock(&self.jobs);
        if jobs.workers == before {
            jobs.worker = Some(task);
        } else {
            // It is gone, or it was to be stopped before it could be found.
            task.abort();
        }
    }

    /// The next line for a worker, which is gone if there is none.
    pub(crate) fn take_line(&self) -> Option<Box<dyn Line>> {
        lock(&self.jobs).take_line()
    }

    /// Whether anybody may be told how long an attempt took.
    pub(crate) fn is_watched(&self) -> bool {
        self.runner.has_hooks() || tracing::enabled!(target: "defer", tracing::Level::ERROR)
    }

    /// The span of an attempt.
    pub(crate) fn span(&self, subject: Subject) -> Span {
        let span = tracing::info_span!(
            target: "defer",
            "job",
            name = subject.name,
            id = %subject.id,
            attempt = subject.attempt,
            request = Empty,
            request_id = Empty,
        );
        if !span.is_disabled() {
            span.follows_from(self.origin.span.clone());
            if let Some(request) = self.request.get() {
                request.record(&span);
            }
        }
        span
    }

    /// Takes the step to `Running`, if the job is to run.
    pub(crate) fn begin(&self, index: usize) -> Option<Start> {
        let start = {
            let mut jobs = lock(&self.jobs);
            let entry = jobs.collector.entry(index)?;
            if !entry.is_unconditional() {
                let condition = entry.take_condition();
                drop(jobs);
                if let Err((how, event)) = self.check(condition) {
                    self.end(index, how, event);
                    return None;
                }
                jobs = lock(&self.jobs);
            }
            let (entry, first) = jobs.collector.start(index)?;
            let start = Start { subject: Subject::of(entry), policy: entry.policy };
            // Under the lock, because another may end the job at once.
            self.runner.counters().started();
            let left = jobs.leave_room(usize::from(first));
            drop(jobs);
            if left > 0 {
                self.give_back_room(left);
            }
            start
        };
        start.subject.tell(self.runner.hooks(), JobEventKind::Started);
        Some(start)
    }

    /// Asks a job's condition. Without a response there is nothing to ask about, and the job runs.
    fn check(&self, condition: Condition) -> Result<(), (Final, JobEventKind)> {
        let Some(response) = self.response.get() else { return Ok(()) };
        let runs = match condition {
            Condition::None => return Ok(()),
            Condition::Success => response.is_success(),
            Condition::When(when) => {
                let panicked = |error| {
                    let elapsed = Duration::ZERO;
                    (Final::Failed, JobEventKind::Panicked { error, elapsed })
                };
                caught(|| when(response)).map_err(panicked)?
            }
        };
        if runs { Ok(()) } else { Err((Final::Skipped, JobEventKind::Skipped)) }
    }

    /// Takes the step that follows an attempt, and tells of it in the attempt's span.
    pub(crate) fn finish(&self, index: usize, outcome: Outcome, elapsed: Duration, span: &Span) -> Next {
        let _entered = span.enter();
        let fatal = matches!(&outcome, Outcome::Returned(Err(error)) if error.is_fatal());
        let (error, kind) = match outcome {
            Outcome::Returned(Ok(())) => {
                self.end_in(span, index, Final::Succeeded, JobEventKind::Succeeded { elapsed });
                return Next::Done;
            }
            Outcome::Returned(Err(error)) => (error.clone(), JobEventKind::Failed { error, elapsed }),
            Outcome::Panicked(error) => (error.clone(), JobEventKind::Panicked { error, elapsed }),
            Outcome::TimedOut(error) => (error.clone(), JobEventKind::TimedOut { error, elapsed }),
        };
        let mut jobs = lock(&self.jobs);
        let Some(entry) = jobs.collector.entry(index) else { return Next::Done };
        let (subject, policy) = (Subject::of(entry), entry.policy);
        if fatal || subject.attempt >= policy.tries() {
            drop(jobs);
            self.end_in(span, index, Final::Failed, kind);
            return Next::Done;
        }
        if jobs.collector.step(index, Step::Backoff).is_none() {
            return Next::Done;
        }
        self.runner.counters().stopped();
        self.runner.counters().retried();
        drop(jobs);
        let delay = backoff::delay(policy, subject.attempt);
        // It waits, and so it takes room; it has been let in before, and so it need not wait for that.
        self.runner.room().take(1);
        self.report(subject.within(span), JobEventKind::Retrying { error, delay });
        Next::Retry(delay)
    }

    /// Keeps what stops the later tries of a job.
    pub(crate) fn keep_retry(&self, index: usize, retry: AbortHandle) {
        match lock(&self.jobs).collector.entry(index) {
            Some(entry) if !matches!(entry.step(), Step::Leaving | Step::Ended) => entry.set_retry(retry),
            // It has ended meanwhile, or was stopped before it could be found.
            _ => retry.abort(),
        }
    }

    /// Ends a job that cannot be tried again.
    pub(crate) fn fail(&self, index: usize, error: JobError) {
        self.end(index, Final::Failed, JobEventKind::Failed { error, elapsed: Duration::ZERO });
    }

    /// Like [`end`](Self::end), told in the span of the attempt.
    fn end_in(&self, span: &Span, index: usize, how: Final, event: JobEventKind) {
        if let Some(subject) = self.take_end(index, |step| step != Step::Leaving) {
            self.count(subject.within(span), how, event);
        }
    }

    /// Takes the step to `Ended`, and counts it. Returns whether it was this call that did.
    pub(super) fn end(&self, index: usize, how: Final, event: JobEventKind) -> bool {
        self.end_from(index, |step| step != Step::Leaving, how, event)
    }

    /// Like [`end`](Self::end), from some steps alone.
    pub(super) fn end_from(
        &self,
        index: usize,
        from: impl FnOnce(Step) -> bool,
        how: Final,
        event: JobEventKind,
    ) -> bool {
        let Some(subject) = self.take_end(index, from) else { return false };
        self.count(subject, how, event);
        true
    }

    fn take_end(&self, index: usize, from: impl FnOnce(Step) -> bool) -> Option<Subject> {
        let (subject, extras) = {
            let mut jobs = lock(&self.jobs);
            let last = |entry: &mut Entry| (Subject::of(entry), entry.take_extras());
            let (step, seen) = jobs.collector.end(index, from, last)?;
            if step == Step::Running {
                self.runner.counters().stopped();
            }
            if step == Step::Waiting {
                let left_line = jobs.left_line(1);
                drop(jobs);
                left_line.apply(self);
            }
            seen
        };
        if let Some(extras) = extras {
            drop_quietly(extras);
        }
        Some(subject)
    }

    /// Tells first and counts then: who sees that the runner is idle has been told everything.
    pub(super) fn count(&self, subject: Subject, how: Final, event: JobEventKind) {
        self.report(subject, event);
        self.runner.counters().ended(how);
    }

    pub(super) fn report(&self, subject: Subject, event: JobEventKind) {
        subject.report(self.runner.hooks(), event);
    }
}

//! A batch when its response is over: the steps of its jobs, one after another.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::task::AbortHandle;
use tracing::Span;

use super::state::{Batch, Jobs, Phase};
use crate::{
    collector::{Condition, Entry, Step},
    exchange::ResponseInfo,
    lock::lock,
    policy::Policy,
    runner::{
        attempt::{Outcome, drop_quietly, panic_error},
        backoff,
        event::{JobEventKind, Subject},
        limits::{Gate, Permit},
        line::Line,
        stats::Final,
        worker::Worker,
    },
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
        let starts = {
            let mut jobs = lock(&self.jobs);
            if jobs.phase != Phase::Collecting || self.runner.is_recording() {
                return;
            }
            jobs.phase = Phase::Idle;
            self.activate(&mut jobs)
        };
        if starts {
            Gate::start(self.clone());
        }
    }

    /// Runs what waits, unless that is being done.
    #[cfg(feature = "testing")]
    pub(crate) fn start(self: &Arc<Self>) {
        let starts = self.activate(&mut lock(&self.jobs));
        if starts {
            Gate::start(self.clone());
        }
    }

    /// Whether there is something to start, and a worker to be.
    fn activate(&self, jobs: &mut Jobs) -> bool {
        self.admit_anyway(jobs);
        if jobs.phase == Phase::Active || jobs.collector.waiting() == 0 {
            return false;
        }
        jobs.phase = Phase::Active;
        true
    }

    pub(crate) fn spawn_worker(self: Arc<Self>, permit: Permit) {
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
        self.runner.has_hooks() || tracing::enabled!(tracing::Level::ERROR)
    }

    pub(crate) fn span(&self, subject: Subject) -> Span {
        let span =
            tracing::info_span!("job", name = subject.name, id = %subject.id, attempt = subject.attempt);
        if !span.is_disabled() {
            span.follows_from(self.origin.span.clone());
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
            let entry = jobs.collector.start(index)?;
            let start = Start { subject: Subject::of(entry), policy: entry.policy };
            // Under the lock, because another may end the job at once.
            self.runner.counters().started();
            self.leave_room(&mut jobs);
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
                let asked = catch_unwind(AssertUnwindSafe(|| when(response)));
                asked.map_err(|panic| {
                    let error = panic_error(panic);
                    let elapsed = Duration::ZERO;
                    (Final::Failed, JobEventKind::Panicked { error, elapsed })
                })?
            }
        };
        if runs { Ok(()) } else { Err((Final::Skipped, JobEventKind::Skipped)) }
    }

    pub(crate) fn finish(&self, index: usize, outcome: Outcome, elapsed: Duration) -> Next {
        let fatal = matches!(&outcome, Outcome::Returned(Err(error)) if error.is_fatal());
        let (error, kind) = match outcome {
            Outcome::Returned(Ok(())) => {
                self.end(index, Final::Succeeded, JobEventKind::Succeeded { elapsed });
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
            self.end(index, Final::Failed, kind);
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
        self.runner.room().take_anyway(1);
        self.report(subject, JobEventKind::Retrying { error, delay });
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
        let (subject, extras) = {
            let mut jobs = lock(&self.jobs);
            let last = |entry: &mut Entry| (Subject::of(entry), entry.take_extras());
            let Some((step, seen)) = jobs.collector.end(index, from, last) else { return false };
            if step == Step::Running {
                self.runner.counters().stopped();
            }
            self.leave_room(&mut jobs);
            seen
        };
        if let Some(extras) = extras {
            drop_quietly(extras);
        }
        self.count(subject, how, event);
        true
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

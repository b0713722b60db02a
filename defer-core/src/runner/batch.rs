//! One request's jobs, from the first deferral to the last end, and what is shared by all who deal with them: the
//! request that collects, the handles it gives out, the worker, the retries, the shutdown.
//!
//! The rule that keeps the counts right: a job's way is a row of steps in the [`Collector`], taken under the lock,
//! and only who takes the step to `Ended` counts it. So it does not matter who comes first where two try.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
};
use tracing::{Span, level_filters::LevelFilter};

use super::{
    Runner,
    attempt::{Outcome, drop_quietly, panic_error},
    event::{JobEventKind, Subject},
    limits::{Gate, Overflow, Permit},
    line::{Line, Row, Work},
    shutdown::UnfinishedJob,
    stats::Final,
    worker::Worker,
};
use crate::{
    collector::{Collector, Condition, Entry, Step},
    context::{Drain, Surroundings},
    error::{DeferError, JobError},
    exchange::{RequestInfo, ResponseInfo},
    job::JobId,
    lock::lock,
    policy::Policy,
    queue::Envelope,
    state::State,
};

pub(crate) struct Batch {
    runner: Runner,
    /// Where the runner's register has this batch.
    key: AtomicUsize,
    origin: Origin,
    request: OnceLock<RequestInfo>,
    response: OnceLock<ResponseInfo>,
    jobs: Mutex<Jobs>,
}

/// Where a batch is from.
pub(crate) struct Origin {
    /// Its jobs run there.
    runtime: Handle,
    /// The span of the request.
    span: Option<tracing::span::Id>,
}

impl Origin {
    pub(crate) fn current() -> Result<Self, DeferError> {
        let runtime = Handle::try_current().map_err(|_| DeferError::NoRuntime)?;
        let traced = LevelFilter::current() != LevelFilter::OFF;
        Ok(Self { runtime, span: if traced { Span::current().id() } else { None } })
    }
}

struct Jobs {
    collector: Collector<Box<dyn Line>>,
    phase: Phase,
    /// Whether the jobs collected so far were let in; those that follow then take room as they come.
    admitted: bool,
    /// Room taken in the runner for jobs that have not started.
    room: u32,
    worker: Option<JoinHandle<()>>,
    /// Counts workers that are gone or were stopped, so that the handle of such a one is not kept.
    workers: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The response has not been sent.
    Collecting,
    /// Released, and nothing is left to start.
    Idle,
    /// Released, and there is a worker, or one waits for its permit.
    Active,
}

/// What follows an attempt.
pub(crate) enum Next {
    Done,
    Retry(Duration),
}

/// What a shutdown has stopped.
pub(crate) struct Stopped {
    pub(crate) abandoned: Vec<UnfinishedJob>,
    pub(crate) leaving: Vec<(usize, Envelope)>,
}

/// A job that may run.
pub(super) struct Start {
    pub(super) subject: Subject,
    pub(super) policy: &'static Policy,
}

impl Batch {
    pub(crate) fn new(runner: Runner, origin: Origin) -> Arc<Self> {
        let batch = Arc::new(Self {
            runner,
            key: AtomicUsize::new(usize::MAX),
            origin,
            request: OnceLock::new(),
            response: OnceLock::new(),
            jobs: Mutex::new(Jobs {
                collector: Collector::new(),
                phase: Phase::Collecting,
                admitted: false,
                room: 0,
                worker: None,
                workers: 0,
            }),
        });
        batch.key.store(batch.runner.register(&batch), Ordering::Relaxed);
        batch
    }

    /// The next line for a worker, which is gone if there is none.
    pub(super) fn take_line(&self) -> Option<Box<dyn Line>> {
        lock(&self.jobs).take_line()
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.origin.runtime
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

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
    fn admit_anyway(&self, jobs: &mut Jobs) {
        if self.runner.overflow() == Overflow::Wait && !jobs.admitted {
            let waiting = u32::try_from(jobs.collector.waiting()).unwrap_or(u32::MAX);
            self.runner.room().take_anyway(waiting);
            jobs.room = waiting;
            jobs.admitted = true;
        }
    }

    /// Gives back room that jobs no longer need which have started or ended.
    fn leave_room(&self, jobs: &mut Jobs) {
        let needed = u32::try_from(jobs.collector.waiting()).unwrap_or(u32::MAX);
        if jobs.room > needed {
            self.runner.room().give_back(jobs.room - needed);
            jobs.room = needed;
        }
    }

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

    /// Whether anybody may be told how long an attempt took.
    pub(super) fn is_watched(&self) -> bool {
        self.runner.has_hooks() || tracing::enabled!(tracing::Level::ERROR)
    }

    pub(super) fn span(&self, subject: Subject) -> Span {
        let span =
            tracing::info_span!("job", name = subject.name, id = %subject.id, attempt = subject.attempt);
        if !span.is_disabled() {
            span.follows_from(self.origin.span.clone());
        }
        span
    }

    /// Takes the step to `Running`, if the job is to run.
    pub(super) fn begin(&self, index: usize) -> Option<Start> {
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

    pub(super) fn finish(&self, index: usize, outcome: Outcome, elapsed: Duration) -> Next {
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
        let delay = super::backoff::delay(policy, subject.attempt);
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
    fn end(&self, index: usize, how: Final, event: JobEventKind) -> bool {
        self.end_from(index, |step| step != Step::Leaving, how, event)
    }

    /// Like [`end`](Self::end), from some steps alone.
    fn end_from(
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
    fn count(&self, subject: Subject, how: Final, event: JobEventKind) {
        self.report(subject, event);
        self.runner.counters().ended(how);
    }

    fn report(&self, subject: Subject, event: JobEventKind) {
        subject.report(self.runner.hooks(), event);
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

    /// Pushes the jobs for the queue to it, so that they survive this process; on an error they stay here. Those
    /// with a condition stay here too: whether it holds is not known before the response is over.
    pub(crate) async fn enqueue(self: &Arc<Self>) {
        let Some(queue) = self.runner.queue() else { return };
        let envelopes: Vec<_> = lock(&self.jobs)
            .collector
            .open_entries()
            .filter(|(_, entry)| entry.step() == Step::Waiting && entry.is_unconditional())
            .filter_map(|(index, entry)| Some((index, envelope(entry)?)))
            .collect();
        if envelopes.is_empty() {
            return;
        }
        let ids: Vec<_> = envelopes.iter().map(|(index, _)| *index).collect();
        let jobs = envelopes.into_iter().map(|(_, envelope)| envelope).collect();
        match super::attempt::caught(|| queue.push(jobs)).await {
            Ok(()) => {
                for index in ids {
                    if self.end(index, Final::Queued, JobEventKind::Queued) {
                        let work = {
                            let mut jobs = lock(&self.jobs);
                            jobs.collector.lines().find_map(|line| line.take(index))
                        };
                        drop_quietly(work);
                    }
                }
            }
            Err(error) => {
                for index in ids {
                    self.queue_failed(index, error.clone());
                }
            }
        }
    }

    fn queue_failed(&self, index: usize, error: JobError) {
        let subject = self.change(index, |entry| Subject { name: entry.name, id: entry.id, attempt: 0 });
        if let Some(subject) = subject {
            self.report(subject, JobEventKind::QueueFailed { error });
        }
    }

    /// Writes a job as the queue keeps it. Done when it is deferred, because nobody else can while it runs: at the end
    /// of a shutdown it may have to go to the queue from there.
    fn encode<W: Work>(&self, entry: &mut Entry, work: &W) {
        let error = match catch_unwind(AssertUnwindSafe(|| work.encode())) {
            Ok(None) => return,
            Ok(Some(Ok(payload))) => return entry.set_payload(payload),
            Ok(Some(Err(error))) => JobError::msg(error.to_string()),
            Err(panic) => panic_error(panic),
        };
        let subject = Subject { name: entry.name, id: entry.id, attempt: 0 };
        self.report(subject, JobEventKind::QueueFailed { error });
    }

    /// At the end of a shutdown: stops what has not ended. What can go to the queue is on its way there then, and is
    /// to be [ended](Self::end_left).
    pub(crate) fn stop(&self, has_queue: bool) -> Stopped {
        let mut abandoned = Vec::new();
        let mut leaving = Vec::new();
        let mut retries = Vec::new();
        {
            let mut jobs = lock(&self.jobs);
            for (index, entry) in jobs.collector.open_entries() {
                if entry.step() == Step::Leaving {
                    continue;
                }
                retries.extend(entry.take_retry());
                // Whether one with a condition may run is known once it has.
                let may_leave = has_queue && (entry.attempts > 0 || entry.is_unconditional());
                match envelope(entry).filter(|_| may_leave) {
                    Some(envelope) => leaving.push((index, envelope)),
                    None => {
                        abandoned.push((index, UnfinishedJob { id: entry.id, name: entry.name.to_owned() }))
                    }
                }
            }
            // All at once, so that none of them starts because the one before it was stopped.
            for index in
                leaving.iter().map(|(index, _)| *index).chain(abandoned.iter().map(|(index, _)| *index))
            {
                if jobs.collector.step(index, Step::Leaving) == Some(Step::Running) {
                    self.runner.counters().stopped();
                }
            }
            self.leave_room(&mut jobs);
        }
        self.abort();
        retries.iter().for_each(AbortHandle::abort);
        let abandoned = abandoned.into_iter().map(|(index, job)| {
            self.end_left(index, false);
            job
        });
        Stopped { abandoned: abandoned.collect(), leaving }
    }

    /// Ends a job that was on its way out: the queue has it, or nobody.
    pub(crate) fn end_left(&self, index: usize, queued: bool) {
        let (how, event) = if queued {
            (Final::Queued, JobEventKind::Queued)
        } else {
            (Final::Abandoned, JobEventKind::Abandoned)
        };
        self.end_from(index, |step| step == Step::Leaving, how, event);
    }

    pub(super) fn abandon(&self, index: usize) -> bool {
        self.end(index, Final::Abandoned, JobEventKind::Abandoned)
    }

    /// Drops the job that runs and those that wait, as far as they can be stopped.
    fn abort(&self) {
        let (worker, lines) = {
            let mut jobs = lock(&self.jobs);
            jobs.workers = jobs.workers.wrapping_add(1);
            let lines: Vec<_> = std::iter::from_fn(|| jobs.collector.take_line()).collect();
            (jobs.worker.take(), lines)
        };
        if let Some(worker) = worker {
            worker.abort();
        }
        lines.into_iter().for_each(drop_quietly);
    }

    /// The worker is gone: with a runtime that was dropped, or aborted. Jobs between two tries are not its.
    pub(super) fn worker_gone(&self) {
        let lost: Vec<usize> = {
            let mut jobs = lock(&self.jobs);
            jobs.workerless();
            jobs.collector
                .open_entries()
                .filter(|(_, entry)| !matches!(entry.step(), Step::Backoff | Step::Leaving))
                .map(|(index, _)| index)
                .collect()
        };
        self.abort();
        for index in lost {
            self.abandon(index);
        }
    }
}

impl Jobs {
    /// The next line for a worker, which is gone if there is none.
    fn take_line(&mut self) -> Option<Box<dyn Line>> {
        let line = self.collector.take_line();
        if line.is_none() {
            self.workerless();
        }
        line
    }

    fn workerless(&mut self) {
        self.phase = Phase::Idle;
        self.worker = None;
        self.workers = self.workers.wrapping_add(1);
    }
}

fn envelope(entry: &Entry) -> Option<Envelope> {
    entry.payload().map(|payload| Envelope {
        id: entry.id,
        name: entry.name.to_owned(),
        policy: *entry.policy,
        payload: payload.to_vec(),
    })
}

impl Drop for Batch {
    /// Nobody holds the batch any more, so that nothing of it can run.
    fn drop(&mut self) {
        self.runner.unregister(*self.key.get_mut());
        let lost = self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner).collector.open() > 0;
        if lost {
            self.worker_gone();
        }
    }
}

impl Surroundings for Batch {
    fn state(&self) -> &State {
        self.runner.state()
    }

    fn request(&self) -> Option<&RequestInfo> {
        self.request.get()
    }

    fn response(&self) -> Option<&ResponseInfo> {
        self.response.get()
    }

    fn drain(&self) -> &Drain {
        self.runner.drain()
    }
}

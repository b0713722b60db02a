//! What happens to a job, as reported to hooks and the log.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};

use crate::{
    error::{JobError, caught},
    id::JobId,
    panic::drop_quietly,
    policy::{JobType, Policy},
    response::Delivery,
    span::JobSpan,
    stamp::Stamp,
    stats::Final,
};

/// Something that happened to a job.
///
/// It carries none of the job's fields, which may contain addresses and tokens.
#[derive(Clone, Debug)]
pub struct JobEvent {
    name: &'static str,
    id: JobId,
    attempt: u32,
    kind: JobEventKind,
    about: About,
}

/// What else is known at an event.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) wait: Option<Duration>,
    pub(crate) method: Option<Method>,
    pub(crate) matched_path: Option<Arc<str>>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) delivery: Option<Delivery>,
}

/// What happened, with its data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JobEventKind {
    /// It was deferred.
    Deferred,
    /// An attempt started.
    Started,
    /// Final: an attempt returned `Ok`.
    #[non_exhaustive]
    Succeeded {
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// An attempt failed, panicked or timed out, and another follows.
    #[non_exhaustive]
    Retrying {
        /// The error of the attempt.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
        /// How long until the next attempt.
        delay: Duration,
    },
    /// It asked to be run [again later](JobError::snooze). The attempt is not spent.
    #[non_exhaustive]
    Snoozed {
        /// How long it took until it asked.
        elapsed: Duration,
        /// How long until it is run again.
        delay: Duration,
    },
    /// It has held its thread for longer than [`stuck_after`](crate::RunnerBuilder::stuck_after) allows, and goes on. Reported
    /// from another thread, once for each time that it is polled.
    #[non_exhaustive]
    Stuck {
        /// For how long, so far.
        elapsed: Duration,
    },
    /// Final: it returned an error and has no attempts left, or the error was fatal.
    #[non_exhaustive]
    Failed {
        /// The error.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: it panicked and has no attempts left.
    #[non_exhaustive]
    Panicked {
        /// The panic's message.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: it timed out and has no attempts left.
    #[non_exhaustive]
    TimedOut {
        /// An error that names the timeout.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: its condition was false.
    Skipped,
    /// Final: it was cancelled, replaced by a later job with the same key, or left out for another with its unique key.
    Cancelled,
    /// Final: there was no room for it, and the runner sheds.
    Shed,
    /// Final in this process: the queue has it, or has it back.
    Queued,
    /// The queue did not take it, so it stays in this process.
    #[non_exhaustive]
    QueueFailed {
        /// The queue's error.
        error: JobError,
    },
    /// Final: it was stopped, or nothing was left to run it.
    Abandoned,
}

/// Who is told of events.
pub(crate) enum Hook {
    /// A user's function.
    OnEvent(Box<dyn Fn(&JobEvent) + Send + Sync>),
    /// A part of ours, which has to cost little.
    Watch(Box<dyn Watch>),
}

/// Is told how attempts and jobs end, in little time: an event is made only if it asks for it.
#[doc(hidden)]
pub trait Watch: Send + Sync + 'static {
    /// Called at every event but [`Deferred`](JobEventKind::Deferred) and [`Started`](JobEventKind::Started), not outside of the
    /// job's scope.
    fn watch(&self, end: &End<'_>);
}

/// The end of an attempt, or of a job that ends without one. For the accessors see [`JobEvent`].
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "no user has one")]
pub struct End<'a> {
    job: JobRef,
    kind: &'a JobEventKind,
    times: &'a Times,
    facts: &'a dyn Facts,
}

impl End<'_> {
    pub fn name(&self) -> &'static str {
        self.job.name()
    }

    pub fn attempt(&self) -> u32 {
        self.job.attempt
    }

    pub fn kind(&self) -> &JobEventKind {
        self.kind
    }

    pub fn wait(&self) -> Option<Duration> {
        self.times.wait
    }

    /// Returns when it was, if it is an attempt's.
    pub fn at(&self) -> Option<Stamp> {
        self.times.ended
    }

    pub fn event(&self) -> JobEvent {
        self.job.event(self.kind, self.facts.about(self.times.wait))
    }
}

/// How long an attempt had been waited for, and when it ended, as far as somebody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) wait: Option<Duration>,
    pub(crate) ended: Option<Stamp>,
}

/// What is known besides, by the time of an event.
pub(crate) trait Facts {
    fn about(&self, wait: Option<Duration>) -> About;
}

/// Hooks, to which others can be added while the first are called. A chain instead of a vector, so that nobody holds a lock
/// while a hook runs: a hook may add another.
#[derive(Default)]
pub(crate) struct Hooks {
    first: Next,
    /// Whether one of them is a user's.
    has_users: AtomicBool,
}

type Next = OnceLock<Box<Link>>;

struct Link {
    hook: Hook,
    next: Next,
}

impl Hooks {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    /// Adds a hook, behind the others.
    pub(crate) fn add(&self, hook: Hook) {
        let is_users = matches!(hook, Hook::OnEvent(_));
        let mut last = &self.first;
        let mut link = Box::new(Link { hook, next: Next::new() });
        while let Err(refused) = last.set(link) {
            link = refused;
            if let Some(taken) = last.get() {
                last = &taken.next;
            }
        }
        if is_users {
            self.has_users.store(true, Ordering::Release);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Hook> {
        std::iter::successors(self.first.get(), |link| link.next.get()).map(|link| &link.hook)
    }
}

impl JobEvent {
    /// Returns the job's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Returns the attempt that the event belongs to, counted from 1; 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns what happened.
    pub fn kind(&self) -> JobEventKind {
        self.kind.clone()
    }

    /// Returns how long the job had waited when this attempt started: since the release of its request's jobs, since it was
    /// deferred if that was later, or since its delay or backoff was over. Known at the start and at the end of an attempt,
    /// otherwise `None`.
    pub fn wait(&self) -> Option<Duration> {
        self.about.wait
    }

    /// Returns the method of the request that deferred the job, if it is known by now.
    pub fn method(&self) -> Option<&Method> {
        self.about.method.as_ref()
    }

    /// Returns the route that this request matched, such as `/users/{id}`, if it is known by now.
    pub fn matched_path(&self) -> Option<&str> {
        self.about.matched_path.as_deref()
    }

    /// Returns the route, to keep.
    #[doc(hidden)]
    pub fn shared_path(&self) -> Option<Arc<str>> {
        self.about.matched_path.clone()
    }

    /// Returns the status of the response that went out, if it is known by now.
    pub fn status(&self) -> Option<StatusCode> {
        self.about.status
    }

    /// Returns how this response ended, if it has ended by now.
    pub fn delivery(&self) -> Option<Delivery> {
        self.about.delivery
    }
}

impl JobEventKind {
    /// Returns how long until the job is run again; nothing if it is not.
    pub(crate) fn delay(&self) -> Duration {
        match self {
            Self::Retrying { delay, .. } | Self::Snoozed { delay, .. } => *delay,
            _ => Duration::ZERO,
        }
    }

    /// Returns how a job that ends with this event is counted; `None` if more events follow.
    pub(crate) fn final_count(&self) -> Option<Final> {
        match self {
            Self::Succeeded { .. } => Some(Final::Succeeded),
            Self::Failed { .. } | Self::Panicked { .. } | Self::TimedOut { .. } => Some(Final::Failed),
            Self::Skipped => Some(Final::Skipped),
            Self::Cancelled => Some(Final::Cancelled),
            Self::Shed => Some(Final::Shed),
            Self::Queued => Some(Final::Queued),
            Self::Abandoned => Some(Final::Abandoned),
            Self::Deferred
            | Self::Started
            | Self::Retrying { .. }
            | Self::Snoozed { .. }
            | Self::Stuck { .. }
            | Self::QueueFailed { .. } => None,
        }
    }
}

/// The job that an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobRef {
    kind: &'static JobType,
    pub(crate) id: JobId,
    /// The attempt, counted from 1; 0 before the first.
    pub(crate) attempt: u32,
    /// Whether the event is logged inside the attempt's span, which has the fields above.
    in_span: bool,
}

impl JobRef {
    #[inline]
    pub(crate) fn new(kind: &'static JobType, id: JobId, attempt: u32) -> Self {
        Self { kind, id, attempt, in_span: false }
    }

    pub(crate) fn name(self) -> &'static str {
        self.kind.name()
    }

    pub(crate) fn policy(self) -> &'static Policy {
        self.kind.policy()
    }

    /// Returns the same job, for an event that is logged inside this span.
    pub(crate) fn within(self, span: &JobSpan) -> Self {
        Self { in_span: span.get().is_some(), ..self }
    }

    /// Logs the end of an attempt or a job, and calls the hooks. No lock may be held: hooks, subscribers and an error's `Display`
    /// are user code.
    pub(crate) fn report(self, hooks: &Hooks, kind: &JobEventKind, times: &Times, facts: &impl Facts) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.log(kind))) {
            let Self { id, attempt, .. } = self;
            let name = self.name();
            drop_quietly(panic);
            tracing::error!(target: "defer", name, %id, attempt, "a job's error panicked while it was formatted");
        }
        if !hooks.is_empty() {
            self.call(hooks, kind, times, facts, true);
        }
    }

    /// Calls the hooks that users gave, for an event that is not logged and ends nothing.
    #[inline]
    pub(crate) fn tell(
        self,
        hooks: &Hooks,
        kind: &JobEventKind,
        wait: impl FnOnce() -> Option<Duration>,
        facts: &impl Facts,
    ) {
        if hooks.has_users.load(Ordering::Acquire) {
            self.call(hooks, kind, &Times { wait: wait(), ended: None }, facts, false);
        }
    }

    fn call(self, hooks: &Hooks, kind: &JobEventKind, times: &Times, facts: &dyn Facts, is_end: bool) {
        let mut event = None;
        for hook in hooks.iter() {
            let called = catch_unwind(AssertUnwindSafe(|| match hook {
                Hook::OnEvent(hook) => {
                    hook(event.get_or_insert_with(|| self.event(kind, facts.about(times.wait))))
                }
                Hook::Watch(watch) if is_end => watch.watch(&End { job: self, kind, times, facts }),
                Hook::Watch(_) => {}
            }));
            if let Err(panic) = called {
                drop_quietly(panic);
                let (name, id) = (self.name(), self.id);
                tracing::error!(target: "defer", name, %id, "an `on_event` hook panicked");
            }
        }
    }

    #[cold]
    fn event(self, kind: &JobEventKind, about: About) -> JobEvent {
        let Self { id, attempt, .. } = self;
        JobEvent { name: self.name(), id, attempt, kind: kind.clone(), about }
    }

    /// Logs that a job could not be told that it is given up.
    #[cold]
    pub(crate) fn log_untold(self, how: &str, error: &JobError) {
        let (name, id) = (self.name(), self.id);
        let told = caught(|| tracing::error!(target: "defer", name, %id, %error, "a job's `failed` {how}"));
        told.unwrap_or_else(drop_quietly);
    }

    fn log(self, kind: &JobEventKind) {
        let Self { id, attempt, in_span, .. } = self;
        // An event in the span does not repeat its fields.
        macro_rules! in_attempt {
            ($level:ident, $($rest:tt)*) => {
                tracing::$level!(
                    target: "defer",
                    name = (!in_span).then(|| self.name()),
                    id = (!in_span).then(|| tracing::field::display(id)),
                    attempt = (!in_span).then_some(attempt),
                    $($rest)*
                )
            };
        }
        match kind {
            JobEventKind::Deferred | JobEventKind::Started => {}
            JobEventKind::Succeeded { elapsed } => in_attempt!(debug, ?elapsed, "job done"),
            JobEventKind::Retrying { error, delay, .. } => {
                in_attempt!(warn, %error, ?delay, "job failed, trying again");
            }
            JobEventKind::Stuck { elapsed } => {
                in_attempt!(
                    warn,
                    ?elapsed,
                    "job holds its thread, so that nothing can stop it: let it await, or mark it `#[defer(blocking)]`"
                );
            }
            JobEventKind::Snoozed { delay, .. } => in_attempt!(debug, ?delay, "job snoozed"),
            JobEventKind::Failed { error, elapsed } => in_attempt!(error, %error, ?elapsed, "job failed"),
            JobEventKind::Panicked { error, elapsed } => in_attempt!(error, %error, ?elapsed, "job panicked"),
            JobEventKind::TimedOut { error, elapsed } => {
                in_attempt!(error, %error, ?elapsed, "job timed out")
            }
            JobEventKind::Skipped => {
                tracing::warn!(target: "defer", name = self.name(), %id, "job skipped: its condition was false");
            }
            JobEventKind::Cancelled => {
                tracing::debug!(target: "defer", name = self.name(), %id, "job cancelled")
            }
            JobEventKind::Shed => {
                tracing::warn!(target: "defer", name = self.name(), %id, "job shed: too many are pending")
            }
            JobEventKind::Queued => tracing::debug!(target: "defer", name = self.name(), %id, "job queued"),
            JobEventKind::QueueFailed { error } => {
                tracing::warn!(target: "defer", name = self.name(), %id, %error, "job not queued, running it in this process");
            }
            JobEventKind::Abandoned => {
                let why = "job abandoned: it was stopped, or nothing was left to run it";
                tracing::error!(target: "defer", name = self.name(), %id, attempt, "{why}");
            }
        }
    }
}

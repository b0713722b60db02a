//! What happened to a job, told to hooks and to the log.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tracing::Span;

use crate::{collector::Entry, error::JobError, job::JobId, panic::drop_quietly, scope::Slot};

/// A step in the life of a job.
///
/// It carries no field of the job itself: those hold addresses and tokens.
#[derive(Clone, Debug)]
pub struct JobEvent {
    name: &'static str,
    id: JobId,
    attempt: u32,
    kind: JobEventKind,
}

/// Which step, with what is known of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JobEventKind {
    /// A request, or another job, deferred it.
    Deferred,
    /// An attempt began.
    Started,
    /// Final: it returned `Ok`.
    #[non_exhaustive]
    Succeeded {
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// An attempt failed, panicked or took too long, and another follows.
    #[non_exhaustive]
    Retrying {
        /// What was wrong with the attempt.
        error: JobError,
        /// How long until the next.
        delay: Duration,
    },
    /// Final: it returned an error and has no tries left, or the error was fatal.
    #[non_exhaustive]
    Failed {
        /// The error.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: it panicked and has no tries left.
    #[non_exhaustive]
    Panicked {
        /// The panic's message.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: it took longer than its time limit and has no tries left.
    #[non_exhaustive]
    TimedOut {
        /// The limit, in words.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: its condition said no.
    Skipped,
    /// Final: it was cancelled, or replaced by a later job with its key.
    Cancelled,
    /// Final: `max_pending` jobs were waiting, and the runner sheds.
    Shed,
    /// Final here: the queue has it.
    Queued,
    /// The queue would not take it; it runs in this process.
    #[non_exhaustive]
    QueueFailed {
        /// What the queue said.
        error: JobError,
    },
    /// Final: it had not ended when the runner or the runtime was stopped.
    Abandoned,
}

/// Told of every step of every job.
pub(crate) type Hook = Box<dyn Fn(&JobEvent) + Send + Sync>;

impl JobEvent {
    /// The job's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The attempt the event belongs to, from 1; 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What happened.
    pub fn kind(&self) -> JobEventKind {
        self.kind.clone()
    }
}

/// The job an event describes.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    /// The event is logged in the span of the attempt, which has the fields above.
    in_span: bool,
}

impl Subject {
    pub(crate) fn new(name: &'static str, id: JobId) -> Self {
        Self { name, id, attempt: 0, in_span: false }
    }

    pub(crate) fn of(entry: &Entry) -> Self {
        Self { attempt: entry.attempts, ..Self::new(entry.name, entry.id) }
    }

    /// The same in the span of an attempt, if that is enabled.
    pub(crate) fn within(self, span: &Span) -> Self {
        Self { in_span: !span.is_disabled(), ..self }
    }

    /// Logs the event and tells the hooks. Called without a lock held: hooks are user code, and so is the text of an
    /// error.
    pub(crate) fn report(self, hooks: &[Hook], kind: JobEventKind) {
        let Self { name, id, attempt, .. } = self;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.log(&kind))) {
            drop_quietly(panic);
            tracing::error!(target: "defer", name, %id, attempt, "a job's error panicked while it was written");
        }
        self.tell(hooks, kind);
    }

    /// Tells the hooks of an event that is not logged.
    #[inline]
    pub(crate) fn tell(self, hooks: &[Hook], kind: JobEventKind) {
        if !hooks.is_empty() {
            self.call(hooks, kind);
        }
    }

    fn call(self, hooks: &[Hook], kind: JobEventKind) {
        let Self { name, id, attempt, .. } = self;
        let event = JobEvent { name, id, attempt, kind };
        for hook in hooks {
            // In no scope: a hook that defers at the end of a job would go on for ever if the job it defers had a hook.
            let told = Slot::None.enter(|| catch_unwind(AssertUnwindSafe(|| hook(&event))));
            if let Err(panic) = told {
                drop_quietly(panic);
                tracing::error!(target: "defer", name, %id, "an `on_event` hook panicked");
            }
        }
    }

    fn log(self, kind: &JobEventKind) {
        let Self { name, id, attempt, in_span } = self;
        // An event in the span does not repeat its fields.
        macro_rules! in_attempt {
            ($level:ident, $($rest:tt)*) => {
                tracing::$level!(
                    target: "defer",
                    name = (!in_span).then_some(name),
                    id = (!in_span).then(|| tracing::field::display(id)),
                    attempt = (!in_span).then_some(attempt),
                    $($rest)*
                )
            };
        }
        match kind {
            JobEventKind::Deferred | JobEventKind::Started => {}
            JobEventKind::Succeeded { elapsed } => in_attempt!(debug, ?elapsed, "job done"),
            JobEventKind::Retrying { error, delay } => {
                in_attempt!(warn, %error, ?delay, "job failed, trying again");
            }
            JobEventKind::Failed { error, elapsed } => in_attempt!(error, %error, ?elapsed, "job failed"),
            JobEventKind::Panicked { error, elapsed } => in_attempt!(error, %error, ?elapsed, "job panicked"),
            JobEventKind::TimedOut { error, elapsed } => {
                in_attempt!(error, %error, ?elapsed, "job timed out")
            }
            JobEventKind::Skipped => {
                tracing::warn!(target: "defer", name, %id, "job skipped: its condition said no");
            }
            JobEventKind::Cancelled => tracing::debug!(target: "defer", name, %id, "job cancelled"),
            JobEventKind::Shed => {
                tracing::warn!(target: "defer", name, %id, "job shed: too many are pending")
            }
            JobEventKind::Queued => tracing::debug!(target: "defer", name, %id, "job queued"),
            JobEventKind::QueueFailed { error } => {
                tracing::warn!(target: "defer", name, %id, %error, "job not queued, running it in this process");
            }
            JobEventKind::Abandoned => {
                let why = "job abandoned: the runner stopped before it ended";
                tracing::error!(target: "defer", name, %id, attempt, "{why}");
            }
        }
    }
}

//! The hooks that receive events.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    event::{EventRequest, JobEvent, JobEventKind},
    log::log,
};
use crate::{
    model::job_type::JobRef,
    primitives::{panic::drop_quietly, timestamp::Timestamp},
};

/// A receiver of events.
pub(crate) enum Hook {
    /// A function that wants every event, usually a user's.
    OnEvent(Box<dyn Fn(&JobEvent) + Send + Sync>),
    /// One of this workspace's observers, which have to cost little.
    Observer(Box<dyn Observer>),
}

/// Observes jobs at little cost: an event is only created if the observer asks for one.
#[doc(hidden)]
pub trait Observer: Send + Sync + 'static {
    /// Called at every event except [`Deferred`](JobEventKind::Deferred) and [`Started`](JobEventKind::Started), possibly
    /// inside the job's scope.
    fn observe(&self, report: &Report<'_>);
}

/// An event that has not been created yet. For the accessors, see [`JobEvent`].
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "no user has one")]
pub struct Report<'a> {
    job: JobRef,
    kind: &'a JobEventKind,
    times: Times,
    request: &'a dyn Fn() -> EventRequest,
}

impl Report<'_> {
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

    /// Returns when it happened, if it is the end of an attempt.
    pub fn at(&self) -> Option<Timestamp> {
        self.times.ended
    }

    pub fn event(&self) -> JobEvent {
        JobEvent::new(self.job, self.kind.clone(), self.times.wait, (self.request)())
    }
}

/// The wait of an attempt and the time of its end, if an observer needs them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) wait: Option<Duration>,
    pub(crate) ended: Option<Timestamp>,
}

/// Hooks. More can be added while others are called. This is a chain instead of a vector, so that no lock is held while a hook
/// runs, and a hook may add another.
#[derive(Default)]
pub(crate) struct Hooks {
    first: Tail,
    /// Whether any hook wants every event.
    has_users: AtomicBool,
}

type Tail = OnceLock<Box<Link>>;

struct Link {
    hook: Hook,
    next: Tail,
}

impl Hooks {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    /// Returns whether any hook wants every event.
    #[inline]
    pub(crate) fn has_users(&self) -> bool {
        self.has_users.load(Ordering::Acquire)
    }

    /// Adds a hook after the others.
    pub(crate) fn add(&self, hook: Hook) {
        let is_users = matches!(hook, Hook::OnEvent(_));
        let mut last = &self.first;
        let mut link = Box::new(Link { hook, next: Tail::new() });
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

    /// Logs an event, and calls all hooks. Call it without holding a lock: hooks, subscribers and an error's `Display` are user
    /// code.
    #[inline]
    pub(crate) fn report(
        &self,
        job: JobRef,
        kind: &JobEventKind,
        times: Times,
        request: &dyn Fn() -> EventRequest,
    ) {
        log(job, kind, request);
        if !self.is_empty() {
            self.call(&Report { job, kind, times, request }, true);
        }
    }

    /// Calls the hooks that want every event, for an event that is not logged.
    pub(crate) fn tell(
        &self,
        job: JobRef,
        kind: &JobEventKind,
        wait: impl FnOnce() -> Option<Duration>,
        request: &dyn Fn() -> EventRequest,
    ) {
        let times = Times { wait: wait(), ended: None };
        self.call(&Report { job, kind, times, request }, false);
    }

    #[cold]
    fn call(&self, report: &Report<'_>, for_observers: bool) {
        let mut event = None;
        for hook in self.iter() {
            let called = catch_unwind(AssertUnwindSafe(|| match hook {
                Hook::OnEvent(hook) => hook(event.get_or_insert_with(|| report.event())),
                Hook::Observer(observer) if for_observers => observer.observe(report),
                Hook::Observer(_) => {}
            }));
            if let Err(panic) = called {
                drop_quietly(panic);
                let (name, id) = (report.job.name(), report.job.id);
                tracing::error!(target: "defer", job = name, %id, "an `on_event` hook panicked");
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Hook> {
        std::iter::successors(self.first.get(), |link| link.next.get()).map(|link| &link.hook)
    }
}

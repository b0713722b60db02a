//! The state that all lists of a runner share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use slab::Slab;
use tokio::runtime::Handle;

use super::shutdown::Shutdown;
#[cfg(feature = "metrics")]
use crate::observe::meter::Types;
use crate::{
    limits::{
        capacity::{Admitted, Capacity},
        dedup::Dedup,
        keyed_semaphore::KeyedSemaphore,
        semaphore::{Grantee, Semaphore},
        throttle::Throttle,
    },
    model::type_map::TypeMap,
    observe::{hooks::Hooks, outcomes::Outcomes, span::SpanRelation, stats::Counters},
    primitives::sync::lock,
    store::{OnQueueFailure, Queue},
};

/// The policy for jobs that find no room, because [`max_pending`](crate::RunnerBuilder::max_pending) jobs wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Holds the response back until there is room for its jobs. Clients wait, and nothing is lost.
    ///
    /// Responses that are let through at the same time may together bring more jobs than there is room for; those that
    /// follow wait longer. A request's jobs count up to `max_pending`, so that one request cannot keep the others out.
    ///
    /// Inside a job nothing is held, neither the response to a request that the job makes in this process nor a scope
    /// that it opens: the room it would wait for could be the job's own. The job is recognized by its scope, so wrap a
    /// future that a job gives to `tokio::spawn` in [`Defer::scope`](crate::Defer::scope). A job that calls its own
    /// process over the network is not recognized.
    #[default]
    Wait,
    /// Drops the jobs that find no room, each with an event: when their response is over, the newest first; and at the
    /// deferral itself, if the response is over by then or `max_pending` jobs of the request wait already.
    Shed,
}

/// The state that all lists of a runner share. `L` is the list.
pub(crate) struct Engine<L: 'static>
where
    Arc<L>: Grantee,
{
    pub(crate) config: Config,
    pub(crate) semaphore: Semaphore<Arc<L>>,
    pub(crate) capacity: Capacity,
    pub(crate) slots: KeyedSemaphore,
    pub(crate) dedup: Dedup,
    pub(crate) throttle: Throttle,
    pub(crate) counters: Counters,
    pub(crate) shutdown: Shutdown,
    /// Every list that exists, for a shutdown and to answer what runs.
    register: Mutex<Slab<Weak<L>>>,
    /// Whether a task lets held responses through.
    refills: AtomicBool,
    /// The last jobs that were stored took too long: responses wait less for the next.
    pub(crate) queue_is_slow: AtomicBool,
}

/// The settings of a runner.
pub(crate) struct Config {
    /// The values that jobs share.
    pub(crate) state: TypeMap,
    /// Values of our own, of types that only those know who use them.
    pub(crate) parts: TypeMap,
    pub(crate) hooks: Hooks,
    /// The job types that the runner knows.
    #[cfg(feature = "metrics")]
    pub(crate) types: Arc<Types>,
    pub(crate) queue: Option<Arc<dyn Queue>>,
    pub(crate) max_running: usize,
    pub(crate) max_pending: usize,
    pub(crate) overflow: Overflow,
    pub(crate) push_timeout: Duration,
    pub(crate) on_queue_failure: OnQueueFailure,
    pub(crate) span_relation: SpanRelation,
    /// Something wraps each attempt.
    pub(crate) wraps_attempts: bool,
    /// Lists are kept for a recorder rather than run.
    pub(crate) is_recording: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state: TypeMap::default(),
            parts: TypeMap::default(),
            hooks: Hooks::default(),
            #[cfg(feature = "metrics")]
            types: Arc::default(),
            queue: None,
            max_running: 1024,
            max_pending: 65_536,
            overflow: Overflow::default(),
            push_timeout: Duration::from_secs(5),
            on_queue_failure: OnQueueFailure::default(),
            span_relation: SpanRelation::default(),
            wraps_attempts: false,
            is_recording: false,
        }
    }
}

impl<L: Send + Sync> Engine<L>
where
    Arc<L>: Grantee,
{
    pub(crate) fn new(mut config: Config) -> Arc<Self> {
        if config.is_recording {
            // A recorder keeps jobs that find no room.
            config.overflow = Overflow::Wait;
        }
        Arc::new(Self {
            semaphore: Semaphore::new(config.max_running),
            capacity: Capacity::new(config.max_pending),
            slots: KeyedSemaphore::default(),
            dedup: Dedup::default(),
            throttle: Throttle::default(),
            counters: Counters::default(),
            shutdown: Shutdown::new(),
            register: Mutex::new(Slab::new()),
            refills: AtomicBool::new(false),
            queue_is_slow: AtomicBool::new(false),
            config,
        })
    }

    pub(crate) fn queue(&self) -> Option<&dyn Queue> {
        self.config.queue.as_deref()
    }

    /// Returns what became of jobs, if that is kept.
    pub(crate) fn outcomes(&self) -> Option<&Arc<Outcomes>> {
        self.config.parts.get()
    }

    /// Registers a list, and returns the key that unregisters it.
    pub(super) fn register(&self, list: Weak<L>) -> usize {
        lock(&self.register).insert(list)
    }

    pub(super) fn unregister(&self, key: usize) {
        lock(&self.register).try_remove(key);
    }

    /// Returns the list with this key, unless it is being dropped.
    pub(super) fn list(&self, key: usize) -> Option<Arc<L>> {
        lock(&self.register).get(key)?.upgrade()
    }

    pub(crate) fn lists(&self) -> Vec<Arc<L>> {
        lock(&self.register).iter().filter_map(|(_, list)| list.upgrade()).collect()
    }

    /// Gives back the room of this many jobs. A task that lets held responses through would run on this runtime.
    #[inline]
    pub(crate) fn give_back_room(self: &Arc<Self>, jobs: usize, runtime: &Handle) {
        if jobs > 0 {
            self.refill(self.capacity.give_back(jobs), runtime);
        }
    }

    /// Lets more responses through, if there may be room for more.
    #[inline]
    pub(crate) fn refill(self: &Arc<Self>, admitted: Admitted, runtime: &Handle) {
        if admitted == Admitted::MoreSoon {
            self.spawn_refill(runtime);
        }
    }

    #[cold]
    fn spawn_refill(self: &Arc<Self>, runtime: &Handle) {
        if !self.refills.swap(true, Ordering::SeqCst) {
            let refill = Refill { engine: self.clone(), done: false };
            drop(runtime.spawn(refill.run()));
        }
    }
}

/// Lets held responses through while there is room, with pauses in which the earlier ones can release their jobs.
struct Refill<L: 'static>
where
    Arc<L>: Grantee,
{
    engine: Arc<Engine<L>>,
    done: bool,
}

impl<L: Send + Sync> Refill<L>
where
    Arc<L>: Grantee,
{
    async fn run(mut self) {
        let engine = &self.engine;
        loop {
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            if engine.capacity.admit() == Admitted::MoreSoon {
                continue;
            }
            engine.refills.store(false, Ordering::SeqCst);
            // A call may have relied on this task since.
            if engine.capacity.admit() == Admitted::All || engine.refills.swap(true, Ordering::SeqCst) {
                break;
            }
        }
        self.done = true;
    }
}

impl<L> Drop for Refill<L>
where
    Arc<L>: Grantee,
{
    /// The runtime is gone, and this task with it: lets the responses of other runtimes through all at once.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.engine.refills.store(false, Ordering::SeqCst);
        while self.engine.capacity.admit() == Admitted::MoreSoon {}
    }
}

impl<L> fmt::Debug for Engine<L>
where
    Arc<L>: Grantee,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("state", &self.config.state)
            .field("stats", &self.counters.snapshot())
            .finish_non_exhaustive()
    }
}

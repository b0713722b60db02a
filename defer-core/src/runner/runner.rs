//! The runner, and what all its lists of jobs share.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, Weak, atomic::AtomicBool},
    time::Duration,
};

use slab::Slab;

use super::{
    capacity::Capacity,
    jobs::Jobs,
    lanes::Lanes,
    load::{Load, RunningJob},
    semaphore::Semaphore,
    uniques::Uniques,
};
use crate::{
    context::{Around, Drain},
    event::Hooks,
    id::JobId,
    queue::Queue,
    stamp::Stamp,
    state::TypeMap,
    stats::{Counters, Stats},
    status::{JobStatus, Outcomes},
    sync::lock,
    watchdog::Watchdog,
};

/// What happens to jobs that find no room, because [`max_pending`](crate::RunnerBuilder::max_pending) jobs wait.
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

/// Runs deferred jobs: bounded, isolated from each other's errors and panics, and each accounted for.
///
/// One request's jobs run one after another, in the order deferred, apart from concurrent ones. Those of different requests run at the same time, up
/// to [`max_running`](crate::RunnerBuilder::max_running). Jobs run on the Tokio runtime of the request that deferred
/// them. A runner has no threads or tasks of its own, apart from the thread of
/// [`stuck_after`](crate::RunnerBuilder::stuck_after), and an idle one costs nothing.
///
/// Cloning is cheap: a clone is the same runner.
///
/// ```
/// use defer_core::{Runner, defer_fn, scope};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runner = Runner::builder().state(String::from("Ada")).build();
/// scope(&runner, async {
///     defer_fn(|cx| async move {
///         println!("welcome, {}", cx.state::<String>()?);
///         Ok(())
///     });
///     println!("this comes first");
/// })
/// .await;
/// runner.idle().await;
/// assert_eq!(runner.stats().succeeded, 1);
/// # }
/// ```
///
/// # Compared with `tokio::spawn` and `TaskTracker`
///
/// A task that a handler spawns starts at once, alongside the response, and nothing keeps track of it. [`TaskTracker`]
/// knows how many tasks there are, and can wait for them at a shutdown. A runner in addition
///
/// - starts a job when its response is over, and tells it how that ended;
/// - bounds how many jobs run and wait, and holds responses back or sheds jobs beyond that;
/// - gives jobs attempts, backoff and timeouts;
/// - counts every job exactly once, in [`stats`](Self::stats), and reports what happens to it to
///   [`on_event`](crate::RunnerBuilder::on_event);
/// - at a [`shutdown`](Self::shutdown) waits for jobs until a deadline, then stops and names the others.
///
/// Use `tokio::spawn` for work that the response waits for, and for work that has to start at once whatever the load.
/// Use `TaskTracker` for tasks that live as long as the process, such as listeners and tickers.
///
/// [`TaskTracker`]: https://docs.rs/tokio-util/latest/tokio_util/task/task_tracker/struct.TaskTracker.html
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    semaphore: Semaphore<Arc<dyn Jobs>>,
    capacity: Capacity,
    counters: Counters,
    is_surrounding: bool,
    lanes: Lanes,
    uniques: Uniques,
    drain: Drain,
    /// Every list that exists, for a shutdown to find.
    register: Mutex<Slab<Weak<dyn Jobs>>>,
    /// Whether a task lets held responses through.
    ushered: AtomicBool,
}

/// What a runner is made from.
pub(crate) struct Config {
    pub(crate) state: TypeMap,
    pub(crate) hooks: Hooks,
    pub(crate) outcomes: Option<Arc<Outcomes>>,
    pub(crate) arounds: Vec<Around>,
    pub(crate) watchdog: Option<Arc<Watchdog>>,
    pub(crate) queue: Option<Arc<dyn Queue>>,
    pub(crate) max_running: usize,
    pub(crate) max_pending: usize,
    pub(crate) overflow: Overflow,
    pub(crate) push_timeout: Duration,
    /// Where a recorder keeps its lists; only the `list` module knows the type. Weak, because the lists hold their runner:
    /// the recorder keeps them alive.
    pub(crate) recorded: Option<Weak<dyn Any + Send + Sync>>,
}

impl Runner {
    pub(crate) fn new(mut config: Config) -> Self {
        if config.recorded.is_some() {
            // A recorder keeps jobs that find no room.
            config.overflow = Overflow::Wait;
        }
        Self {
            inner: Arc::new(Inner {
                semaphore: Semaphore::new(config.max_running),
                capacity: Capacity::new(config.max_pending),
                counters: Counters::default(),
                is_surrounding: !config.arounds.is_empty() || config.watchdog.is_some(),
                lanes: Lanes::default(),
                uniques: Uniques::default(),
                drain: Drain::new(),
                register: Mutex::new(Slab::new()),
                ushered: AtomicBool::new(false),
                config,
            }),
        }
    }

    /// Returns how many jobs are pending and running, and how the others ended.
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot()
    }

    /// Returns for how long the job that waits longest could have run: its response is over, and its delay if it has one. Not
    /// counted are jobs between two attempts.
    ///
    /// `None` if no job waits, or if the runner has neither a hook nor the feature `metrics`: nothing notes the time then.
    /// Looks at every request that has jobs, so call it from time to time rather than for each request.
    pub fn oldest_pending(&self) -> Option<Duration> {
        let now = Stamp::now();
        let oldest = self.lists().iter().filter_map(|list| list.oldest_ready(now)).min();
        oldest.map(|oldest| now.since(oldest))
    }

    /// Returns how much of its bounds it uses.
    pub fn load(&self) -> Load {
        let config = &self.inner.config;
        Load {
            running: usize::try_from(self.stats().running).unwrap_or(usize::MAX),
            max_running: config.max_running,
            waiting: self.capacity().taken(),
            max_pending: config.max_pending,
            held_responses: self.capacity().held(),
            is_closing: self.drain().is_closing(),
        }
    }

    /// Returns how far a job has got, or how it has ended: for a client that asks from time to time. A lookup in a map.
    ///
    /// `None` if the id is unknown, if the job ended too long ago, or if the runner was not told to
    /// [`keep_outcomes`](crate::RunnerBuilder::keep_outcomes). Only jobs of this runner are known: those that a worker runs
    /// elsewhere are known to the [queue](crate::InspectQueue::status).
    ///
    /// ```
    /// use defer_core::{JobStatus, Runner, defer_fn, scope};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let runner = Runner::builder().keep_outcomes(10_000).build();
    /// let mut id = None;
    /// let list = scope(&runner, async { id = Some(defer_fn(|_| async {}).id()) });
    /// list.await;
    /// let id = id.unwrap(); // given to the client, who asks later
    /// runner.idle().await;
    /// assert_eq!(runner.status(id), Some(JobStatus::Succeeded));
    /// # }
    /// ```
    pub fn status(&self, id: JobId) -> Option<JobStatus> {
        self.inner.config.outcomes.as_ref()?.get(id)
    }

    /// Returns the jobs that run now, in no order.
    ///
    /// Looks at every request that has jobs, so call it from time to time rather than for each request.
    pub fn running(&self) -> Vec<RunningJob> {
        let mut running = Vec::new();
        self.lists().iter().for_each(|list| list.add_running(&mut running));
        running
    }

    /// Returns how many jobs have not ended, by their names: those that run, that wait, and that the queue is being asked to
    /// take. It looks at all of them, so it takes longer the more there are.
    pub fn unfinished(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        self.lists().iter().for_each(|list| list.count_unfinished(&mut counts));
        counts
    }

    /// Says that a shutdown will follow, so that [`closing`](Self::closing) completes. Jobs go on as before.
    ///
    /// `defer_axum::serve` does this at its signal.
    pub fn announce_shutdown(&self) {
        self.drain().announce();
    }

    /// Waits until a shutdown is [announced](Self::announce_shutdown), or begins. Completes at once if that has happened.
    ///
    /// Use it to end streams that would otherwise go on for ever and keep a graceful shutdown waiting: server-sent events,
    /// long polls, WebSockets.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped, it changes nothing.
    pub async fn closing(&self) {
        self.drain().closing().await;
    }

    /// Waits until every job that was deferred so far, and every job that those defer, has ended. This includes the jobs
    /// of requests whose response is not over.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped, it changes nothing.
    pub async fn idle(&self) {
        self.inner.counters.idle().await;
    }

    pub(crate) fn state(&self) -> &TypeMap {
        &self.inner.config.state
    }

    pub(crate) fn watchdog(&self) -> Option<&Arc<Watchdog>> {
        self.inner.config.watchdog.as_ref()
    }

    /// Returns whether anything is to be done around its jobs.
    #[inline]
    pub(crate) fn is_surrounding(&self) -> bool {
        self.inner.is_surrounding
    }

    pub(crate) fn arounds(&self) -> &[Around] {
        &self.inner.config.arounds
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.inner.config.hooks
    }

    /// Returns its queue, if it has one.
    pub fn queue(&self) -> Option<&dyn Queue> {
        self.inner.config.queue.as_deref()
    }

    /// Returns how long a push to the queue may take.
    pub(crate) fn push_timeout(&self) -> Duration {
        self.inner.config.push_timeout
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.inner.config.overflow
    }

    pub(crate) fn semaphore(&self) -> &Semaphore<Arc<dyn Jobs>> {
        &self.inner.semaphore
    }

    pub(crate) fn capacity(&self) -> &Capacity {
        &self.inner.capacity
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.inner.lanes
    }

    pub(crate) fn uniques(&self) -> &Uniques {
        &self.inner.uniques
    }

    pub(crate) fn drain(&self) -> &Drain {
        &self.inner.drain
    }

    pub(super) fn ushered(&self) -> &AtomicBool {
        &self.inner.ushered
    }

    /// Returns whether lists are kept for a recorder rather than run.
    pub(crate) fn is_recording(&self) -> bool {
        self.inner.config.recorded.is_some()
    }

    /// Returns where the recorder keeps its lists, while it exists.
    #[cfg(feature = "testing")]
    pub(crate) fn recorded<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.inner.config.recorded.as_ref()?.upgrade()?.downcast().ok()
    }

    /// Registers a list, and returns the key that unregisters it.
    pub(crate) fn register(&self, list: Weak<dyn Jobs>) -> usize {
        lock(&self.inner.register).insert(list)
    }

    pub(crate) fn unregister(&self, key: usize) {
        lock(&self.inner.register).try_remove(key);
    }

    pub(super) fn lists(&self) -> Vec<Arc<dyn Jobs>> {
        let register = lock(&self.inner.register);
        register.iter().filter_map(|(_, list)| list.upgrade()).collect()
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("state", self.state())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

//! The runner.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::load::Load;
use crate::{
    list::{
        engine::{Config, Engine},
        list::JobList,
        panic_hook,
        report::RunningJob,
    },
    model::{id::JobId, status::JobStatus},
    observe::stats::Stats,
    primitives::timestamp::Timestamp,
    run::batch::Hurry,
    store::Queue,
};

/// Runs deferred jobs. Bounds how many run, isolates them from each other's errors and panics, and accounts for each of them.
///
/// The jobs of one request run one after another, in the order in which they were deferred, except for concurrent ones. Jobs of
/// different requests run at the same time, up to [`max_running`](crate::RunnerBuilder::max_running). Jobs run on the Tokio
/// runtime of the request that deferred them. An idle runner has no tasks, and no thread except the one of
/// [`stuck_after`](crate::RunnerBuilder::stuck_after).
///
/// Cloning is cheap: a clone refers to the same runner.
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
/// A task that a handler spawns starts immediately, alongside the response, and nothing keeps track of it. [`TaskTracker`]
/// counts tasks and can wait for them at a shutdown. In addition, a runner
///
/// - starts a job when its response is over, and tells the job how the response ended;
/// - bounds how many jobs run and wait, and holds responses or sheds jobs beyond that;
/// - retries jobs with backoff, and enforces timeouts;
/// - counts every job exactly once, in [`stats`](Self::stats), and reports its events to
///   [`on_event`](crate::RunnerBuilder::on_event);
/// - waits for jobs at a [`shutdown`](Self::shutdown) until a deadline, then stops and reports the others.
///
/// Use `tokio::spawn` for work that the response waits for, and for work that has to start immediately regardless of the load.
/// Use `TaskTracker` for tasks that live as long as the process, such as listeners and tickers.
///
/// [`TaskTracker`]: https://docs.rs/tokio-util/latest/tokio_util/task/task_tracker/struct.TaskTracker.html
#[derive(Clone)]
pub struct Runner {
    pub(crate) engine: Arc<Engine<JobList>>,
}

static GLOBAL: OnceLock<Runner> = OnceLock::new();

impl Runner {
    pub(super) fn new(config: Config) -> Self {
        panic_hook::install();
        Self { engine: Engine::new(config) }
    }

    /// Returns the process-wide runner, which `DeferLayer::default()` and calls outside a scope use. It has no state, unless it
    /// was installed with [`RunnerBuilder::install_global`](crate::RunnerBuilder::install_global).
    pub fn global() -> Self {
        GLOBAL.get_or_init(Self::default).clone()
    }

    /// Returns the [global](Self::global) runner, if anything has used or installed it.
    pub fn global_if_used() -> Option<Self> {
        GLOBAL.get().cloned()
    }

    /// Makes this the global runner. Returns false if there already is one.
    pub(super) fn install(&self) -> bool {
        GLOBAL.set(self.clone()).is_ok()
    }

    /// Returns its queue, if it has one.
    pub fn queue(&self) -> Option<&dyn Queue> {
        self.engine.queue()
    }

    /// Returns a key that identifies this runner and its clones for as long as it exists.
    pub fn key(&self) -> usize {
        Arc::as_ptr(&self.engine).addr()
    }

    /// Returns the numbers of pending and running jobs, and the outcomes of the others.
    pub fn stats(&self) -> Stats {
        self.engine.counters.snapshot()
    }

    /// Returns how long the oldest ready job has waited. A job is ready when its response is over, and so is its delay if it
    /// has one. Jobs between two attempts do not count, except a job that snoozed in its first attempt.
    ///
    /// Returns `None` if no job waits, or if the runner has neither a hook nor the feature `metrics`: it does not record times
    /// then. This call looks at every request that has jobs, so call it periodically rather than for each request.
    pub fn oldest_pending(&self) -> Option<Duration> {
        let now = Timestamp::now();
        let oldest = self.engine.lists().iter().filter_map(|list| list.oldest_ready(now)).min();
        oldest.map(|oldest| now.since(oldest))
    }

    /// Returns how much of its limits the runner uses.
    pub fn load(&self) -> Load {
        let Engine { config, capacity, shutdown, .. } = &*self.engine;
        Load {
            running: usize::try_from(self.stats().running).unwrap_or(usize::MAX),
            max_running: config.max_running,
            waiting: capacity.taken(),
            max_pending: config.max_pending,
            held_responses: capacity.held(),
            shutdown_announced: shutdown.is_announced(),
        }
    }

    /// Returns the status of a job, for a client that polls.
    ///
    /// If the runner [keeps outcomes](crate::RunnerBuilder::keep_outcomes), this is a lookup in a map. If the runner does not
    /// know the job, or if the job went to the queue, it asks the [queue](crate::queue::InspectQueue::status), which also knows
    /// the jobs of other processes.
    ///
    /// Returns `None` if neither knows the id, for example because the job ended too long ago. If the queue cannot be reached,
    /// returns what the runner knows itself: `None`, or [`Queued`](JobStatus::Queued).
    ///
    /// For a job that was dropped by [`unique`](crate::Deferred::unique), returns [`Duplicate`](JobStatus::Duplicate) with the
    /// id of the job that runs in its place.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
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
    /// assert_eq!(runner.status(id).await, Some(JobStatus::Succeeded));
    /// # }
    /// ```
    pub async fn status(&self, id: JobId) -> Option<JobStatus> {
        let known = self.engine.outcomes().and_then(|outcomes| outcomes.get(id));
        if known.as_ref().is_some_and(|known| *known != JobStatus::Queued) {
            return known;
        }
        match self.queue().and_then(|queue| queue.inspect()) {
            Some(queue) => queue.status(id).await.ok().flatten().or(known),
            None => known,
        }
    }

    /// Returns the jobs that are running now, in no particular order.
    ///
    /// Looks at every request that has jobs, so call it from time to time rather than for each request.
    pub fn running(&self) -> Vec<RunningJob> {
        let mut running = Vec::new();
        self.engine.lists().iter().for_each(|list| list.add_running(&mut running));
        running
    }

    /// Returns how many jobs have not ended, by name: running jobs, waiting jobs, and jobs on their way to the queue. This call
    /// looks at each of them, so its cost grows with their number.
    pub fn count_by_name(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        self.engine.lists().iter().for_each(|list| list.count_by_name(&mut counts));
        counts
    }

    /// Announces that a shutdown will follow: [`shutdown_announced`](Self::shutdown_announced) completes. Jobs are not
    /// affected.
    ///
    /// `defer_axum::serve` does this at its signal.
    pub fn announce_shutdown(&self) {
        self.engine.shutdown.announce();
    }

    /// Waits until a shutdown is [announced](Self::announce_shutdown), or begins. Completes immediately if that has happened
    /// already.
    ///
    /// Use it to end streams that would otherwise keep a graceful shutdown waiting: server-sent events, long polls, WebSockets.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped, it changes nothing.
    pub async fn shutdown_announced(&self) {
        self.engine.shutdown.announced().await;
    }

    /// Waits until every job that was deferred so far, and every job that those defer, has ended. This includes the jobs of
    /// requests whose response is not over. A durable job that goes through its queue counts as ended here; to run those from a
    /// command, use the worker's `run_until_empty`.
    ///
    /// Meanwhile no [batch](crate::BatchJob) waits for more jobs.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped, it changes nothing.
    pub async fn idle(&self) {
        let _hurry = self.hurry();
        self.engine.counters.idle().await;
    }

    /// Keeps batches from waiting for more jobs until this is dropped. For a worker that cannot take any more.
    #[doc(hidden)]
    pub fn hurry(&self) -> Hurry {
        Hurry::new(&self.engine)
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.engine, f)
    }
}

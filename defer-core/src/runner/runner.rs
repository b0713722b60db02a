//! The runner, as users see it.

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
        report::RunningJob,
    },
    model::{id::JobId, status::JobStatus},
    observe::stats::Stats,
    primitives::timestamp::Timestamp,
    run::batch::Hurry,
    store::Queue,
};

/// Runs deferred jobs: bounded, isolated from each other's errors and panics, and each accounted for.
///
/// One request's jobs run one after another, in the order deferred, apart from concurrent ones. Those of different requests
/// run at the same time, up to [`max_running`](crate::RunnerBuilder::max_running). Jobs run on the Tokio runtime of the
/// request that deferred them. An idle runner has no tasks, and no thread but that of
/// [`stuck_after`](crate::RunnerBuilder::stuck_after).
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
    pub(crate) engine: Arc<Engine<JobList>>,
}

static GLOBAL: OnceLock<Runner> = OnceLock::new();

impl Runner {
    pub(super) fn new(config: Config) -> Self {
        Self { engine: Engine::new(config) }
    }

    /// Returns the process-wide runner, which `DeferLayer::default()` and calls outside of a scope use. It has no state,
    /// unless [`RunnerBuilder::install_global`](crate::RunnerBuilder::install_global) has installed another.
    pub fn global() -> Self {
        GLOBAL.get_or_init(Self::default).clone()
    }

    /// Returns the [global](Self::global) runner, if anything has used or installed it.
    pub fn global_if_used() -> Option<Self> {
        GLOBAL.get().cloned()
    }

    /// Makes this the global runner. Returns whether there was none.
    pub(super) fn install(&self) -> bool {
        GLOBAL.set(self.clone()).is_ok()
    }

    /// Returns its queue, if it has one.
    pub fn queue(&self) -> Option<&dyn Queue> {
        self.engine.queue()
    }

    /// Returns what tells this runner and its clones from others, for as long as it exists.
    pub fn key(&self) -> usize {
        Arc::as_ptr(&self.engine).addr()
    }

    /// Returns how many jobs are pending and running, and how the others ended.
    pub fn stats(&self) -> Stats {
        self.engine.counters.snapshot()
    }

    /// Returns how long the oldest ready job has waited: its response is over, and so is its delay if it has one. Jobs between
    /// two attempts are not counted, except one that asked for its first attempt to be made later.
    ///
    /// `None` if no job waits, or if the runner has neither a hook nor the feature `metrics`: nothing notes the time then.
    /// Looks at every request that has jobs, so call it from time to time rather than for each request.
    pub fn oldest_pending(&self) -> Option<Duration> {
        let now = Timestamp::now();
        let oldest = self.engine.lists().iter().filter_map(|list| list.oldest_ready(now)).min();
        oldest.map(|oldest| now.since(oldest))
    }

    /// Returns how much of its bounds it uses.
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

    /// Returns how far a job has got, or how it has ended: for a client that asks from time to time.
    ///
    /// What this runner knows is a lookup in a map, if it was told to [`keep_outcomes`](crate::RunnerBuilder::keep_outcomes). Of a
    /// job that it does not know, or that went to the queue, the [queue](crate::queue::InspectQueue::status) is asked, which knows
    /// those that run in other processes.
    ///
    /// `None` if the id is unknown to both, or if the job ended too long ago. If the queue cannot be reached, this is what the
    /// runner knows by itself: `None`, or [`Queued`](JobStatus::Queued).
    ///
    /// A job that was left out by [`unique`](crate::Deferred::unique) is a [`Duplicate`](JobStatus::Duplicate), with the id of the
    /// job that runs in its place.
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

    /// Returns the jobs that run now, in no order.
    ///
    /// Looks at every request that has jobs, so call it from time to time rather than for each request.
    pub fn running(&self) -> Vec<RunningJob> {
        let mut running = Vec::new();
        self.engine.lists().iter().for_each(|list| list.add_running(&mut running));
        running
    }

    /// Returns how many jobs have not ended, by their names: those that run, that wait, and that the queue is being asked to
    /// take. Looks at all of them, so it takes longer the more there are.
    pub fn count_by_name(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        self.engine.lists().iter().for_each(|list| list.count_by_name(&mut counts));
        counts
    }

    /// Announces that a shutdown will follow, so that [`shutdown_announced`](Self::shutdown_announced) completes. Jobs go on as
    /// before.
    ///
    /// `defer_axum::serve` does this at its signal.
    pub fn announce_shutdown(&self) {
        self.engine.shutdown.announce();
    }

    /// Waits until a shutdown is [announced](Self::announce_shutdown), or begins. Completes at once if that has happened.
    ///
    /// Use it to end streams that would otherwise never end and keep a graceful shutdown waiting: server-sent events,
    /// long polls, WebSockets.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped, it changes nothing.
    pub async fn shutdown_announced(&self) {
        self.engine.shutdown.announced().await;
    }

    /// Waits until every job that was deferred so far, and every job that those defer, has ended. This includes the jobs
    /// of requests whose response is not over. A durable job that went through its queue has ended here: a command runs those with its
    /// worker's `run_until_empty`.
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

    /// Lets no batch wait for more jobs, until this is dropped: for a worker that can take none.
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

//! The worker.

use std::{collections::BTreeMap, fmt, future::Future, marker::PhantomData, time::Duration};

use defer_core::{BoxError, BoxFuture, Deferrable, Runner, queue::RunWorker};
use riverqueue::{
    ClientBuilder, MaintenanceConfig, QUEUE_NUM_WORKERS_MAX, QueueConfig, RunHandle, Workers,
    tokio_util::sync::CancellationToken,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::attempt::{Args, OfType, SPARE};
use crate::{error::Error, queue::RiverQueue};

/// How often River's leader looks for attempts whose process died.
const RESCUE_EVERY: Duration = Duration::from_secs(5);
/// How long River may take to stop the jobs that are left, and to write that.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// How often a worker that runs until nothing is left asks.
const ASK_EVERY: Duration = Duration::from_millis(50);

impl RiverQueue {
    /// Creates a worker that runs jobs on this runner. Add the types that it takes with [`job`](Worker::job).
    pub fn worker(&self, runner: Runner) -> Worker {
        Worker {
            queue: self.clone(),
            runner,
            types: BTreeMap::new(),
            concurrency: 64,
            drain_timeout: Duration::from_secs(10),
            job_timeout: Duration::from_secs(3600),
            margin: Duration::from_secs(60),
            is_follower: false,
            configure: Box::new(|river| river),
        }
    }
}

/// Runs jobs of a queue on a runner, by a client of River's. Returned by [`RiverQueue::worker`].
///
/// It only takes the types that you add with [`job`](Self::job).
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    queue: RiverQueue,
    runner: Runner,
    types: BTreeMap<&'static str, Type>,
    concurrency: usize,
    drain_timeout: Duration,
    job_timeout: Duration,
    margin: Duration,
    is_follower: bool,
    configure: Box<dyn FnOnce(ClientBuilder) -> ClientBuilder + Send>,
}

/// A type of jobs.
struct Type {
    type_name: &'static str,
    names: Vec<&'static str>,
    timeout: Option<Duration>,
    add: fn(&mut Workers, &Worker, Duration, &CancellationToken) -> Result<(), riverqueue::Error>,
}

impl Worker {
    /// Also takes jobs of this type, under its name and its earlier names.
    ///
    /// # Panics
    ///
    /// If the type cannot be read from a queue (derive `Deserialize`), or if another type of the worker has one of its names.
    #[track_caller]
    pub fn job<J: Deferrable>(mut self) -> Self {
        assert!(
            J::DECODE.is_some(),
            "`{}` cannot be read from a queue: derive `Deserialize` for it",
            J::NAME
        );
        let names: Vec<_> = std::iter::once(&J::NAME).chain(J::ALIASES).copied().collect();
        let type_name = std::any::type_name::<J>();
        for other in self.types.values().filter(|other| other.type_name != type_name) {
            let name = names.iter().find(|name| other.names.contains(name));
            assert!(name.is_none(), "two types of this worker are named `{}`", name.unwrap_or(&""));
        }
        let of_type = Type { type_name, names, timeout: J::POLICY.timeout(), add: add::<J> };
        self.types.insert(J::NAME, of_type);
        self.runner.add_job::<J>();
        self
    }

    /// Sets how many jobs it has at the same time (64 by default; at least 1, at most 10,000). The
    /// [runner](defer_core::RunnerBuilder::max_running) decides how many of them run. The others wait for a place there, where no
    /// other process can take them, so have few more than can run.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs.clamp(1, QUEUE_NUM_WORKERS_MAX);
        self
    }

    /// Sets how long it waits for its jobs when it stops (10 s by default). It then stops the remaining jobs, and makes them
    /// available to others.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Sets how long an attempt of a type without a timeout may take: an hour by default. One that takes longer is stopped, and
    /// runs again. Five seconds later River takes it for dead.
    pub fn job_timeout(mut self, timeout: Duration) -> Self {
        self.job_timeout = timeout.max(Duration::from_secs(1));
        self
    }

    /// Sets how much longer than its type's timeout an attempt may take (a minute by default): it may have waited for a place on
    /// the runner. One that has waited for longer is given back and taken again, which is no attempt. This much longer does a job
    /// wait after a crash, and five seconds.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Keeps the worker from becoming River's leader, which makes scheduled jobs available, finds those of dead processes, and
    /// deletes old ones. Another client on the database must be able to lead.
    ///
    /// Call it if the worker does not take all types that are in the database: a leader of River's **discards** jobs of dead
    /// processes whose type it does not know.
    pub fn without_leader_election(mut self) -> Self {
        self.is_follower = true;
        self
    }

    /// Configures River's client further, for example with periodic jobs or workers for other queues. It is called when the
    /// worker starts, after everything else was set.
    pub fn river(mut self, configure: impl FnOnce(ClientBuilder) -> ClientBuilder + Send + 'static) -> Self {
        self.configure = Box::new(configure);
        self
    }

    /// Runs jobs until the signal completes. Then it stops taking jobs, waits for those that it has, and returns once it has
    /// stored how they ended.
    ///
    /// # Errors
    ///
    /// If a type's name is not a kind of River's, which has 1 to 127 bytes, or if River's client cannot go on. A database that is
    /// temporarily unreachable is not such an error.
    ///
    /// # Cancel safety
    ///
    /// If dropped, it stops taking jobs. Those that it has are stopped, and made available to others.
    pub async fn run_until(self, signal: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut working = self.start()?;
        tokio::select! {
            // Only after an error, because nobody else can stop it.
            ended = working.handle.wait() => return Ok(ended?),
            () = signal => {}
        }
        working.stop().await
    }

    /// Runs jobs until no job of its types waits or runs, including delayed and retried jobs, and except jobs of paused types.
    /// Use it in tests, and in commands that work off the stored jobs.
    ///
    /// # Errors
    ///
    /// See [`run_until`](Self::run_until), and if the database fails.
    ///
    /// # Cancel safety
    ///
    /// See [`run_until`](Self::run_until).
    pub async fn run_until_empty(self) -> Result<(), Error> {
        let names: Value = self.names().into_iter().map(Value::from).collect();
        let queue = self.queue.clone();
        let mut working = self.start()?;
        loop {
            if !queue.is_left(&names).await? {
                // A job that another has deferred may be on its way.
                queue.engine.written().await;
                if !queue.is_left(&names).await? {
                    break;
                }
            }
            tokio::select! {
                ended = working.handle.wait() => return Ok(ended?),
                // Polled: other processes may end the last job, and notify nobody.
                () = sleep(ASK_EVERY) => {}
            }
        }
        working.stop().await
    }

    fn names(&self) -> Vec<&'static str> {
        self.types.values().flat_map(|of_type| of_type.names.iter().copied()).collect()
    }

    fn start(mut self) -> Result<Working, Error> {
        let (mut workers, stopping) = (Workers::new(), CancellationToken::new());
        let mut soonest = self.job_timeout;
        for of_type in self.types.values() {
            let limit =
                of_type.timeout.map_or(self.job_timeout, |timeout| timeout.saturating_add(self.margin));
            soonest = soonest.min(limit);
            (of_type.add)(&mut workers, &self, limit, &stopping)?;
        }
        let maintenance = MaintenanceConfig::default()
            // The earliest at which any may be dead. Each type's own limit is asked then.
            .with_rescue_after(soonest.saturating_add(SPARE))
            .with_rescuer_interval(RESCUE_EVERY);
        let mut river = self
            .queue
            .engine
            .database
            .river()
            .workers(workers)
            .queue(&*self.queue.engine.settings.queue, QueueConfig::new(self.concurrency))
            .fetch_only_known_kinds(true)
            // Each type has its own limit.
            .without_job_timeout()
            .job_stuck_threshold(STOP_WITHIN)
            .maintenance(maintenance);
        if self.is_follower {
            river = river.without_leader_election();
        }
        let configure = std::mem::replace(&mut self.configure, Box::new(|river| river));
        let handle = configure(river).build()?.start()?;
        Ok(Working { handle, stopping, drain_timeout: self.drain_timeout })
    }
}

fn add<J: Deferrable>(
    workers: &mut Workers,
    worker: &Worker,
    limit: Duration,
    stopping: &CancellationToken,
) -> Result<(), riverqueue::Error> {
    let of_type = OfType::<J> {
        runner: worker.runner.clone(),
        engine: worker.queue.engine.clone(),
        limit,
        stopping: stopping.clone(),
        of: PhantomData,
    };
    workers.add::<Args<J>, _>(of_type).map(drop)
}

/// A client of River's that works. Dropped, it stops its jobs.
struct Working {
    handle: RunHandle,
    stopping: CancellationToken,
    drain_timeout: Duration,
}

impl Working {
    /// Stops taking jobs, and waits for those that it has.
    async fn stop(mut self) -> Result<(), Error> {
        if let Ok(stopped) = timeout(self.drain_timeout, self.handle.stop()).await {
            return Ok(stopped?);
        }
        self.stopping.cancel();
        match timeout(STOP_WITHIN * 2, self.handle.stop_and_cancel()).await {
            Ok(stopped) => Ok(stopped?),
            Err(_) => Err(Error::Store("the ends of some jobs are not stored: they run again".into())),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // Before the handle is, which stops River's client.
        self.stopping.cancel();
    }
}

impl RunWorker for Worker {
    fn runner(&self) -> Option<Runner> {
        Some(self.runner.clone())
    }

    fn run(self: Box<Self>, stop: BoxFuture<'static, ()>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move { Ok((*self).run_until(stop).await?) })
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("types", &self.names())
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

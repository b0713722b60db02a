//! Shared by the scenarios: exploring schedules, and recording what happened to each job.

#![allow(dead_code, reason = "no file uses all of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use defer_shuttle::{
    BoxError, BoxFuture, Deferrable, Job, JobContext, JobId, JobResult, Policy, Runner, RunnerBuilder, Stats,
    event::JobEventKind,
    queue::{Envelope, Queue},
};
use shuttle::scheduler::{PctScheduler, RandomScheduler};

/// A grace period that may end at any time.
pub(crate) const SHORT: Duration = Duration::from_secs(1);
/// A grace period that never ends.
pub(crate) const LONG: Duration = Duration::from_secs(100_000);

/// Plays a scenario in random schedules. Half of them are uniformly random, and half give threads random priorities that
/// change a few times (PCT). They are the same ones each time.
///
/// `SHUTTLE_ITERATIONS` sets their number, and `SHUTTLE_RANDOM_SEED` the seed. A failure prints its schedule. To replay it, run
/// the test by name with that in `SHUTTLE_SCHEDULE`.
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    const SEED: u64 = 17;
    /// The sources have statics, and each belongs to one schedule at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(schedule) = std::env::var("SHUTTLE_SCHEDULE") {
        return shuttle::replay(scenario, &schedule);
    }
    let iterations = std::env::var("SHUTTLE_ITERATIONS").ok();
    let iterations = iterations.map_or(300, |iterations| iterations.parse().expect("a number"));
    let scenario = Arc::new(scenario);
    let mut config = shuttle::Config::new();
    config.stack_size = 0x4_0000;
    for depth in [None, Some(2), Some(4)] {
        let scenario = scenario.clone();
        let iterations: usize = if depth.is_some() { iterations / 4 } else { iterations / 2 };
        let scenario = move || scenario();
        match depth {
            None => {
                let random = RandomScheduler::new_from_seed(SEED, iterations);
                shuttle::Runner::new(random, config.clone()).run(scenario);
            }
            Some(depth) => {
                let pct = PctScheduler::new_from_seed(SEED, depth, iterations);
                shuttle::Runner::new(pct, config.clone()).run(scenario);
            }
        }
    }
}

/// Runs a future on a thread of the schedule.
pub(crate) fn on_thread<F>(future: F) -> shuttle::thread::JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    shuttle::thread::spawn(move || shuttle::future::block_on(future))
}

pub(crate) fn join<T>(threads: impl IntoIterator<Item = shuttle::thread::JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
}

/// The events of each job.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    deferred: BTreeSet<JobId>,
    started: BTreeMap<JobId, u32>,
    retried: u64,
    ended: BTreeMap<JobId, Vec<&'static str>>,
}

impl Record {
    /// Returns a builder of a runner whose events go into this record.
    pub(crate) fn runner(&self) -> RunnerBuilder {
        let record = self.clone();
        Runner::builder().on_event(move |event| {
            let mut record = record.0.lock().expect("no hook panics");
            let id = event.id();
            let ended = match event.kind() {
                JobEventKind::Deferred => {
                    record.deferred.insert(id);
                    return;
                }
                JobEventKind::Started => {
                    *record.started.entry(id).or_default() += 1;
                    return;
                }
                JobEventKind::Retrying { .. } => {
                    record.retried += 1;
                    return;
                }
                JobEventKind::QueueFailed { .. } => return,
                JobEventKind::Succeeded { .. } => "succeeded",
                JobEventKind::Failed { .. }
                | JobEventKind::Panicked { .. }
                | JobEventKind::TimedOut { .. } => "failed",
                JobEventKind::Skipped => "skipped",
                JobEventKind::Cancelled | JobEventKind::Duplicate { .. } => "cancelled",
                JobEventKind::Shed => "shed",
                JobEventKind::Queued => "queued",
                JobEventKind::Abandoned => "abandoned",
                other => unreachable!("{other:?}"),
            };
            record.ended.entry(id).or_default().push(ended);
        })
    }

    /// Returns the jobs that ended this way.
    pub(crate) fn ended(&self, how: &str) -> BTreeSet<JobId> {
        let record = self.0.lock().expect("no hook panics");
        record.ended.iter().filter(|(_, ends)| ends[..] == [how]).map(|(id, _)| *id).collect()
    }

    /// Returns the number of attempts that a job has started.
    pub(crate) fn attempts(&self, id: JobId) -> u32 {
        self.0.lock().expect("no hook panics").started.get(&id).copied().unwrap_or(0)
    }

    /// Checks that nothing is left, that each job ended once, and that the runner's counts match the events.
    pub(crate) fn check(&self, runner: &Runner, jobs: usize) -> Stats {
        let stats = runner.stats();
        let record = self.0.lock().expect("no hook panics");
        assert_eq!(record.deferred.len(), jobs, "all were deferred");
        assert_eq!(record.ended.keys().copied().collect::<BTreeSet<_>>(), record.deferred, "each has ended");
        assert!(record.ended.values().all(|ends| ends.len() == 1), "more than once: {:?}", record.ended);
        let count = |how| record.ended.values().filter(|ends| ends[..] == [how]).count() as u64;
        let mut expected = Stats::default();
        expected.deferred = jobs as u64;
        expected.retried = record.retried;
        expected.succeeded = count("succeeded");
        expected.failed = count("failed");
        expected.skipped = count("skipped");
        expected.cancelled = count("cancelled");
        expected.shed = count("shed");
        expected.queued = count("queued");
        expected.abandoned = count("abandoned");
        assert_eq!(stats, expected);
        drop(record);
        // A task that has ended its job, or was stopped, returns what it holds a little later.
        while tokio::task::alive() > 0 {
            shuttle::thread::yield_now();
        }
        assert_eq!(runner.load().waiting, 0, "all room was given back");
        stats
    }
}

/// The number of running jobs, and the order in which jobs started.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Ran>>);

#[derive(Default)]
struct Ran {
    now: usize,
    most: usize,
    /// The jobs that started, each by the numbers of its request and of the job.
    began: Vec<(usize, usize)>,
}

impl Running {
    /// Runs a job of a request, and yields to others meanwhile.
    pub(crate) async fn run(&self, request: usize, job: usize) {
        {
            let mut ran = self.ran();
            ran.now += 1;
            ran.most = ran.most.max(ran.now);
            ran.began.push((request, job));
        }
        shuttle::future::yield_now().await;
        self.ran().now -= 1;
    }

    /// Returns the largest number of jobs that ran at once.
    pub(crate) fn most(&self) -> usize {
        self.ran().most
    }

    /// Returns the jobs of a request in the order in which they started.
    pub(crate) fn of(&self, request: usize) -> Vec<usize> {
        self.ran().began.iter().filter(|(of, _)| *of == request).map(|(_, job)| *job).collect()
    }

    fn ran(&self) -> MutexGuard<'_, Ran> {
        self.0.lock().expect("no job panics here")
    }
}

type Work = Box<dyn Fn(JobContext) -> BoxFuture<'static, JobResult> + Send + Sync>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $policy:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name(Work);

        impl $name {
            /// Defines a job with this body.
            pub(crate) fn job<F>(work: impl Fn(JobContext) -> F + Send + Sync + 'static) -> Self
            where
                F: Future<Output = JobResult> + Send + 'static,
            {
                Self(Box::new(move |cx| Box::pin(work(cx))))
            }
        }

        impl Job for $name {
            async fn run(&self, cx: &JobContext) -> JobResult {
                (self.0)(cx.clone()).await
            }
        }

        impl Deferrable for $name {
            const NAME: &'static str = stringify!($name);
            const POLICY: Policy = $policy;
            const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, BoxError>> =
                if Self::POLICY.is_queued() { Some(|_| Ok(b"null".to_vec())) } else { None };
        }
    )*};
}

kinds! {
    /// Has three attempts.
    Thrice = Policy::new().with_tries(3).with_backoff(SHORT, SHORT);
    /// May time out.
    Limited = Policy::new().with_timeout(SHORT);
    /// Goes to the queue.
    Queued = Policy::new().with_queue();
    /// Runs alone among its type.
    Alone = Policy::new().with_max_running(1);
    /// Runs concurrently with the others of its request.
    Beside = Policy::new().with_concurrent();
}

/// A queue whose pushes succeed or fail after a while. It stores each job once, even if it is pushed again.
#[derive(Clone, Default)]
pub(crate) struct Pushes(Arc<Mutex<BTreeSet<JobId>>>);

impl Pushes {
    /// Returns the stored jobs.
    pub(crate) fn taken(&self) -> BTreeSet<JobId> {
        self.0.lock().expect("no push panics").clone()
    }
}

impl Queue for Pushes {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        use shuttle::rand::{Rng, thread_rng};
        Box::pin(async move {
            for _ in 0..thread_rng().gen_range(0..3) {
                shuttle::future::yield_now().await;
            }
            if thread_rng().gen_range(0..3) == 0 {
                return Err("the disk is full".into());
            }
            self.0.lock().expect("no push panics").extend(jobs.iter().map(|job| job.id));
            Ok(())
        })
    }
}

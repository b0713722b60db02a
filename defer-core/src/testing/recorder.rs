//! The recorder and its jobs.

use std::{
    any::TypeId,
    fmt,
    sync::{Arc, Mutex},
};

use crate::{
    job::job::Deferrable,
    list::{list::JobList, recording::Recording},
    observe::{
        event::{JobEvent, JobEventKind},
        stats::Final,
    },
    primitives::sync::lock,
    run::recorded::Recorded,
    runner::{Runner, RunnerBuilder},
};

/// Records deferred jobs instead of running them.
///
/// A recorder only sees the jobs of its own runner, so tests can run in parallel. Jobs are recorded immediately: you do not
/// have to read the response body. Predicates can use the recorder too.
///
/// Among jobs with the same [unique](crate::Deferred::unique) key, the first one stays and the others are duplicates, as if all
/// responses were over.
///
/// The recorder keeps all jobs, without a limit and without holding responses. When its last clone is dropped, jobs that have
/// not run are dropped too, and counted as abandoned.
///
/// # Panics
///
/// Deferring a durable job panics if the job cannot be serialized as JSON and read back.
///
/// ```
/// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, defer, scope, testing::Recorder};
/// # struct SendWelcome { to: String }
/// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
/// # impl Deferrable for SendWelcome { const NAME: &'static str = "SendWelcome"; const POLICY: Policy = Policy::new(); }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let recorder = Recorder::new();
/// recorder.assert_nothing_deferred();
/// scope(recorder.runner(), async {
///     defer(SendWelcome { to: "ada@example.com".into() });
/// })
/// .await;
/// recorder.assert_deferred::<SendWelcome>(|job| job.to == "ada@example.com");
/// recorder.run_all_ok().await;
/// assert_eq!(recorder.runner().stats().succeeded, 1);
/// # }
/// ```
#[derive(Clone)]
pub struct Recorder {
    pub(super) runner: Runner,
    pub(super) recording: Arc<Recording>,
    /// The final events of jobs that failed, were shed or were abandoned.
    pub(super) failures: Arc<Mutex<Vec<JobEvent>>>,
    /// The number of jobs that had been deferred on the global runner before.
    pub(super) elsewhere: u64,
}

impl Recorder {
    /// Creates a recorder with a default runner.
    pub fn new() -> Self {
        Self::with(Runner::builder())
    }

    /// Creates a recorder from this builder, to [run](Self::run_all) jobs with state, limits and hooks.
    pub fn with(runner: RunnerBuilder) -> Self {
        let recording = Arc::<Recording>::default();
        let failures = Arc::<Mutex<Vec<JobEvent>>>::default();
        let (noted, counts) = (failures.clone(), Arc::downgrade(&recording));
        let runner = runner.on_event(move |event| {
            let kind = event.kind();
            if is_failure(&kind) {
                lock(&noted).push(event.clone());
            }
            if let (JobEventKind::Snoozed { .. }, Some(recording)) = (kind, counts.upgrade()) {
                recording.snoozed(event.name(), event.id());
            }
        });
        let runner = runner.recording(&recording).build();
        Self { runner, recording, failures, elsewhere: deferred_on_global() }
    }

    /// Makes delays, backoffs and snoozes elapse immediately from now on. Unlike Tokio's paused clock, it does not affect other
    /// timers, such as those of a database pool.
    ///
    /// Jobs run in the order in which they would start if each wait were over immediately. Jobs, events and [`Recorded::delay`]
    /// still show the original wait.
    pub fn skip_waits(&self) {
        self.recording.skip_waits();
    }

    /// Fakes this type from now on: [`run_all`](Self::run_all) does not run its jobs, only the others. When the turn of a faked
    /// job comes, after its condition and its delay, it counts as succeeded, and stays recorded.
    ///
    /// ```
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, defer, scope, testing::Recorder};
    /// # struct ChargeCard;
    /// # impl Job for ChargeCard { async fn run(&self, _: &JobContext) -> JobResult { unreachable!() } }
    /// # impl Deferrable for ChargeCard { const NAME: &'static str = "ChargeCard"; const POLICY: Policy = Policy::new(); }
    /// # struct CloseOrder;
    /// # impl Job for CloseOrder { async fn run(&self, _: &JobContext) -> JobResult { defer(ChargeCard); Ok(()) } }
    /// # impl Deferrable for CloseOrder { const NAME: &'static str = "CloseOrder"; const POLICY: Policy = Policy::new(); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let recorder = Recorder::new();
    /// recorder.fake::<ChargeCard>();
    /// scope(recorder.runner(), async { defer(CloseOrder) }).await;
    /// recorder.run_all_ok().await; // closes the order, but charges no card
    /// recorder.assert_order(&["ChargeCard"]);
    /// # }
    /// ```
    pub fn fake<J: Deferrable>(&self) {
        self.recording.fake(TypeId::of::<J>());
    }

    /// Returns the runner whose jobs are recorded.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Returns the jobs that were deferred and have not run, in the order in which they were deferred, across all types and
    /// requests. Cancelled jobs and jobs that have started are not included.
    ///
    /// They are ordered by id: a job gets the next id of the process when it is deferred. If two threads defer jobs at the same
    /// time, either job may come first.
    ///
    /// ```
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, defer, scope};
    /// # use defer_core::{Condition, testing::Recorder};
    /// # use std::time::Duration;
    /// # struct Remind { cart: u32 }
    /// # impl Job for Remind { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for Remind { const NAME: &'static str = "Remind"; const POLICY: Policy = Policy::new(); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let recorder = Recorder::new();
    /// scope(recorder.runner(), async {
    ///     defer(Remind { cart: 42 }).key("cart:42").delay(Duration::from_secs(3600)).on_success();
    /// })
    /// .await;
    /// let recorded = recorder.recorded();
    /// let [remind] = &recorded[..] else { panic!("one job is deferred") };
    /// assert_eq!(remind.job::<Remind>().map(|job| job.cart), Some(42));
    /// assert_eq!(remind.key(), Some("cart:42"));
    /// assert_eq!(remind.delay(), Some(Duration::from_secs(3600)));
    /// assert_eq!(remind.condition(), Condition::Success);
    /// # }
    /// ```
    pub fn recorded(&self) -> Vec<Recorded> {
        self.recording.jobs().into_iter().map(Recorded::new).collect()
    }

    /// Returns the values that `see` returns for recorded jobs of type `J`.
    pub(super) fn pick<J: Deferrable, T>(&self, see: impl Fn(&J) -> Option<T>) -> Vec<T> {
        self.recorded().iter().filter_map(|recorded| see(recorded.job()?)).collect()
    }

    pub(super) fn lists(&self) -> Vec<Arc<JobList>> {
        self.recording.lists()
    }

    /// Returns copies of the jobs of type `J` that were deferred and have not run, in the order of [`recorded`](Self::recorded).
    pub fn deferred<J: Deferrable + Clone>(&self) -> Vec<J> {
        self.pick(|job: &J| Some(job.clone()))
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.recorded().iter().map(Recorded::name).collect()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// Lists the names of the jobs that were deferred and have not run, in the order of [`Recorder::recorded`].
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Returns the number of jobs deferred on the global runner.
pub(super) fn deferred_on_global() -> u64 {
    Runner::global_if_used().map_or(0, |global| global.stats().deferred)
}

/// Returns whether a job that ends with this event failed, or was dropped without being cancelled.
fn is_failure(event: &JobEventKind) -> bool {
    matches!(event.final_count(), Some(Final::Failed | Final::Shed | Final::Abandoned))
}

//! The recorder, and what it has recorded.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use crate::{
    job::job::Deferrable,
    list::list::{JobList, RecordedLists},
    observe::{
        event::{JobEvent, JobEventKind},
        stats::Final,
    },
    primitives::sync::lock,
    run::recorded::{Recorded, recorded},
    runner::{Runner, RunnerBuilder},
};

/// Records deferred jobs instead of running them.
///
/// A recorder sees the jobs of its own runner only, so tests can run in parallel. Jobs are recorded at once: you need not
/// read the response's body. Predicates may use the recorder too.
///
/// The recorder keeps what it records, without a bound and without holding responses back. When its last clone is dropped,
/// the jobs that have not run are dropped too, and are counted as abandoned.
///
/// # Panics
///
/// Deferring panics if the job is of a queued type and does not survive JSON.
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
    recorded: Arc<RecordedLists>,
    /// How the jobs ended that failed, were shed or were abandoned.
    pub(super) failures: Arc<Mutex<Vec<JobEvent>>>,
}

impl Recorder {
    /// Creates a recorder with a default runner.
    pub fn new() -> Self {
        Self::with(Runner::builder())
    }

    /// Creates a recorder from this builder, for a [`run_all`](Self::run_all) with state, bounds and hooks.
    pub fn with(runner: RunnerBuilder) -> Self {
        let recorded = Arc::default();
        let failures = Arc::<Mutex<Vec<JobEvent>>>::default();
        let noted = failures.clone();
        let runner = runner.on_event(move |event| {
            if is_failure(&event.kind()) {
                lock(&noted).push(event.clone());
            }
        });
        Self { runner: runner.recording(&recorded).build(), recorded, failures }
    }

    /// Returns the runner whose jobs are recorded.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Returns the jobs that were deferred and have not run, in the order in which they were deferred, whatever their types and
    /// requests. Jobs that were cancelled or have started are not among them.
    ///
    /// The order is that of their ids: a job gets the next id of the process when it is deferred. Of two jobs that are
    /// deferred at the same time on two threads either may be the first.
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
        let mut recorded: Vec<_> = self.lists().iter().flat_map(|list| recorded(list)).collect();
        recorded.sort_by_key(Recorded::id);
        recorded
    }

    /// Returns what `see` picks from the recorded jobs of type `J`.
    pub(super) fn pick<J: Deferrable, T>(&self, see: impl Fn(&J) -> Option<T>) -> Vec<T> {
        self.recorded().iter().filter_map(|recorded| see(recorded.job()?)).collect()
    }

    /// Returns a copy, because a user's predicate may use the recorder.
    pub(super) fn lists(&self) -> Vec<Arc<JobList>> {
        lock(&self.recorded).clone()
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

/// Returns whether a job that ends with this event failed, or was dropped without being cancelled.
fn is_failure(event: &JobEventKind) -> bool {
    matches!(event.final_count(), Some(Final::Failed | Final::Shed | Final::Abandoned))
}

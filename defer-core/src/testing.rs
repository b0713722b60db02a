//! Tests what was deferred. Requires the feature `testing`.

use std::{any::type_name, fmt, sync::Arc};

use crate::{
    builder::RunnerBuilder,
    job::Deferrable,
    list::{JobList, Recorded},
    response::ResponseInfo,
    runner::Runner,
    sync::lock,
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
/// recorder.run_all().await;
/// assert_eq!(recorder.runner().stats().succeeded, 1);
/// # }
/// ```
#[derive(Clone)]
pub struct Recorder {
    runner: Runner,
    recorded: Arc<Recorded>,
}

impl Recorder {
    /// Creates a recorder with a default runner.
    pub fn new() -> Self {
        Self::with(Runner::builder())
    }

    /// Creates a recorder from this builder, for a [`run_all`](Self::run_all) with state, bounds and hooks.
    pub fn with(runner: RunnerBuilder) -> Self {
        let recorded = Arc::default();
        Self { runner: runner.recording(&recorded).build(), recorded }
    }

    /// Returns the runner whose jobs are recorded.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Returns what `see` picks from the jobs of type `J`, in the order deferred within each request. Jobs that were
    /// cancelled or have run are not among them.
    fn pick<J: Deferrable, T>(&self, see: impl Fn(&J) -> Option<T>) -> Vec<T> {
        let mut picked = Vec::new();
        for list in self.lists() {
            let jobs = list.inspect().into_iter().filter_map(|(_, job)| job);
            picked.extend(jobs.filter_map(|job| see(job.downcast_ref()?)));
        }
        picked
    }

    /// Returns a copy, because a user's predicate may use the recorder.
    fn lists(&self) -> Vec<Arc<JobList>> {
        lock(&self.recorded).clone()
    }

    /// Returns copies of the jobs of type `J` that were deferred and have not run.
    pub fn deferred<J: Deferrable + Clone>(&self) -> Vec<J> {
        self.pick(|job: &J| Some(job.clone()))
    }

    /// Asserts that some deferred job of type `J` satisfies `predicate`.
    ///
    /// # Panics
    ///
    /// If there is none. The message lists what was deferred.
    #[track_caller]
    pub fn assert_deferred<J: Deferrable>(&self, predicate: impl Fn(&J) -> bool) {
        let matching = self.pick(|job: &J| predicate(job).then_some(())).len();
        if matching == 0 {
            let of_type = self.pick(|_: &J| Some(())).len();
            let name = type_name::<J>();
            panic!(
                "no `{name}` that matches was deferred ({of_type} of that type did not match); deferred: {self:?}"
            );
        }
    }

    /// Asserts that exactly `times` jobs of type `J` were deferred.
    ///
    /// # Panics
    ///
    /// If there are more or fewer. The message lists what was deferred.
    #[track_caller]
    pub fn assert_deferred_times<J: Deferrable>(&self, times: usize) {
        let found = self.pick(|_: &J| Some(())).len();
        if found != times {
            panic!("{found} `{}` deferred, not {times}; deferred: {self:?}", type_name::<J>());
        }
    }

    /// Asserts that nothing was deferred.
    ///
    /// # Panics
    ///
    /// If something was. The message lists it.
    #[track_caller]
    pub fn assert_nothing_deferred(&self) {
        if !self.names().is_empty() {
            panic!("something was deferred: {self:?}");
        }
    }

    /// Asserts that no deferred job of type `J` satisfies `predicate`.
    ///
    /// # Panics
    ///
    /// If there is one. The message lists what was deferred.
    #[track_caller]
    pub fn assert_not_deferred<J: Deferrable>(&self, predicate: impl Fn(&J) -> bool) {
        let matching = self.pick(|job: &J| predicate(job).then_some(())).len();
        if matching > 0 {
            panic!("{matching} `{}` deferred that match; deferred: {self:?}", type_name::<J>());
        }
    }

    /// Runs the recorded jobs as if this response had ended, and asks their conditions about it. Waits as
    /// [`run_all`](Self::run_all) does. Jobs whose own response is already over see that one instead.
    ///
    /// # Cancel safety
    ///
    /// If dropped, the jobs go on.
    ///
    /// ```
    /// # use defer_core::{Delivery, ResponseInfo, defer_fn, scope, testing::Recorder};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let recorder = Recorder::new();
    /// let list = scope(recorder.runner(), async {
    ///     defer_fn(|_| async {}).on_success();
    /// });
    /// list.await;
    /// recorder.run_all_after(ResponseInfo::new(Delivery::Disconnected)).await;
    /// assert_eq!(recorder.runner().stats().skipped, 1);
    /// # }
    /// ```
    pub async fn run_all_after(&self, response: ResponseInfo) {
        for list in self.lists() {
            list.set_response(response.clone());
        }
        self.run_all().await;
    }

    /// Runs the recorded jobs that have not run, in the order deferred within each request, and waits for them and for the
    /// jobs that they defer. You need not have read the responses. See [`Runner::stats`] for how the jobs ended.
    ///
    /// # Cancel safety
    ///
    /// If dropped, the jobs go on.
    pub async fn run_all(&self) {
        for list in self.lists() {
            list.release_now();
        }
        self.runner.idle().await;
    }

    fn names(&self) -> Vec<&'static str> {
        self.lists().iter().flat_map(|list| list.inspect()).map(|(name, _)| name).collect()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// Lists the names of the jobs that were deferred and have not run.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

//! Seeing in a test what was deferred. With the feature `testing`.

use std::{
    any::type_name,
    fmt,
    sync::{Arc, Mutex},
};

use crate::{
    job::Deferrable,
    runner::{Batch, Runner, RunnerBuilder},
    sync::lock,
};

/// Records deferred jobs instead of running them.
///
/// Each recorder sees the jobs of its own runner alone, so that tests in parallel do not see each other's. What was
/// deferred can be asked for at once, before the response's body was read. Predicates may ask the recorder too.
///
/// The recorder keeps what it records, without a bound and without holding a response back. When its last clone is
/// dropped, what has not run is dropped too, and counts as abandoned.
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
    recorded: Arc<Mutex<Vec<Arc<Batch>>>>,
}

impl Recorder {
    /// A recorder with nothing recorded.
    pub fn new() -> Self {
        Self::with(Runner::builder())
    }

    /// A recorder whose [`run_all`](Self::run_all) runs jobs on the runner that this makes: with state, bounds and
    /// hooks.
    pub fn with(runner: RunnerBuilder) -> Self {
        let recorded = Arc::default();
        Self { runner: runner.recording(&recorded).build(), recorded }
    }

    /// The runner that collects for this recorder.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// The jobs of type `J` that `see` picks something from, in the order deferred within each request. A job that
    /// was cancelled or has run is not among them.
    fn pick<J: Deferrable, T>(&self, see: impl Fn(&J) -> Option<T>) -> Vec<T> {
        let mut picked = Vec::new();
        for batch in self.batches() {
            let jobs = batch.inspect().into_iter().filter_map(|(_, job)| job);
            picked.extend(jobs.filter_map(|job| see(job.downcast_ref()?)));
        }
        picked
    }

    /// A copy: whoever looks at the jobs may ask the recorder meanwhile.
    fn batches(&self) -> Vec<Arc<Batch>> {
        lock(&self.recorded).clone()
    }

    /// Copies of the jobs of type `J` that were deferred and have not run.
    pub fn deferred<J: Deferrable + Clone>(&self) -> Vec<J> {
        self.pick(|job: &J| Some(job.clone()))
    }

    /// Checks that a job of type `J` was deferred for which `predicate` is true.
    ///
    /// # Panics
    ///
    /// If there is none; the message says what was deferred instead.
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

    /// Checks that exactly `times` jobs of type `J` were deferred.
    ///
    /// # Panics
    ///
    /// If there are more or fewer; the message says what was deferred instead.
    #[track_caller]
    pub fn assert_deferred_times<J: Deferrable>(&self, times: usize) {
        let found = self.pick(|_: &J| Some(())).len();
        if found != times {
            panic!("{found} `{}` deferred, not {times}; deferred: {self:?}", type_name::<J>());
        }
    }

    /// Checks that nothing was deferred.
    ///
    /// # Panics
    ///
    /// If something was; the message says what.
    #[track_caller]
    pub fn assert_nothing_deferred(&self) {
        if !self.names().is_empty() {
            panic!("something was deferred: {self:?}");
        }
    }

    /// Runs what was recorded and has not run, in the order deferred within each request, and waits for it and for
    /// what it defers. Responses need not have been read. Look at [`Runner::stats`] for how the jobs ended.
    pub async fn run_all(&self) {
        for batch in self.batches() {
            batch.start();
        }
        self.runner.idle().await;
    }

    fn names(&self) -> Vec<&'static str> {
        self.batches().iter().flat_map(|batch| batch.inspect()).map(|(name, _)| name).collect()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// The names of the jobs that were deferred and have not run.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

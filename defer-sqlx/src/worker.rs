//! The worker, which takes due jobs and runs them on a runner.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc, time::Duration};

use defer_core::{
    __private::read_stored,
    BoxError, BoxFuture, Deferrable, JobId, Runner,
    queue::{End, Lease, Metadata, Ready, Resume, RunWorker},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};

use crate::{
    engine::{Owner, response},
    error::Error,
    queue::SqlxQueue,
    store::Taken,
};

/// The interval at which a worker looks for jobs that other processes have made ready, if the database sends no notifications.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time limit for the queue to store the ends of jobs, after they have ended or were stopped.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);
/// A full worker waits this long for more free places before it takes jobs for those that are free.
const TAKE_EVERY: Duration = Duration::from_millis(10);
/// The wait after the database did not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// A stored job that cannot be read waits this long for another version of the program, and then fails.
const UNREADABLE_FOR: Duration = Duration::from_secs(24 * 3600);

impl SqlxQueue {
    /// Creates a worker that runs jobs on this runner. Add the types that it takes with [`job`](Worker::job).
    pub fn worker(&self, runner: Runner) -> Worker {
        Worker::new(self.clone(), runner)
    }
}

/// Takes jobs from a queue, and runs them on a runner. Returned by [`SqlxQueue::worker`].
///
/// It only takes the types that you add with [`job`](Self::job). While it runs, jobs of these types that this process defers
/// run here, after their response and in their order, without going through the queue.
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    queue: SqlxQueue,
    runner: Runner,
    types: BTreeMap<&'static str, OfType>,
    concurrency: usize,
    drain_timeout: Duration,
}

/// The reason why a job could not be resumed, and its lease.
type Resumed = Result<(), (String, Arc<dyn Lease>)>;

/// A job type that the worker takes.
struct OfType {
    resume: fn(&Runner, &[u8], Resume, Arc<dyn Lease>) -> Resumed,
    type_name: &'static str,
}

impl Worker {
    pub(crate) fn new(queue: SqlxQueue, runner: Runner) -> Self {
        Self {
            queue,
            runner,
            types: BTreeMap::new(),
            concurrency: 64,
            drain_timeout: Duration::from_secs(10),
        }
    }

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
        for name in std::iter::once(&J::NAME).chain(J::ALIASES) {
            let of_type = OfType { resume: resume::<J>, type_name: std::any::type_name::<J>() };
            let before = self.types.insert(name, of_type);
            let is_same = before.is_none_or(|before| before.type_name == std::any::type_name::<J>());
            assert!(is_same, "two types of this worker are named `{name}`");
        }
        self.runner.add_job::<J>();
        self
    }

    /// Sets how many jobs it has at the same time (64 by default; at least 1). The
    /// [runner](defer_core::RunnerBuilder::max_running) decides how many of them run.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets how long it waits for its jobs when it stops (10 s by default). It then stops the remaining jobs, and leaves them
    /// to other processes.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Runs jobs until the signal completes. Then it stops taking jobs, waits for those that it has, and returns once it has
    /// stored how they ended.
    ///
    /// # Errors
    ///
    /// If the ends could not be stored within two seconds. Other processes then run these jobs again.
    ///
    /// # Cancel safety
    ///
    /// If dropped, it stops taking jobs. The jobs that it has go on.
    pub async fn run_until(self, signal: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let (stop, stopped) = watch::channel(false);
        let work = self.start(stopped, false);
        tokio::pin!(work);
        tokio::select! {
            ended = &mut work => return ended,
            () = signal => {}
        }
        stop.send_replace(true);
        work.await
    }

    /// Runs jobs until no job of its types waits or runs, including delayed and retried jobs. Use it in tests, and in commands
    /// that work off the stored jobs.
    ///
    /// The ends are stored by then. A hook may hear of the last ones a moment later: [`Runner::idle`] waits for that too.
    ///
    /// # Errors
    ///
    /// See [`run_until`](Self::run_until).
    pub async fn run_until_empty(self) -> Result<(), Error> {
        let (_stop, stopped) = watch::channel(false);
        self.start(stopped, true).await
    }

    /// Starts working on the queue's own runtime, so that a user's runtime cannot hold it up.
    fn start(
        self,
        stopped: watch::Receiver<bool>,
        until_empty: bool,
    ) -> BoxFuture<'static, Result<(), Error>> {
        let owner = self.queue.owner().clone();
        let working = Working::new(self, Handle::current(), stopped);
        Box::pin(async move { owner.run(Box::pin(working.work(until_empty))).await? })
    }
}

/// Reads a job and runs it.
fn resume<J: Deferrable>(runner: &Runner, payload: &[u8], resume: Resume, lease: Arc<dyn Lease>) -> Resumed {
    let job = match read_stored::<J>(payload) {
        Ok(job) => job,
        Err(error) => return Err((error, lease)),
    };
    runner.resume_leased(job, resume, lease.clone()).map_err(|error| (error.to_string(), lease))
}

/// A running worker.
struct Working {
    worker: Worker,
    /// The runtime on which the jobs run.
    runtime: Handle,
    stopped: watch::Receiver<bool>,
    /// Has one permit for each job.
    places: Arc<Semaphore>,
    names: Arc<[String]>,
}

impl Working {
    fn new(worker: Worker, runtime: Handle, stopped: watch::Receiver<bool>) -> Self {
        let names = worker.types.keys().map(|name| (*name).to_owned()).collect();
        let places = Arc::new(Semaphore::new(worker.concurrency));
        Self { worker, runtime, stopped, places, names }
    }

    fn owner(&self) -> &Arc<Owner> {
        self.worker.queue.owner()
    }

    async fn work(mut self, until_empty: bool) -> Result<(), Error> {
        let registered = self.owner().engine().workers.add(self.worker.runner.key(), self.names.clone());
        while !self.is_stopped() {
            if self.take_all(until_empty).await {
                break;
            }
        }
        drop(registered);
        self.drain().await
    }

    /// Returns whether to stop taking jobs, because the worker's future was told to stop or was dropped.
    fn is_stopped(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    async fn stopped(stopped: &mut watch::Receiver<bool>) {
        // An error means that the future was dropped.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Takes jobs while some are due and places are free, and waits when they are not. With `until_empty`, returns whether no job
    /// waits or runs.
    async fn take_all(&mut self, until_empty: bool) -> bool {
        let owner = self.owner().clone();
        let engine = owner.engine();
        // Created before the look, so that no job that is made ready from here on is missed.
        let ready = engine.ready();
        tokio::pin!(ready);
        ready.as_mut().enable();
        let due = engine.due();
        let free = self.places.available_permits();
        if free == 0 {
            tokio::select! {
                () = Self::some_ended(&self.places, self.worker.concurrency) => {}
                () = Self::stopped(&mut self.stopped) => {}
            }
            return false;
        }
        let count = match engine.take(&self.names, free).await {
            Ok(taken) => {
                let count = taken.len();
                taken.into_iter().for_each(|job| self.begin(&job));
                count
            }
            Err(error) => {
                tracing::warn!(target: "defer", %error, "the worker could not take jobs from the queue");
                tokio::time::sleep(PAUSE).await;
                return false;
            }
        };
        if count == free {
            return false;
        }
        if count == 0 && until_empty && self.is_empty().await {
            return true;
        }
        tokio::select! {
            () = ready => {}
            () = due => {}
            () = engine.store().notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = Self::stopped(&mut self.stopped) => {}
            // A job that ended may have kept others from running.
            () = Self::all_ended(&self.places, self.worker.concurrency), if count > 0 => {}
        }
        false
    }

    /// Waits until several jobs have ended. One take for each of them would cost more than the jobs.
    async fn some_ended(places: &Semaphore, concurrency: usize) {
        drop(places.acquire().await);
        let some = u32::try_from(concurrency / 2).unwrap_or(u32::MAX).max(1);
        drop(tokio::time::timeout(TAKE_EVERY, places.acquire_many(some)).await);
    }

    async fn all_ended(places: &Semaphore, concurrency: usize) {
        let all = u32::try_from(concurrency).unwrap_or(u32::MAX);
        drop(places.acquire_many(all).await);
    }

    fn begin(&self, job: &Taken) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let Some(lease) = self.owner().lease(job, place) else { return };
        let id: JobId = match job.id.parse() {
            Ok(id) => id,
            Err(_) => return,
        };
        let metadata: Metadata = serde_json::from_str(&job.metadata).unwrap_or_default();
        let attempts = u32::try_from(job.attempts).unwrap_or_default();
        let mut resume = Resume::new(id, attempts, metadata);
        resume.response = response(job.outcome.as_deref(), job.status);
        resume.waited = Duration::from_millis(u64::try_from(job.waited).unwrap_or_default());
        let result = match self.worker.types.get(&*job.name) {
            Some(of_type) => {
                let _entered = self.runtime.enter();
                (of_type.resume)(&self.worker.runner, job.payload.as_bytes(), resume, lease)
            }
            None => Err((format!("no type of this worker is named `{}`", job.name), lease)),
        };
        if let Err((error, lease)) = result {
            put_aside(job, &error, &*lease);
        }
    }

    /// Returns whether no job of its types waits or runs.
    async fn is_empty(&self) -> bool {
        if self.places.available_permits() < self.worker.concurrency {
            return false;
        }
        self.owner().written().await;
        matches!(self.owner().engine().store().next_due(self.names.to_vec()).await, Ok(None))
    }

    /// Waits until the jobs have ended and their ends are stored.
    async fn drain(self) -> Result<(), Error> {
        let all = || Self::all_ended(&self.places, self.worker.concurrency);
        let owner = self.owner();
        if tokio::time::timeout(self.worker.drain_timeout, all()).await.is_err() {
            // This stops the jobs that are left, through their leases.
            owner.engine().stop_in_places(&self.places);
            if tokio::time::timeout(SETTLE_WITHIN, all()).await.is_err() {
                return Err(Error::Store(
                    "the ends of some jobs are not stored: others run these jobs again".into(),
                ));
            }
        }
        // The ends of its own jobs are stored by now. Other writes of the process may take long, so this wait has a limit.
        let _ = tokio::time::timeout(SETTLE_WITHIN, owner.written()).await;
        Ok(())
    }
}

/// Leaves a job that cannot be read to a later version of the program. This does not count as an attempt.
fn put_aside(job: &Taken, error: &str, lease: &dyn Lease) {
    let age = Duration::from_millis(u64::try_from(job.age).unwrap_or_default());
    let (id, name) = (&job.id, &job.name);
    let end = if age >= UNREADABLE_FOR {
        tracing::error!(target: "defer", job = name, id, error, "job failed: no process could read it for a day");
        End::Failed { error: error.to_owned() }
    } else {
        let delay = age.clamp(Duration::from_secs(30), Duration::from_secs(600));
        tracing::warn!(target: "defer", job = name, id, error, ?delay, "a stored job cannot be read, and waits");
        End::Ready(Ready { delay, ..Ready::default() })
    };
    drop(lease.settle(end, Vec::new()));
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
            .field("types", &self.types.keys())
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use defer_core::{
        Job, JobContext, JobResult, Policy,
        queue::{Envelope, Settle, Settled, Start, Stop},
    };
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Note {
        number: u32,
    }

    impl Job for Note {
        async fn run(&self, _: &JobContext) -> JobResult {
            panic!("{} is not to run", self.number)
        }
    }

    impl Deferrable for Note {
        const NAME: &'static str = "Note";
        const POLICY: Policy = Policy::new();
        const DECODE: Option<fn(&[u8]) -> Result<Self, BoxError>> =
            Some(|payload| Ok(serde_json::from_slice(payload)?));
    }

    struct Unlimited;

    impl Lease for Unlimited {
        fn poll_start(&self, _: &mut Context<'_>) -> Poll<Start> {
            Poll::Ready(Start::Now)
        }

        fn poll_stopped(&self, _: &mut Context<'_>) -> Poll<Stop> {
            Poll::Pending
        }

        fn pass(&self) -> BoxFuture<'static, ()> {
            Box::pin(async {})
        }

        fn settle(&self, _: End, _: Vec<Envelope>) -> Settle {
            Settle { leases: Vec::new(), settled: Box::pin(async { Settled::Done }) }
        }
    }

    /// Returns why a payload is not a note.
    fn error_of(payload: &[u8]) -> Option<String> {
        let from = Resume::new(JobId::unique(), 0, Metadata::new());
        let resumed = resume::<Note>(&Runner::default(), payload, from, Arc::new(Unlimited));
        resumed.err().map(|(error, _)| error)
    }

    #[tokio::test]
    async fn a_stored_job_that_does_not_fit_is_named_without_what_it_holds() {
        for (payload, expected) in [
            (r#"{"number":"marker"}"#, "it does not fit the type at line 1 column 18 of its JSON"),
            (r#"{"text":"marker"}"#, "missing field `number` at line 1 column 17"),
            (r#"{"number":1,"number":2,"text":"marker"}"#, "it does not fit the type at line 1 column 20"),
            (r#"{"number":"marker"#, "EOF while parsing a string at line 1 column 17"),
        ] {
            let error = error_of(payload.as_bytes()).unwrap();
            assert!(
                error.starts_with("the stored job is not a `Note`: ") && error.contains(expected),
                "{error}"
            );
            assert!(!error.contains("marker"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_stored_bytes_are_a_job_or_an_error_that_names_its_type(
            payload in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "[{}\\[\\]:,\"a-z0-9]{0,40}".prop_map(String::into_bytes),
                "\\{\"number\":[0-9]{1,12}(,\"[a-z]{1,9}\":[0-9])?\\}".prop_map(String::into_bytes),
            ],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _entered = runtime.enter();
            let is_job = serde_json::from_slice::<Note>(&payload).is_ok();
            match error_of(&payload) {
                None => prop_assert!(is_job),
                Some(error) => prop_assert!(
                    !is_job && error.starts_with("the stored job is not a `Note`: "), "{}", error
                ),
            }
        }

        #[test]
        fn no_error_tells_what_a_stored_job_holds(
            marker in "[A-Z]{12}",
            json in prop_oneof![
                Just(r#"{"number":"S"}"#),
                Just(r#"{"number":["S"]}"#),
                Just(r#"{"number":{"S":"S"}}"#),
                Just(r#"{"S":"S"}"#),
                Just(r#"{"number":1,"number":"S"}"#),
                Just(r#"{"number":-1,"S":"S"}"#),
                Just(r#"{"number":1e99,"S":"S"}"#),
                Just(r#""S""#),
                Just(r#"["S","S"]"#),
                Just(r#"{"number":"S"#),
                Just("S"),
            ],
        ) {
            let error = error_of(json.replace('S', &marker).as_bytes()).unwrap();
            prop_assert!(!error.contains(&marker), "{}", error);
        }
    }
}

//! The worker, which runs the queue's jobs on a runner.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    time::Duration,
};

use defer_core::{
    Deferrable, JobId, Runner,
    queue::{Ran, Resume, Resumed, decode},
};
use serde::de::DeserializeOwned;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    error::Error,
    heartbeat::Heartbeat,
    queue::ApalisQueue,
    store::{Fate, Finished, NAME, Taken, answered},
};

/// How long a worker waits before it looks for jobs that became due or were pushed by another process.
const POLL: Duration = Duration::from_millis(500);
/// The longest wait after an error of the queue.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Runs a queue's jobs on a runner. Created by [`ApalisQueue::worker`].
#[must_use = "a worker does nothing until it is run"]
pub struct Worker {
    queue: ApalisQueue,
    runner: Runner,
    types: HashMap<&'static str, JobType>,
    /// A name that two types have.
    duplicate: Option<&'static str>,
    concurrency: usize,
    drain_timeout: Duration,
}

/// How to run the jobs of a type.
#[derive(Clone, Copy)]
struct JobType {
    tries: u32,
    resume: fn(&Runner, &[u8], Resume) -> Result<Resumed, String>,
}

impl ApalisQueue {
    /// Creates a worker, which runs the queue's jobs on this runner.
    pub fn worker(&self, runner: Runner) -> Worker {
        Worker {
            queue: self.clone(),
            runner,
            types: HashMap::new(),
            duplicate: None,
            concurrency: 32,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Worker {
    /// Runs jobs of this type, under its name and those that it had before (`#[defer(alias = "..")]`).
    ///
    /// A job whose name matches none of the types fails at once, and is listed in [`ApalisQueue::failed`]: add every type that
    /// is pushed.
    pub fn job<J: Deferrable + DeserializeOwned>(mut self) -> Self {
        let of_type = JobType { tries: J::POLICY.tries(), resume: resume::<J> };
        for name in J::ALIASES.iter().chain([&J::NAME]) {
            if self.types.insert(name, of_type).is_some() {
                self.duplicate = Some(name);
            }
        }
        self
    }

    /// Sets how many jobs the worker has at the same time (32 by default; at least 1). They run within the runner's bounds.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs.max(1);
        self
    }

    /// Sets how long a worker that stops waits for its jobs: 30 s by default. Those that have not ended by then are stopped, and
    /// another worker may run them at once.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Runs jobs until `signal` completes, and then takes no more and waits for those that it has.
    ///
    /// If the database or server is unreachable, the worker logs an error and goes on once it is back. It also logs an error
    /// if jobs have been due for a minute and it could not take any.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateName`] if two types have the same name.
    ///
    /// # Cancel safety
    ///
    /// If dropped, it stops its jobs. Other workers run them once this one has been silent for 9 s.
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Result<(), Error> {
        if let Some(name) = self.duplicate {
            return Err(Error::DuplicateName { name: name.to_owned() });
        }
        let mut signal = pin!(signal);
        let mut running = Running::new(self);
        tokio::select! {
            () = running.run() => {}
            () = &mut signal => {}
        }
        running.drain().await;
        Ok(())
    }
}

/// Runs a job of type `J`. The error is for the job's row.
fn resume<J: Deferrable + DeserializeOwned>(
    runner: &Runner,
    payload: &[u8],
    resume: Resume,
) -> Result<Resumed, String> {
    let job: J = match catch_unwind(AssertUnwindSafe(|| decode(payload))) {
        Ok(Ok(job)) => job,
        Ok(Err(error)) => {
            let reason = without_values(error.is_data(), error.to_string(), error.line(), error.column());
            return Err(format!("the stored job is not a `{}`: {reason}", J::NAME));
        }
        Err(_) => return Err(format!("reading the stored job panicked: it is not a `{}`", J::NAME)),
    };
    runner.resume(job, resume).map_err(|error| error.to_string())
}

/// Says why a stored job cannot be read, without what it holds: the error of a wrong type quotes the value.
fn without_values(is_data: bool, error: String, line: usize, column: usize) -> String {
    if !is_data || error.starts_with("missing field") {
        return error;
    }
    format!("it does not fit the type at line {line} column {column} of its JSON")
}

/// A worker that runs.
struct Running {
    worker: Worker,
    /// A unique name, so that it is not mistaken for a worker that died.
    name: String,
    jobs: JoinSet<Finished>,
    /// The ids of the jobs that it has, and of those that ended and whose row does not say so yet.
    ids: HashSet<String>,
    /// Jobs that ended and whose row does not say so yet.
    finished: Vec<Finished>,
    heartbeat: Option<Heartbeat>,
}

impl Running {
    fn new(worker: Worker) -> Self {
        let name = format!("defer-{}-{}", std::process::id(), JobId::unique());
        Self {
            worker,
            name,
            jobs: JoinSet::new(),
            ids: HashSet::new(),
            finished: Vec::new(),
            heartbeat: None,
        }
    }

    /// Runs jobs for ever. Cancel safe: jobs that were taken stay with the worker.
    async fn run(&mut self) {
        let mut backoff = Duration::from_millis(100);
        loop {
            let Err(error) = self.serve(&mut backoff).await else { continue };
            tracing::error!(target: "defer", worker = self.name, %error, "the queue failed, trying again");
            sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    /// Runs jobs until the queue fails.
    async fn serve(&mut self, backoff: &mut Duration) -> Result<(), Error> {
        let store = self.worker.queue.store.clone();
        if self.heartbeat.is_none() {
            answered(store.register(&self.name)).await?;
            answered(store.heartbeat(&self.name)).await?;
            self.heartbeat = Some(Heartbeat::start(store.clone(), self.name.clone()));
        }
        // After an error: jobs may have been taken whose answer was lost. Nobody else would ever free them.
        let ids: Vec<String> = self.ids.iter().cloned().collect();
        answered(store.release(&self.name, &ids)).await?;
        loop {
            self.write_finished().await?;
            let is_full = self.take().await?;
            *backoff = Duration::from_millis(100);
            let queue = &self.worker.queue;
            tokio::select! {
                Some(finished) = self.jobs.join_next() => self.finished.extend(finished.ok()),
                () = queue.pushed.notified(), if !is_full => {}
                () = queue.store.pushed(), if !is_full => {}
                () = sleep(POLL) => {}
            }
            while let Some(finished) = self.jobs.try_join_next() {
                self.finished.extend(finished.ok());
            }
        }
    }

    /// Takes jobs that are due, as many as fit. Returns whether the worker is full.
    async fn take(&mut self) -> Result<bool, Error> {
        loop {
            let free = self.worker.concurrency - self.jobs.len().min(self.worker.concurrency);
            if free == 0 {
                self.heartbeat.iter().for_each(Heartbeat::is_busy);
                return Ok(true);
            }
            // If this is dropped here, the jobs it took are given back when the worker is unregistered.
            let taken = answered(self.worker.queue.store.take(&self.name, free)).await?;
            let count = taken.len();
            if count > 0 {
                self.heartbeat.iter().for_each(Heartbeat::is_busy);
            }
            for job in taken {
                self.start(job);
            }
            if count < free {
                return Ok(false);
            }
        }
    }

    fn start(&mut self, job: Taken) {
        self.ids.insert(job.id.clone());
        let finished =
            |attempts, fate| Finished { id: job.id.clone(), attempts, max_attempts: job.max_attempts, fate };
        let name = job.metadata.get(NAME).map(String::as_str).unwrap_or_default();
        let Some(of_type) = self.worker.types.get(name) else {
            let error = format!(
                "no job type is named `{name}` here: give it to the worker with `.job::<..>()`, or declare its old name with \
                 `#[defer(alias = \"{name}\")]`"
            );
            tracing::error!(target: "defer", id = job.id, %error, "job failed");
            return self.finished.push(finished(job.attempts + 1, Fate::Failed { error }));
        };
        // A job whose worker died is run again, at least once.
        if job.attempts >= of_type.tries.max(2) {
            let error =
                format!("its worker died in each of {} attempts, or was silent too long", job.attempts);
            tracing::error!(target: "defer", name, id = job.id, %error, "job failed");
            return self.finished.push(finished(job.attempts, Fate::Failed { error }));
        }
        let resumed = job.id.parse().map_err(|_| "its id is not a job id".to_owned()).and_then(|id| {
            let resume = Resume::new(id, job.attempts, job.metadata.clone());
            (of_type.resume)(&self.worker.runner, &job.payload, resume)
        });
        match resumed {
            Ok(resumed) => {
                let released = finished(job.attempts, Fate::Release { delay: Duration::ZERO });
                self.jobs.spawn(ended(resumed, released));
            }
            Err(error) => {
                tracing::error!(target: "defer", name, id = job.id, %error, "job failed");
                self.finished.push(finished(job.attempts + 1, Fate::Failed { error }));
            }
        }
    }

    /// Notes in the queue which jobs ended. Those that it could not note are kept.
    async fn write_finished(&mut self) -> Result<(), Error> {
        if !self.finished.is_empty() {
            answered(self.worker.queue.store.finish(&self.name, &self.finished)).await?;
            for job in self.finished.drain(..) {
                self.ids.remove(&job.id);
            }
        }
        Ok(())
    }

    /// Waits for the jobs, stops those that have not ended in time, and gives them back.
    async fn drain(&mut self) {
        self.heartbeat.iter().for_each(Heartbeat::is_draining);
        let deadline = Instant::now() + self.worker.drain_timeout;
        while !self.jobs.is_empty() {
            tokio::select! {
                Some(finished) = self.jobs.join_next() => self.finished.extend(finished.ok()),
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        // Stops those that are left. Their rows still say that they are this worker's.
        self.jobs.shutdown().await;
        for attempt in 1..=3 {
            let written = match self.write_finished().await {
                Ok(()) => answered(self.worker.queue.store.unregister(&self.name)).await,
                Err(error) => Err(error),
            };
            let Err(error) = written else { break };
            tracing::error!(
                target: "defer", worker = self.name, attempt, %error,
                "the queue failed at the worker's end: others take its jobs once they find it dead"
            );
            sleep(Duration::from_millis(200)).await;
        }
        self.heartbeat = None;
    }
}

/// Waits for a job to end, and returns what to write to its row: `released` if it was stopped.
async fn ended(mut resumed: Resumed, released: Finished) -> Finished {
    let attempts = released.attempts + 1;
    let (attempts, fate) = match resumed.ran().await {
        Ran::Succeeded => (attempts, Fate::Done),
        Ran::Failed { error, .. } => (attempts, Fate::Failed { error: error.to_string() }),
        Ran::Retry { error, delay, .. } => (attempts, Fate::Retry { error: error.to_string(), delay }),
        Ran::Snoozed { delay, .. } => (released.attempts, Fate::Release { delay }),
        _ => return released,
    };
    Finished { attempts, fate, ..released }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("queue", &self.queue)
            .field("types", &self.types.keys())
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use defer_core::{Job, JobContext, JobId, JobResult, Policy, queue::Metadata};
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
    }

    #[tokio::test]
    async fn a_stored_job_that_does_not_fit_is_named_without_what_it_holds() {
        for (payload, expected) in [
            (r#"{"number":"marker"}"#, "it does not fit the type at line 1 column 18 of its JSON"),
            (r#"{"text":"marker"}"#, "missing field `number` at line 1 column 17"),
            (r#"{"number":1,"number":2,"text":"marker"}"#, "it does not fit the type at line 1 column 20"),
            (r#"{"number":"marker"#, "EOF while parsing a string at line 1 column 17"),
        ] {
            let resume = Resume::new(JobId::unique(), 0, Metadata::new());
            let error = super::resume::<Note>(&Runner::default(), payload.as_bytes(), resume).unwrap_err();
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
            let from = Resume::new(JobId::unique(), 0, Metadata::new());
            let resumed = resume::<Note>(&Runner::default(), &payload, from).map(drop);
            let is_job = serde_json::from_slice::<Note>(&payload).is_ok();
            match resumed {
                Ok(()) => prop_assert!(is_job),
                Err(error) => prop_assert!(!is_job && error.starts_with("the stored job is not a `Note`: "), "{}", error),
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
            let from = Resume::new(JobId::unique(), 0, Metadata::new());
            let payload = json.replace('S', &marker);
            let error = resume::<Note>(&Runner::default(), payload.as_bytes(), from).unwrap_err();
            prop_assert!(!error.contains(&marker), "{}", error);
        }
    }
}

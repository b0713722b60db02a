//! The handler, which an apalis worker calls with each message.

use std::{
    collections::BTreeMap,
    fmt,
    iter::once,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{
    error::{AbortError, BoxDynError},
    task::Task,
    worker::context::WorkerContext,
};
use defer_core::{
    __private::read_stored,
    BoxFuture, Deferrable, Delivery, JobId, ResponseInfo, Runner,
    queue::{Ran, Resume, Resumed},
};
use futures_util::{
    FutureExt as _,
    future::{Either, select},
};
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service;

use crate::{
    drain::{Drain, Intake},
    error::Error,
    message::Message,
    queue::ApalisQueue,
};

/// How long one push of the next message may take, and how often it is tried.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
const PUSHES: u32 = 5;
/// The first pause between them, which doubles.
const PUSH_PAUSE: Duration = Duration::from_millis(100);
/// How often a job that is not due looks whether its worker stops: apalis has nothing to wait for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a job stays away that a worker hands back because it stops or has no room: else it would take the job again. A storage that
/// counts whole seconds may give it back one second earlier, and a worker needs about 1.5 s to stop.
const AWAY: Duration = Duration::from_secs(4);
/// How long a job that could not be read waits, at first and at most, and how often it may: for about a day.
const UNREAD_PAUSE: Duration = Duration::from_secs(30);
const MAX_UNREAD_PAUSE: Duration = Duration::from_secs(600);
const MAX_UNREAD: u32 = 150;

/// Runs jobs on a runner: a [`Service`] for `WorkerBuilder::build` of apalis. Returned by
/// [`ApalisQueue::handler`](ApalisQueue::handler).
///
/// What it tells apalis is `Ok` or, for a job that has failed permanently, an [`AbortError`]. Any other error means that the
/// job's next message could not be pushed, or that the handler panicked, and leaves this message to the storage.
///
/// # Cancel safety
///
/// If apalis drops the future of a call, its job is stopped, and its task is not acknowledged.
#[derive(Clone)]
pub struct JobHandler {
    shared: Arc<Shared>,
    intake: Intake,
}

#[derive(Clone)]
struct Shared {
    queue: ApalisQueue,
    runner: Runner,
    types: BTreeMap<&'static str, OfType>,
    drain: Arc<Drain>,
}

#[derive(Clone)]
struct OfType {
    resume: fn(&Runner, &str, Resume) -> Result<Resumed, String>,
    type_name: &'static str,
}

impl ApalisQueue {
    /// Creates what runs jobs on this runner. Add the job types with [`job`](JobHandler::job), and give it to
    /// `WorkerBuilder::build` of apalis.
    pub fn handler(&self, runner: Runner) -> JobHandler {
        let shared = Shared { queue: self.clone(), runner, types: BTreeMap::new(), drain: Arc::default() };
        JobHandler { shared: Arc::new(shared), intake: Intake::default() }
    }
}

impl JobHandler {
    /// Also runs jobs of this type, under its name and its earlier names.
    ///
    /// # Panics
    ///
    /// If the type cannot be read from a queue (derive `Deserialize`), or if another type of the handler has one of its names.
    #[must_use]
    #[track_caller]
    pub fn job<J: Deferrable>(mut self) -> Self {
        assert!(
            J::DECODE.is_some(),
            "`{}` cannot be read from a queue: derive `Deserialize` for it",
            J::NAME
        );
        let shared = Arc::make_mut(&mut self.shared);
        for name in once(&J::NAME).chain(J::ALIASES) {
            let of_type = OfType { resume: resume::<J>, type_name: std::any::type_name::<J>() };
            let before = shared.types.insert(name, of_type);
            let is_same = before.is_none_or(|before| before.type_name == std::any::type_name::<J>());
            assert!(is_same, "two types of this handler are named `{name}`");
        }
        shared.runner.add_job::<J>();
        self
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.shared.runner
    }

    pub(crate) fn drain(&self) -> &Arc<Drain> {
        &self.shared.drain
    }
}

impl Service<Task<Message>> for JobHandler {
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.intake.poll_ready(cx, &self.shared.drain).map(Ok)
    }

    fn call(&mut self, task: Task<Message>) -> Self::Future {
        self.intake.taken();
        let shared = Arc::clone(&self.shared);
        let worker = task.data().get::<WorkerContext>().cloned();
        // A panic would end the worker and leave its tasks running (apalis-core 1.0.0).
        let handled = AssertUnwindSafe(async move { shared.handle(task.args, worker).await });
        Box::pin(async move {
            handled.catch_unwind().await.unwrap_or_else(|_| Err("the handler panicked".into()))
        })
    }
}

impl Shared {
    /// Runs one attempt.
    async fn handle(&self, mut message: Message, worker: Option<WorkerContext>) -> Result<(), BoxDynError> {
        let Some(_counted) = self.drain.begin() else { return self.leave(message).await };
        if !self.until_due(&message, worker).await {
            return self.hand_back(message).await;
        }
        let Ok(id) = message.id.parse() else {
            tracing::error!(target: "defer", job = %message.name, "a task in the storage is not a job");
            return Err(AbortError::new("the task is not a job").into());
        };
        let Some(_room) = self.drain.room() else { return self.push_next(message, AWAY).await };
        let mut resumed = match self.resume(id, &message) {
            Ok(resumed) => resumed,
            Err(why) => return self.put_back(message, &why).await,
        };
        message.unread = 0;
        match resumed.ran().await {
            Ran::Succeeded => Ok(()),
            Ran::Failed { error, .. } => Err(AbortError::new(error.to_string()).into()),
            Ran::Retry { delay, .. } => {
                message.attempts = message.attempts.saturating_add(1);
                self.push_next(message, delay).await
            }
            Ran::Snoozed { delay, .. } => self.push_next(message, delay).await,
            // It was stopped by a shutdown.
            _ => self.hand_back(message).await,
        }
    }

    /// Waits until the job is due: some storages know no delays, and others only whole seconds. Returns whether it is, or else its
    /// worker stops.
    async fn until_due(&self, message: &Message, worker: Option<WorkerContext>) -> bool {
        while let Some(left) = message.due_in() {
            if worker.as_ref().is_some_and(WorkerContext::is_shutting_down) {
                return false;
            }
            // Looks now and then, because apalis does not wake a task when its worker shuts down.
            let pause = pin!(sleep(left.min(LOOK_EVERY)));
            if let Either::Right(_) = select(pause, pin!(self.drain.closing())).await {
                return false;
            }
        }
        true
    }

    /// Leaves a job that a closing worker has taken to another one.
    async fn leave(&self, message: Message) -> Result<(), BoxDynError> {
        if let Some(left) = message.due_in() {
            // A storage that knows no delays would give it back at once, again and again.
            select(pin!(sleep(left.min(AWAY))), pin!(self.drain.sealed())).await;
        }
        let _counted = self.drain.hand_back();
        self.hand_back(message).await
    }

    /// Leaves a job to another worker, as the same attempt.
    async fn hand_back(&self, message: Message) -> Result<(), BoxDynError> {
        let left = message.due_in().unwrap_or_default();
        let away = if self.drain.is_closing() { AWAY } else { Duration::ZERO };
        self.push_next(message, left.max(away)).await
    }

    fn resume(&self, id: JobId, message: &Message) -> Result<Resumed, String> {
        let of_type = self.types.get(&*message.name).ok_or("its type is not known here")?;
        let mut resume = Resume::new(id, message.attempts, message.metadata.clone());
        let status = message.status.and_then(|status| status.try_into().ok());
        resume.response = status.map(|status| ResponseInfo::new(Delivery::Unknown).with_status(Some(status)));
        resume.waited = message.waited();
        resume.serial = message.serial.clone();
        (of_type.resume)(&self.runner, &message.payload, resume)
    }

    /// Leaves a job that cannot be read to a later version of the program. This is no attempt.
    async fn put_back(&self, mut message: Message, why: &str) -> Result<(), BoxDynError> {
        let Message { id, name, unread, .. } = &message;
        if *unread >= MAX_UNREAD {
            tracing::error!(target: "defer", job = %name, %id, why, "a stored job could not be read for a day, and has failed");
            return Err(AbortError::new(format!("the job could not be read: {why}")).into());
        }
        tracing::warn!(target: "defer", job = %name, %id, why, "a stored job cannot be read here, and waits");
        let pause = UNREAD_PAUSE.saturating_mul(1 << (*unread).min(5)).min(MAX_UNREAD_PAUSE);
        message.unread += 1;
        self.push_next(message, pause).await
    }

    /// Pushes the job's next message, and only then lets this one be acknowledged. If the process dies in between, this message
    /// comes again, and the next one is a duplicate of that which was pushed.
    async fn push_next(&self, message: Message, delay: Duration) -> Result<(), BoxDynError> {
        let next = message.next(delay);
        let start = Instant::now();
        let mut pause = PUSH_PAUSE;
        let mut tried = 0;
        loop {
            let pushed = timeout(PUSH_TIMEOUT, self.queue.send(vec![next.clone()])).await;
            let error = match pushed {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => Error::TimedOut(PUSH_TIMEOUT),
            };
            tried += 1;
            // A worker that stops has no time for more.
            let is_late = self.drain.is_closing() && start.elapsed() >= PUSH_TIMEOUT;
            if tried == PUSHES || is_late {
                let Message { id, name, .. } = &next;
                tracing::warn!(target: "defer", job = %name, %id, %error, "a job could not be pushed again, and is left to apalis");
                return Err(format!("the job could not be pushed again: {error}").into());
            }
            // The storage failed: give it time.
            sleep(pause).await;
            pause *= 2;
        }
    }
}

/// Reads a job and runs it.
fn resume<J: Deferrable>(runner: &Runner, payload: &str, resume: Resume) -> Result<Resumed, String> {
    let job = read_stored::<J>(payload.as_bytes())?;
    runner.resume(job, resume).map_err(|error| error.to_string())
}

impl fmt::Debug for JobHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandler").field("types", &self.shared.types.keys()).finish_non_exhaustive()
    }
}

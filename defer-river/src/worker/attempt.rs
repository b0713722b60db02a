//! River's attempt of a job, as an attempt on a runner.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};

use defer_core::{
    __private::read_stored,
    BoxError, Deferrable, JobId, Runner,
    queue::{End, Resume, Stop},
};
use riverqueue::{
    Job, JobArgs, JobRow, METADATA_KEY_RESCUE_COUNT, WorkContext, WorkError, WorkOutcome, WorkerTimeout,
    jiff::Timestamp, tokio_util::sync::CancellationToken,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IgnoredAny};
use tokio::time::{sleep, timeout};

use super::lease::Running;
use crate::{
    engine::Engine,
    store::{Change, Defer, From, To, payload, text},
};

/// A stored job that cannot be read waits for another version of the program, and fails after this.
const UNREADABLE_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long a job waits that a runner gave back. The next one takes it.
const GIVEN_BACK: Duration = Duration::from_secs(1);
/// How long a job that is stopped may take to answer. A job that waits for its place on the runner does not answer before it has
/// it. Less than River's threshold for stuck jobs: it counts those as an attempt.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// How much longer than its limit an attempt may take by River's clocks. So it is this crate that stops one at its limit, and what
/// River stops was cancelled, or its worker stops.
pub(super) const SPARE: Duration = Duration::from_secs(5);

/// The arguments of a job, for River: it only has to know their kind. They are read from the row.
pub(super) struct Args<J>(PhantomData<fn() -> J>);

impl<'de, J> Deserialize<'de> for Args<J> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(PhantomData))
    }
}

impl<J> Serialize for Args<J> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<J: Deferrable> JobArgs for Args<J> {
    const KIND: &'static str = J::NAME;

    fn kind_aliases() -> &'static [&'static str] {
        J::ALIASES
    }
}

/// River's worker of a type.
pub(super) struct OfType<J> {
    pub(super) runner: Runner,
    pub(super) engine: Arc<Engine>,
    /// How long an attempt may take. A little later River takes it for dead.
    pub(super) limit: Duration,
    /// Cancelled before River's client is stopped without waiting for its jobs.
    pub(super) stopping: CancellationToken,
    pub(super) of: PhantomData<fn() -> J>,
}

/// An attempt that failed, and is followed by another.
#[derive(Debug)]
struct Again {
    error: String,
    delay: Duration,
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for Again {}

impl<J: Deferrable> riverqueue::Worker<Args<J>> for OfType<J> {
    type Error = BoxError;

    /// A job whose process died is available as soon as River has found it.
    fn next_retry(&self, _: &Job<Args<J>>, error: &WorkError, _: Timestamp) -> Option<Duration> {
        Some(error.downcast_ref::<Again>().map_or(Duration::ZERO, |again| again.delay))
    }

    fn timeout(&self, _: &Job<Args<J>>) -> WorkerTimeout {
        WorkerTimeout::After(self.limit.saturating_add(SPARE))
    }

    async fn work(&self, context: WorkContext, job: Job<Args<J>>) -> Result<WorkOutcome, BoxError> {
        // To read a job may take long.
        let started = Instant::now();
        let Job { row, .. } = job;
        let job = match read_stored::<J>(&payload(row.encoded_args.get())) {
            Ok(job) => job,
            Err(error) => return Ok(self.put_aside(&row, &error).await),
        };
        let of_river = context.cancellation_token().clone();
        let stop = of_river.child_token();
        // River may drop this at any point. The runner then stops the job, or does not start it.
        let _stops = stop.clone().drop_guard();
        let why = {
            let (of_river, stopping, limit) = (of_river.clone(), self.stopping.clone(), self.limit);
            // River does not say why. This decides nothing that is stored.
            move || {
                let is_stopped = stopping.is_cancelled() || started.elapsed() >= limit;
                if of_river.is_cancelled() && !is_stopped { Stop::Cancelled } else { Stop::Lost }
            }
        };
        let (lease, ended) = Running::lease(self.engine.clone(), (row.id, row.attempt), stop.clone(), why);
        self.runner.resume_leased(job, resume(&row), lease)?;
        let ended = tokio::select! {
            biased;
            ended = ended => ended.ok(),
            () = unanswered(&stop, self.limit.saturating_sub(started.elapsed())) => None,
        };
        match ended {
            Some(End::Succeeded) => Ok(WorkOutcome::Complete),
            Some(End::Failed { .. }) => Ok(WorkOutcome::Discard),
            Some(End::Retry { error, delay }) => Err(Again { error: text(&error), delay }.into()),
            Some(End::Snoozed { delay }) => Ok(WorkOutcome::Snooze(delay)),
            Some(End::Ready(ready)) => Ok(WorkOutcome::Snooze(ready.delay)),
            Some(End::Skipped | End::Cancelled) if !of_river.is_cancelled() => Ok(WorkOutcome::Cancel),
            // The runner gave it back, which is no attempt. If River has stopped it because somebody had cancelled it, River
            // stores it as cancelled in spite of this, and of nothing else.
            Some(End::Skipped | End::Cancelled) | None => Ok(WorkOutcome::Snooze(self.until_another())),
        }
    }
}

/// Stops a job at its limit. Completes when it has not answered in time, whoever has stopped it.
async fn unanswered(stop: &CancellationToken, limit: Duration) {
    if timeout(limit, stop.cancelled()).await.is_err() {
        stop.cancel();
    }
    sleep(ANSWERS_WITHIN).await;
}

impl<J: Deferrable> OfType<J> {
    /// Returns how long a job waits that was given back.
    fn until_another(&self) -> Duration {
        // A worker that stops does not take it again.
        if self.stopping.is_cancelled() { Duration::ZERO } else { GIVEN_BACK }
    }

    /// Leaves a job that cannot be read to a later version of the program. That is no attempt.
    async fn put_aside(&self, row: &JobRow, error: &str) -> WorkOutcome {
        let age = Duration::try_from(Timestamp::now().duration_since(row.created_at)).unwrap_or_default();
        let (id, name) = (row.id, &row.kind);
        if age < UNREADABLE_FOR {
            let delay = age.clamp(Duration::from_secs(30), Duration::from_secs(600));
            tracing::warn!(target: "defer", job = name, id, error, ?delay, "a stored job cannot be read, and waits");
            return WorkOutcome::Snooze(delay);
        }
        tracing::error!(target: "defer", job = name, id, error, "job failed: no process could read it for a day");
        let change = Change::new(
            From::Running { row: row.id, attempt: row.attempt },
            To::Failed { error: error.to_owned() },
        );
        // An error means that the queue was closed.
        let _ = self.engine.settle(change, Vec::new()).await;
        WorkOutcome::Discard
    }
}

/// Returns what is known of a job: of its request, and of its earlier attempts.
fn resume(row: &JobRow) -> Resume {
    let defer: Defer = row.metadata.get("defer").ok().flatten().unwrap_or_default();
    let rescues: i32 = row.metadata.get(METADATA_KEY_RESCUE_COUNT).ok().flatten().unwrap_or_default();
    // Without those whose process died.
    let attempts = row.attempt.saturating_sub(1).saturating_sub(rescues);
    let mut resume = Resume::new(
        // Another program's job has none.
        defer.id.unwrap_or_else(JobId::unique),
        u32::try_from(attempts).unwrap_or_default(),
        defer.request(),
    );
    resume.response = defer.response();
    let waited = row.attempted_at.map(|at| at.duration_since(row.scheduled_at));
    resume.waited = waited.and_then(|waited| waited.try_into().ok()).unwrap_or_default();
    resume
}

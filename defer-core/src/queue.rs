//! The interface to a queue outside this process.

use std::{collections::BTreeMap, future::poll_fn, marker::PhantomData, task::Poll, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{BoxError, JobError, JobResult, caught},
    event::JobEventKind,
    future::BoxFuture,
    id::JobId,
    job::{Decode, Deferrable},
    panic::drop_quietly,
    policy::Policy,
    status::JobStatus,
};

/// Stores jobs outside this process. Give one to [`RunnerBuilder::queue`](crate::RunnerBuilder::queue); jobs of a
/// `#[defer(queue)]` type go there.
pub trait Queue: Send + Sync + 'static {
    /// Stores jobs where a crash of this process does not lose them.
    ///
    /// Store all of the jobs or none. Skip those whose id is already stored, because a job may be pushed more than once.
    /// After `Ok` they are the queue's; after an error they run in this process.
    ///
    /// # Errors
    ///
    /// If none of the jobs was stored. A panic counts as an error.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped half-way when it takes longer than the [push timeout](crate::RunnerBuilder::push_timeout),
    /// and when the runtime stops. The jobs then run in this process, whatever the queue did: if it stored them all the
    /// same, they run twice, never not at all: a runner that [sheds](crate::Overflow::Shed) does not shed them. At the end
    /// of a shutdown they are reported as unfinished instead. A client that leaves does not stop a push.
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>>;

    /// Returns the same queue, if it can be looked into. The dashboard does.
    fn inspect(&self) -> Option<&dyn InspectQueue> {
        None
    }
}

/// A queue that can be looked into, as a dashboard does.
pub trait InspectQueue: Send + Sync {
    /// Returns how many jobs the queue has.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>>;

    /// Returns at most so many jobs that failed for good, the latest first.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn failed(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>>;

    /// Returns how far a job has got, or how it has ended: [`Pending`](JobStatus::Pending), [`Running`](JobStatus::Running),
    /// [`Succeeded`](JobStatus::Succeeded) or [`Failed`](JobStatus::Failed). `None` if the queue does not have it, or no longer.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it only reads.
    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>>;

    /// Runs a job again that failed for good, with all of its attempts. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the queue cannot be reached.
    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>>;
}

/// How many jobs a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Those that wait for a worker, a delay or their next attempt.
    pub pending: u64,
    /// Those that a worker has.
    pub running: u64,
    /// Those that succeeded and are not forgotten.
    pub done: u64,
    /// Those that failed for good.
    pub failed: u64,
    /// How long the oldest due job has been ready to run. If this grows, the workers do not keep up, or are ill. On Redis
    /// only of jobs that were delayed or failed.
    pub oldest_due: Option<Duration>,
}

/// A job that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedJob {
    /// The job's id, with which to retry it.
    pub id: JobId,
    /// The job's name.
    pub name: String,
    /// How many attempts it has had.
    pub attempts: u32,
    /// The error of the last one.
    pub error: String,
}

impl FailedJob {
    /// Creates one.
    pub fn new(id: JobId, name: impl Into<String>, attempts: u32, error: impl Into<String>) -> Self {
        Self { id, name: name.into(), attempts, error: error.into() }
    }
}

/// What a queue stores with a job. From the job's request: `route` (the method and the route's pattern, such as
/// `POST /signup`); `request_id`, if that header was captured; what the job [takes over](crate::Defer::carry), as JSON; and with
/// the feature `opentelemetry` `traceparent` and `tracestate`, by which the job's span is linked to the request's. Of the job
/// itself: `serial` and `unique`, its keys.
pub type Metadata = BTreeMap<String, String>;

/// The key of the request's route in a queued job's metadata.
pub(crate) const ROUTE: &str = "route";

/// That of the job's own serial key.
pub(crate) const SERIAL: &str = "serial";

/// That of the job's own unique key.
pub(crate) const UNIQUE: &str = "unique";

/// A job as a queue stores it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Envelope {
    /// The job's id.
    pub id: JobId,
    /// The job type's name, by which a worker finds it.
    pub name: String,
    /// How to run it.
    pub policy: Policy,
    /// The job as JSON, by `serde_json`.
    pub payload: Vec<u8>,
    /// What is known of the request that it comes from.
    pub metadata: Metadata,
    /// How long it has to wait, from now.
    pub delay: Duration,
}

impl Envelope {
    /// Creates an envelope without metadata, for a job that need not wait.
    pub fn new(id: JobId, name: impl Into<String>, policy: Policy, payload: Vec<u8>) -> Self {
        Self { id, name: name.into(), policy, payload, metadata: Metadata::new(), delay: Duration::ZERO }
    }

    /// Creates the envelope of a job that was not deferred: one that is stored in a transaction, or by a program that
    /// runs no jobs itself. The job gets an id of its own.
    ///
    /// # Errors
    ///
    /// If the job cannot be written as JSON.
    pub fn of<J: Deferrable + Serialize>(job: &J) -> Result<Self, BoxError> {
        Ok(Self::new(JobId::next(), J::NAME, J::POLICY, encode(job)?))
    }
}

/// How a job that a queue's worker gave to a runner with [`Runner::resume`](crate::Runner::resume) ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Ran {
    /// It succeeded: forget it.
    Succeeded,
    /// It failed for good.
    #[non_exhaustive]
    Failed {
        /// The error of its last attempt.
        error: JobError,
    },
    /// The attempt failed, and another should follow.
    #[non_exhaustive]
    Retry {
        /// The error of the attempt.
        error: JobError,
        /// How long until the next attempt.
        delay: Duration,
    },
    /// It asked to be run [again later](JobError::snooze), which spends no attempt.
    #[non_exhaustive]
    Snoozed {
        /// How long until then.
        delay: Duration,
    },
    /// It was stopped before it had ended: run it again.
    Unfinished,
}

impl From<&JobEventKind> for Ran {
    fn from(event: &JobEventKind) -> Self {
        match event {
            JobEventKind::Succeeded { .. } => Self::Succeeded,
            JobEventKind::Failed { error, .. }
            | JobEventKind::Panicked { error, .. }
            | JobEventKind::TimedOut { error, .. } => Self::Failed { error: error.clone() },
            JobEventKind::Retrying { error, delay, .. } => {
                Self::Retry { error: error.clone(), delay: *delay }
            }
            JobEventKind::Snoozed { delay, .. } => Self::Snoozed { delay: *delay },
            _ => Self::Unfinished,
        }
    }
}

/// Serializes a job. Used by the derive.
pub fn encode<J: Serialize>(job: &J) -> Result<Vec<u8>, BoxError> {
    Ok(serde_json::to_vec(job)?)
}

/// A job type that can be queued. The derive puts it into the bounds of a generic type.
pub trait Queued: Serialize {}

impl<J: Serialize> Queued for J {}

/// How a job type is deserialized, if it can be: the inherent constant takes precedence over the trait's. Used by the
/// derive.
#[derive(Debug)]
pub struct Decoded<J>(PhantomData<J>);

impl<J: DeserializeOwned> Decoded<J> {
    /// How it is deserialized.
    pub const DECODE: Option<Decode<J>> = Some(|payload| Ok(decode(payload)?));
}

/// The fallback for a job type that cannot be deserialized.
pub trait Undecoded<J> {
    /// How it is deserialized.
    const DECODE: Option<Decode<J>> = None;
}

impl<J> Undecoded<J> for Decoded<J> {}

/// Expands to [`Decoded::DECODE`] of a type that can be deserialized, and to `None` for others.
#[doc(hidden)]
#[macro_export]
macro_rules! __decode {
    ($job:ty) => {{
        use $crate::__private::Undecoded as _;
        $crate::__private::Decoded::<$job>::DECODE
    }};
}

/// Deserializes a job from the payload of its [`Envelope`].
///
/// # Errors
///
/// If the payload is not the JSON of a `J`.
pub fn decode<J: for<'de> Deserialize<'de>>(payload: &[u8]) -> Result<J, serde_json::Error> {
    serde_json::from_slice(payload)
}

/// Pushes jobs to a queue. Its panics become errors.
pub(crate) async fn push(queue: &dyn Queue, jobs: Vec<Envelope>) -> JobResult {
    let mut future = caught(|| queue.push(jobs))?;
    let result = poll_fn(|cx| match caught(|| future.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(pushed)) => Poll::Ready(pushed.map_err(Into::into)),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let result = result.await;
    drop_quietly(future);
    result
}

//! The interface to a queue outside of this process.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{BoxError, JobResult, caught},
    job::JobId,
    panic::drop_quietly,
    policy::Policy,
};

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where jobs of a `#[defer(queue)]` type go, given to [`RunnerBuilder::queue`](crate::RunnerBuilder::queue).
pub trait Queue: Send + Sync + 'static {
    /// Takes jobs over. When this returns `Ok`, the queue has all of them where a crash of this process does not
    /// reach them; when it returns an error, it has none: they are run in this process.
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>>;
}

/// A job on its way to a queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Envelope {
    /// The job's id in the process that deferred it.
    pub id: JobId,
    /// The job type's name, by which a worker finds it.
    pub name: String,
    /// How it is to be run.
    pub policy: Policy,
    /// The job as JSON, by `serde_json`.
    pub payload: Vec<u8>,
}

/// Used by the derive.
pub fn encode<J: Serialize>(job: &J) -> Result<Vec<u8>, BoxError> {
    Ok(serde_json::to_vec(job)?)
}

/// A job type that can be queued. Used by the derive, in the bounds of a generic one.
pub trait Queued: Serialize {}

impl<J: Serialize> Queued for J {}

/// Reads what [`encode`] wrote.
///
/// # Errors
///
/// If the payload is not JSON of a `J`.
pub fn decode<J: for<'de> Deserialize<'de>>(payload: &[u8]) -> Result<J, serde_json::Error> {
    serde_json::from_slice(payload)
}

/// Pushes jobs to a queue, whose panics become errors.
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

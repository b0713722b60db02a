//! The interface to a queue outside this process.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{BoxError, JobResult, caught},
    id::JobId,
    panic::drop_quietly,
    policy::Policy,
};

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Stores jobs outside this process. Give one to [`RunnerBuilder::queue`](crate::RunnerBuilder::queue); jobs of a
/// `#[defer(queue)]` type go there.
pub trait Queue: Send + Sync + 'static {
    /// Stores jobs where a crash of this process does not lose them.
    ///
    /// Store all of them or none. After `Ok` they are the queue's; after an error they run in this process.
    ///
    /// # Errors
    ///
    /// If none of the jobs was stored. A panic counts as an error.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped half-way when the client leaves. The jobs then run in this process, whatever the queue did: if
    /// it stored them all the same, they run twice, never not at all. It is also dropped when the queue takes longer than
    /// 5 s at the end of a shutdown. The jobs are then reported as unfinished.
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>>;
}

/// A job as a queue stores it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Envelope {
    /// The job's id, unique within the process that deferred it.
    pub id: JobId,
    /// The job type's name, by which a worker finds it.
    pub name: String,
    /// How to run it.
    pub policy: Policy,
    /// The job as JSON, by `serde_json`.
    pub payload: Vec<u8>,
}

/// Serializes a job. Used by the derive.
pub fn encode<J: Serialize>(job: &J) -> Result<Vec<u8>, BoxError> {
    Ok(serde_json::to_vec(job)?)
}

/// A job type that can be queued. The derive puts it into the bounds of a generic type.
pub trait Queued: Serialize {}

impl<J: Serialize> Queued for J {}

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

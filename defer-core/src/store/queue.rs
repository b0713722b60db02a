//! The interface to a queue outside this process.

use std::{future::poll_fn, task::Poll};

use super::{envelope::Envelope, inspect::InspectQueue};
use crate::{
    model::error::{BoxError, JobResult, caught},
    primitives::{BoxFuture, panic::drop_quietly},
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
    /// and when the runtime stops. The jobs then run in this process, whatever the queue did: if it stored them
    /// after all, a job runs at least once, possibly twice. A runner that [sheds](crate::Overflow::Shed)
    /// jobs keeps these. At the end of a shutdown they are reported as unfinished instead. A client that leaves does not stop a push.
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>>;

    /// Returns the same queue, if it can be looked into. The dashboard does.
    fn inspect(&self) -> Option<&dyn InspectQueue> {
        None
    }
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

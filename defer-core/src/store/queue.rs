//! The interface to a queue outside this process.

use std::{future::poll_fn, task::Poll};

use super::{envelope::Envelope, hold::HoldJobs, inspect::InspectQueue};
use crate::{
    model::error::{BoxError, JobResult, caught},
    primitives::{BoxFuture, panic::drop_quietly},
};

/// Stores jobs outside this process. Give one to [`RunnerBuilder::queue`](crate::RunnerBuilder::queue); jobs of a
/// `#[defer(queue)]` type go there.
///
/// If you implement one, `testing::check_queue` (feature `testing`) checks that it keeps the promises made here.
pub trait Queue: Send + Sync + 'static {
    /// Stores jobs so that they survive a crash of this process.
    ///
    /// Store all of the jobs or none. Skip jobs whose id is already stored, because a job may be pushed more than once. After
    /// `Ok`, the jobs belong to the queue; after an error, they run in this process.
    ///
    /// # Errors
    ///
    /// If none of the jobs was stored. A panic counts as an error.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped half-way when it takes longer than the [push timeout](crate::RunnerBuilder::push_timeout),
    /// and when the runtime stops. The jobs then run in this process, whatever the queue did: if it stored them after all, they
    /// run at least once, possibly twice. A runner that [sheds](crate::Overflow::Shed) does not shed these jobs. At the end of
    /// a shutdown, they are reported as unfinished instead. A client that leaves does not interrupt a push.
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>>;

    /// Returns this queue, if it can hold jobs. Jobs are then [held](HoldJobs::hold) instead of [pushed](Self::push).
    fn hold(&self) -> Option<&dyn HoldJobs> {
        None
    }

    /// Returns this queue, if it can be inspected, for example by the dashboard.
    fn inspect(&self) -> Option<&dyn InspectQueue> {
        None
    }
}

/// What happens to a request whose durable jobs cannot be stored. Set it with
/// [`RunnerBuilder::on_queue_failure`](crate::RunnerBuilder::on_queue_failure).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnQueueFailure {
    /// The request is answered, and its jobs run in this process. If the process dies, they are lost.
    #[default]
    RunHere,
    /// The request is answered with 503 Service Unavailable, and none of its durable jobs runs. This covers jobs that were
    /// deferred before the handler answered, on a queue that [holds](Queue::hold) jobs. Other jobs of the request run as usual.
    Refuse,
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

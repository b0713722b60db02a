//! The interface that the suite needs to test a queue.

use std::panic::resume_unwind;

use crate::{
    primitives::BoxFuture,
    runner::Runner,
    store::{HoldJobs, InspectQueue, Queue},
};

/// A place where a queue keeps its jobs: a file, a schema, a topic. [`check_queue`](super::check_queue) creates many of them,
/// each fresh and empty.
pub trait Place: Send + Sync + 'static {
    /// A connection to the place.
    type Queue: Queue + Clone;

    /// The promises that the queue does not make, by their names in the suite's output, with `_` for spaces. They are not
    /// checked. Say in the documentation of the queue what it does instead.
    const LEFT_OUT: &'static [&'static str] = &[];

    /// Connects to the place. Each call stands for another process, which shares nothing with the others except the place.
    fn connect(&self) -> impl Future<Output = Self::Queue> + Send;

    /// Runs the jobs of the types [`Note`](super::Note) and [`Retried`](super::Retried) on this runner, under all their names,
    /// until none waits or runs, including delayed and retried jobs.
    fn work(queue: Self::Queue, runner: Runner) -> impl Future<Output = ()> + Send;

    /// Runs the jobs of these types on this runner until `stop` completes. It is only called for a queue that
    /// [holds](Queue::hold) jobs. The default returns immediately; jobs that run in the process that deferred them are then not
    /// checked.
    fn work_until(
        queue: Self::Queue,
        runner: Runner,
        stop: BoxFuture<'static, ()>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (queue, runner, stop);
        std::future::ready(())
    }
}

/// Waits for a task of the suite, and panics if it does.
pub(super) async fn joined<T>(task: tokio::task::JoinHandle<T>) -> T {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(error) => panic!("a task of the suite has not ended: {error}"),
        },
    }
}

/// Returns the interface of a queue that holds jobs.
pub(super) fn holds<Q: Queue>(queue: &Q) -> &dyn HoldJobs {
    queue.hold().expect("`Queue::hold` is `Some` each time or never")
}

/// Returns the interface of a queue that can be inspected.
pub(super) fn inspects<Q: Queue>(queue: &Q) -> &dyn InspectQueue {
    queue.inspect().expect("`Queue::inspect` is `Some` each time or never")
}

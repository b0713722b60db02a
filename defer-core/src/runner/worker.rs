//! The interface to a queue's worker.

use super::runner::Runner;
use crate::{model::error::BoxError, primitives::BoxFuture};

/// A worker that takes jobs from a queue and runs them. Run it beside a server with
/// `defer_axum::serve(..).with_worker(worker)`.
pub trait RunWorker: Send + 'static {
    /// Returns the runner on which it runs jobs, so that the server drains this runner too.
    fn runner(&self) -> Option<Runner> {
        None
    }

    /// Takes jobs and runs them until `stop` completes. Then it stops taking jobs, and completes once every job that it took
    /// has ended or has been made ready for others, and the queue has stored that.
    ///
    /// After `stop`, it must not wait for the queue forever: an unreachable queue would keep the process from exiting.
    ///
    /// # Errors
    ///
    /// If it cannot go on. A queue that is temporarily unreachable is not such an error.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no more jobs are taken. The implementation defines what happens to the jobs that it has.
    fn run(self: Box<Self>, stop: BoxFuture<'static, ()>) -> BoxFuture<'static, Result<(), BoxError>>;
}

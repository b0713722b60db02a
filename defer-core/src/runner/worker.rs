//! The interface to a queue's worker.

use super::runner::Runner;
use crate::{model::error::BoxError, primitives::BoxFuture};

/// A worker that takes jobs from a queue and runs them. A server runs one beside itself:
/// `defer_axum::serve(..).with_worker(worker)`.
pub trait RunWorker: Send + 'static {
    /// Returns the runner on which it runs jobs, so that a server drains it, too.
    fn runner(&self) -> Option<Runner> {
        None
    }

    /// Takes jobs and runs them until `stop` completes. From then on it takes no more, and it completes once every job that it took
    /// has ended, or was made ready for others, and the queue has stored that.
    ///
    /// It must not wait for the queue forever after `stop`: a queue that cannot be reached would keep the process from its end.
    ///
    /// # Errors
    ///
    /// If it cannot go on. A queue that cannot be reached for a while is no such error.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no more jobs are taken. What becomes of those that it has is for the implementation to say.
    fn run(self: Box<Self>, stop: BoxFuture<'static, ()>) -> BoxFuture<'static, Result<(), BoxError>>;
}

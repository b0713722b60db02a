//! Jobs of many requests that run together.

use std::{
    fmt,
    future::{Future, ready},
    time::Duration,
};

use super::context::JobContext;
use crate::{
    model::error::{JobError, JobResult},
    primitives::BoxFuture,
};

/// Work that is cheaper for many jobs at once than for each: one INSERT for fifty rows, one call for a page of changes.
///
/// `#[defer(batch = 50, within = "500ms")]` makes a type run so. A job joins a batch when its turn in its request's line comes, and
/// those behind it go on. The batch starts when it has 50 jobs, or when the first of them has waited for half a second: on
/// one permit of [`max_running`](crate::RunnerBuilder::max_running), whatever its size. It does not wait for more jobs where that would
/// hold others up: while [`max_pending`](crate::RunnerBuilder::max_pending) jobs wait, and while somebody waits for
/// [`Runner::idle`](crate::Runner::idle) or a [shutdown](crate::Runner::shutdown).
///
/// ```
/// # mod defer_axum { pub use defer_core::*; }
/// use defer_core::{BatchJob, JobContext, JobResult};
/// # struct Database;
/// # impl Database { async fn insert(&self, _: &[Visit]) -> Result<(), std::io::Error> { Ok(()) } }
///
/// // #[derive(Deferrable)]
/// // #[defer(batch = 50, within = "500ms", tries = 3)]
/// struct Visit {
///     path: String,
/// }
/// # impl defer_core::__private::Batched for Visit {}
///
/// impl BatchJob for Visit {
///     async fn run(visits: &[Self], cx: &JobContext) -> JobResult {
///         cx.state::<Database>()?.insert(visits).await?;
///         Ok(())
///     }
/// }
/// ```
///
/// Each job is counted, reported and measured by itself, with its own id, attempts and end. Until its batch starts it can be
/// [cancelled](crate::Deferred::cancel), and its condition, delay, unique and serial keys are those of any job: they come before it
/// joins. In a batch, jobs are in the order in which they joined.
///
/// # A batch that fails
///
/// An error, a panic or a timeout fails an attempt of each job of the batch. Those with tries left wait for their backoff, and join
/// batches again; but the last of several attempts each job makes by itself, so that none fails for good because of another. With
/// `tries = 3` a job is twice in a batch and once by itself, with `tries = 1` only in a batch. Until the job is by itself
/// [`fatal`](JobError::fatal) has no effect: it cannot say which job it is about.
///
/// # The context
///
/// Belongs to the batch, also when that is a single job: it has the runner's state, and [an id](JobContext::id) of its own, which is
/// of no job. Its [attempt](JobContext::attempt) is the latest of its jobs'. There is no
/// [request](JobContext::request), [response](JobContext::response) or [extension](JobContext::extension), because there are many: put what
/// you need of them into the job. What a batch defers belongs to no request either, and may start when the attempt has ended.
///
/// # Cancel safety
///
/// The future of `run` may be dropped at any `.await`, as that of [`Job::run`](crate::Job::run): when its jobs time out, or have all been
/// cancelled, and at the end of a shutdown.
#[diagnostic::on_unimplemented(
    message = "`{Self}` runs in batches: it does not implement `BatchJob`",
    label = "this type has no `impl BatchJob`",
    note = "say what its jobs do together: `impl BatchJob for {Self} {{ async fn run(jobs: &[Self], cx: &JobContext) -> JobResult {{ .. }} }}`"
)]
pub trait BatchJob: Batched + Sized + Send + Sync + 'static {
    /// Does the work of these jobs: at least one, and at most as many as the type's `batch`.
    fn run(jobs: &[Self], cx: &JobContext) -> impl Future<Output = JobResult> + Send;

    /// Called once when a job is given up, with its own context, as [`Job::failed`](crate::Job::failed).
    fn failed(&self, cx: &JobContext, error: &JobError) -> impl Future<Output = ()> + Send {
        let _ = (cx, error);
        ready(())
    }
}

/// A type with `#[defer(batch = ..)]`. The derive implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` implements `BatchJob`, and does not run in batches",
    label = "this type has no `#[defer(batch = ..)]`",
    note = "say how large a batch is, and how long a job waits for it: `#[defer(batch = 50, within = \"500ms\")]`"
)]
pub trait Batched {}

/// How the jobs of a type run together. Used by the derive.
pub struct Batching<J> {
    pub(crate) size: usize,
    pub(crate) within: Duration,
    pub(crate) run: Run<J>,
}

type Run<J> = for<'a> fn(&'a [J], &'a JobContext) -> BoxFuture<'a, JobResult>;

impl<J: BatchJob> Batching<J> {
    /// At most so many, of which the first waits for at most this long.
    pub const fn new(size: usize, within: Duration) -> Self {
        // It may panic before it returns its future.
        Self { size, within, run: |jobs, cx| Box::pin(async move { J::run(jobs, cx).await }) }
    }
}

impl<J> fmt::Debug for Batching<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batching")
            .field("size", &self.size)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

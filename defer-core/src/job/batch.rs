//! Jobs of many requests that run together in batches.

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

/// A job that runs together with others of its type, from many requests: one INSERT for fifty rows, one call for a page of changes.
///
/// `#[defer(batch = 50, within = "500ms")]` makes a type run in batches. A job joins a batch when its turn in its request's line
/// comes. The line goes on without waiting for it. The batch starts when it has 50 jobs, or when the first of them has waited for half
/// a second. Whatever its size, it runs on one permit of [`max_running`](crate::RunnerBuilder::max_running); `max_running` on the type
/// limits how many of its batches run at once.
///
/// A batch does not wait for more jobs if that would block others: while [`max_pending`](crate::RunnerBuilder::max_pending) jobs
/// wait or a response waits for room, during [`Runner::idle`](crate::Runner::idle), and from the beginning of a
/// [shutdown](crate::Runner::shutdown).
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
/// Each job is counted, reported and measured on its own, with its own id, attempts and end. You can
/// [cancel](crate::Deferred::cancel) a job until its batch starts. Its condition, delay, unique key and serial key work as for
/// any other job, and are handled before it joins a batch: of the jobs with the same serial key, only one is in a batch at a
/// time. The jobs of a batch are in the order in which they joined, so those of one request are in the order in which they were
/// deferred. Jobs that were deferred on different Tokio runtimes join different batches.
///
/// # A batch that fails
///
/// An error, a panic or a timeout fails an attempt of each job of the batch. Jobs with tries left wait for their backoff, and
/// join a batch again. If a job has several attempts, it makes the last one by itself, so that it does not fail permanently
/// because of another job. With `tries = 3`, a job runs twice in a batch and once by itself; with `tries = 1`, only in a batch.
/// [`fatal`](JobError::fatal) has no effect in a batch of several jobs, because it cannot say which of them it is about.
///
/// # The context
///
/// The context belongs to the batch, even if the batch has a single job:
///
/// | | in a batch |
/// |---|---|
/// | [`state`](JobContext::state), [`shutting_down`](JobContext::shutting_down) | the runner's, as for any job |
/// | [`id`](JobContext::id) | the batch's own: no job has it |
/// | [`attempt`](JobContext::attempt) | the highest of its jobs |
/// | [`request`](JobContext::request), [`response`](JobContext::response), [`extension`](JobContext::extension) | none, because there are many: put what you need into the job |
/// | [`set_progress`](JobContext::set_progress) | no effect |
/// | [`cancelled`](JobContext::cancelled) | never completes: a job that is cancelled leaves the batch, and the batch is dropped when all have left |
///
/// Jobs that a batch defers belong to no request, and start when the attempt has ended.
///
/// # Cancel safety
///
/// Like the future of [`Job::run`](crate::Job::run), the future of `run` may be dropped at any `.await`: when its jobs have timed
/// out or were all cancelled, and at the end of a shutdown.
#[diagnostic::on_unimplemented(
    message = "`{Self}` runs in batches: it does not implement `BatchJob`",
    label = "this type has no `impl BatchJob`",
    note = "say what its jobs do together: `impl BatchJob for {Self} {{ async fn run(jobs: &[Self], cx: &JobContext) -> JobResult {{ .. }} }}`"
)]
pub trait BatchJob: Batched + Sized + Send + Sync + 'static {
    /// Does the work of these jobs: at least one, and at most the type's `batch`.
    fn run(jobs: &[Self], cx: &JobContext) -> impl Future<Output = JobResult> + Send;

    /// Called once if a job fails permanently, with the job's own context. See [`Job::failed`](crate::Job::failed).
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

/// The parameters of a type's batches. Used by the derive.
pub struct Batching<J> {
    pub(crate) size: usize,
    pub(crate) within: Duration,
    pub(crate) run: Run<J>,
    pub(crate) failed: Failed<J>,
}

type Run<J> = for<'a> fn(&'a [J], &'a JobContext) -> BoxFuture<'a, JobResult>;
type Failed<J> = for<'a> fn(&'a J, &'a JobContext, &'a JobError) -> BoxFuture<'a, ()>;

/// Creates batches of at most this many jobs. The first job of each waits for at most this long. Used by the derive.
///
/// Not a method of [`Batching`]: without `BatchJob`, the compiler would only report that there is no such method.
pub const fn batching<J: BatchJob>(size: usize, within: Duration) -> Batching<J> {
    // The functions may panic before they return their futures.
    Batching {
        size,
        within,
        run: |jobs, cx| Box::pin(async move { J::run(jobs, cx).await }),
        failed: |job, cx, error| Box::pin(async move { job.failed(cx, error).await }),
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

//! What a job is.

use std::{
    fmt,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::{
    context::JobContext,
    error::{BoxError, JobResult},
    policy::Policy,
};

/// Work to do after the response: a struct with what the work needs to know, and how to do it.
///
/// ```
/// use defer_core::{Job, JobContext, JobResult};
///
/// struct Mailer;
/// impl Mailer {
///     async fn send(&self, to: &str) -> std::io::Result<()> {
///         Ok(())
///     }
/// }
///
/// struct SendWelcome {
///     to: String,
/// }
///
/// impl Job for SendWelcome {
///     async fn run(&self, cx: &JobContext) -> JobResult {
///         cx.state::<Mailer>()?.send(&self.to).await?;
///         Ok(())
///     }
/// }
/// ```
///
/// `run` borrows the job, because it may be called again after an error. What it awaits may be dropped at any
/// `.await`: at a time-out or at the end of a shutdown.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a job: it does not implement `Job`",
    label = "this type has no `impl Job`",
    note = "say what the job does: `impl Job for {Self} {{ async fn run(&self, cx: &JobContext) -> JobResult {{ .. }} }}`"
)]
pub trait Job: Send + Sync + 'static {
    /// Does the work. An error or a panic fails this attempt; whether there is another is up to the job's
    /// [`Policy`].
    fn run(&self, cx: &JobContext) -> impl Future<Output = JobResult> + Send;
}

/// A job that can be deferred. `#[derive(Deferrable)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be deferred: it does not implement `Deferrable`",
    label = "this type is not deferrable",
    note = "put `#[derive(Deferrable)]` on it, or defer a closure with `defer_fn(|cx| async move {{ .. }})`"
)]
pub trait Deferrable: Job {
    /// The job's name in events, logs and queues.
    const NAME: &'static str;
    /// How the job is run.
    const POLICY: Policy;
    /// How the job is written for a queue; `None` for a type that is never queued.
    #[doc(hidden)]
    const ENCODE: Option<Encode<Self>> = None;
}

/// Writes a job as a queue keeps it.
pub type Encode<J> = fn(&J) -> Result<Vec<u8>, BoxError>;

/// Identifies a job within this process, from its deferral to its end. The next process begins at 1 again: with others,
/// such as an API that wants an idempotency key, use it together with something that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(u64);

impl JobId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The id as a number, from 1, in the order in which jobs were deferred.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a deferred closure may return: nothing, or a [`JobResult`].
#[diagnostic::on_unimplemented(
    message = "a deferred closure must return `()` or `JobResult`, not `{Self}`",
    label = "the closure's future returns `{Self}`",
    note = "end the block with `;`, or with `Ok(())` where it uses `?`"
)]
pub trait IntoJobResult: sealed::Sealed {
    /// The result of the job.
    fn into_job_result(self) -> JobResult;
}

impl IntoJobResult for () {
    fn into_job_result(self) -> JobResult {
        Ok(())
    }
}

impl IntoJobResult for JobResult {
    fn into_job_result(self) -> JobResult {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for crate::error::JobResult {}
}

//! The traits that jobs implement.

use std::future::{Future, ready};

use serde::Serialize;

use super::{batch::Batching, context::JobContext, show::Show};
use crate::{
    model::{
        error::{BoxError, JobError, JobResult},
        id::JobId,
        job_type::JobType,
        policy::Policy,
    },
    store::{
        Envelope,
        codec::{Decode, Encode, encode},
    },
};

/// Work to do after the response: a struct that holds the input, and a method that does the work.
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
/// `run` borrows the job, because it is called once for each attempt.
///
/// # Cancel safety
///
/// The future of `run` may be dropped at any `.await`: when the attempt times out, when the job is
/// [cancelled](crate::Runner::cancel), and at the end of a shutdown. If part of
/// a job must not be interrupted, spawn a task for that part.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a job: it does not implement `Job`",
    label = "this type has no `impl Job`",
    note = "say what the job does: `impl Job for {Self} {{ async fn run(&self, cx: &JobContext) -> JobResult {{ .. }} }}`"
)]
pub trait Job: Send + Sync + 'static {
    /// Does the work. An error or a panic fails this attempt; the job's [`Policy`] decides whether another follows.
    fn run(&self, cx: &JobContext) -> impl Future<Output = JobResult> + Send;

    /// Called once if the job fails permanently: its last attempt failed, panicked or timed out, or its error was fatal. Does
    /// nothing by default. Implement it to mark the work as failed, or to notify someone.
    ///
    /// ```
    /// # use defer_core::{Job, JobContext, JobError, JobResult};
    /// # struct Orders;
    /// # impl Orders { async fn mark(&self, _: u64, _: &str) {} }
    /// # struct NotifyPartner { order: u64 }
    /// impl Job for NotifyPartner {
    ///     async fn run(&self, cx: &JobContext) -> JobResult {
    ///         // ..
    /// #       Ok(())
    ///     }
    ///
    ///     async fn failed(&self, cx: &JobContext, error: &JobError) {
    ///         if let Ok(orders) = cx.state::<Orders>() {
    ///             orders.mark(self.order, "the partner was not told").await;
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// It is part of the last attempt: it runs in its span, before the job ends, and may defer jobs. It has the job's timeout
    /// for itself; a panic or a timeout is logged. It is not called for a job that is cancelled, skipped, shed or abandoned,
    /// whose predicate panics, or that finds no timer for its next attempt. Nor is it called for a durable job that fails
    /// because its process died too often. For a durable job, it is called again if the process dies while it runs.
    fn failed(&self, cx: &JobContext, error: &JobError) -> impl Future<Output = ()> + Send {
        let _ = (cx, error);
        ready(())
    }
}

/// A job that can be deferred. `#[derive(Deferrable)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be deferred: it does not implement `Deferrable`",
    label = "this type is not deferrable",
    note = "put `#[derive(Deferrable)]` on it, or defer a closure with `defer_fn(|cx| async move {{ .. }})`"
)]
pub trait Deferrable: Job + Sized {
    /// The job's name in events, logs and queues.
    const NAME: &'static str;
    /// The policy by which jobs of this type are run.
    const POLICY: Policy;
    /// Serializes the job for a queue. `None` for a type that is never queued.
    #[doc(hidden)]
    const ENCODE: Option<Encode<Self>> = None;
    /// Deserializes a job that went through [`ENCODE`](Self::ENCODE).
    #[doc(hidden)]
    const DECODE: Option<Decode<Self>> = None;
    /// The parameters of the type's batches. `None` if each job runs by itself.
    #[doc(hidden)]
    const BATCH: Option<Batching<Self>> = None;
    /// Shows the job in the messages of failed tests, if it implements `Debug`.
    #[doc(hidden)]
    const SHOW: Option<Show<Self>> = None;
    /// The type's earlier names. A worker also runs jobs queued under them.
    #[doc(hidden)]
    const ALIASES: &'static [&'static str] = &[];
}

/// Returns the type of a job.
pub(crate) fn job_type<J: Deferrable>() -> &'static JobType {
    const { &JobType::new(|| J::NAME, J::POLICY) }
}

impl Envelope {
    /// Creates the envelope of a job that was not deferred, to store it in a transaction or from a program that does not run
    /// jobs. The job gets a new id.
    ///
    /// # Errors
    ///
    /// If the job cannot be serialized as JSON.
    pub fn of<J: Deferrable + Serialize>(job: &J) -> Result<Self, BoxError> {
        Ok(Self::new(JobId::next(), J::NAME, J::POLICY, encode(job)?))
    }
}

/// An argument of a job function.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a job: it does not implement `Clone`",
    label = "each attempt gets a clone of this",
    note = "put it into an `Arc`, or derive `Deferrable` for a struct, whose `Job::run` borrows it"
)]
pub trait Argument: Clone {}

#[diagnostic::do_not_recommend]
impl<T: Clone> Argument for T {}

/// Clones an argument for an attempt. Used by `#[job]`.
#[inline]
pub fn cloned<T: Argument>(argument: &T) -> T {
    argument.clone()
}

/// Return types of a job function: nothing, or a result whose error `?` can convert.
#[diagnostic::on_unimplemented(
    message = "a job cannot return `{Self}`",
    label = "expected `JobResult`, a `Result<(), E>` of another error, or nothing",
    note = "the error `E` implements `Error` and is `Send + Sync`; end the function with `Ok(())`, or with `;` if nothing can fail"
)]
pub trait Output {
    /// Converts the function's output into the job's result.
    fn into_job_result(self) -> JobResult;
}

impl Output for () {
    fn into_job_result(self) -> JobResult {
        Ok(())
    }
}

impl<E: Into<JobError>> Output for Result<(), E> {
    fn into_job_result(self) -> JobResult {
        self.map_err(Into::into)
    }
}

/// Converts the output of a job function. Used by `#[job]`.
#[inline]
pub fn job_result(output: impl Output) -> JobResult {
    output.into_job_result()
}

/// Return types of a deferred closure: nothing, or a [`JobResult`].
#[diagnostic::on_unimplemented(
    message = "a deferred closure must return `()` or `JobResult`, not `{Self}`",
    label = "the closure's future returns `{Self}`",
    note = "end the block with `;`, or with `Ok(())` where it uses `?`"
)]
pub trait IntoJobResult: sealed::Sealed {
    /// Converts the closure's output into the job's result.
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
    impl Sealed for crate::JobResult {}
}

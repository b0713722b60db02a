//! One attempt of a job: in its span, within its timeout, with its panics caught.

use std::{
    cell::Cell,
    future::{Future, ready as completed},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

#[cfg(feature = "testing")]
use std::{any::Any, sync::Arc};

use crate::{
    context::JobContext,
    error::{BoxError, JobError, JobResult},
    event::JobEventKind,
    panic::drop_quietly,
    span::JobSpan,
};

/// What an attempt runs: a job or a closure.
pub(crate) trait Work: Send + 'static {
    /// Does nothing until it is polled.
    fn run(&mut self, cx: &JobContext) -> impl Future<Output = JobResult> + Send;

    /// Tells the job that it is given up.
    fn failed(&mut self, cx: &JobContext, error: &JobError) -> impl Future<Output = ()> + Send {
        let _ = (cx, error);
        completed(())
    }

    /// Returns the job as a queue stores it; `None` for one that is not for a queue.
    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>>;

    /// Returns the job, if it is shared.
    #[cfg(feature = "testing")]
    fn job(&self) -> Option<SharedJob> {
        None
    }
}

/// A job that a test may look at while something else owns it too.
#[cfg(feature = "testing")]
pub(crate) type SharedJob = Arc<dyn Any + Send + Sync>;

thread_local! {
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether this thread polls a job, however many scopes deep.
pub(crate) fn is_in_job() -> bool {
    IN_JOB.get()
}

/// Marks the thread as polling a job until it is dropped.
pub(crate) struct InJob {
    before: bool,
}

impl InJob {
    pub(crate) fn enter() -> Self {
        Self { before: IN_JOB.replace(true) }
    }
}

impl Drop for InJob {
    fn drop(&mut self) {
        IN_JOB.set(self.before);
    }
}

/// What may follow an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequel {
    Nothing,
    /// Another attempt, if there is one left.
    Retry,
    /// The same attempt again.
    Snooze,
}

/// How an attempt ended.
pub(crate) enum Outcome {
    Returned(JobResult),
    Panicked(JobError),
    TimedOut(JobError),
}

impl Outcome {
    /// Returns what may follow.
    #[inline]
    pub(crate) fn sequel(&self) -> Sequel {
        match self {
            Self::Returned(Ok(())) => Sequel::Nothing,
            Self::Returned(Err(error)) if error.is_snooze() => Sequel::Snooze,
            // What is around a job may have marked its panic.
            Self::Returned(Err(error)) | Self::Panicked(error) | Self::TimedOut(error) => {
                if error.is_fatal() { Sequel::Nothing } else { Sequel::Retry }
            }
        }
    }

    /// Returns how long to wait before another attempt, if the job says so.
    pub(crate) fn next_attempt(&self) -> Option<Duration> {
        match self {
            Self::Returned(Ok(())) => None,
            Self::Returned(Err(error)) | Self::Panicked(error) | Self::TimedOut(error) => {
                error.next_attempt()
            }
        }
    }

    pub(crate) fn into_error(self) -> Option<JobError> {
        match self {
            Self::Returned(result) => result.err(),
            Self::Panicked(error) | Self::TimedOut(error) => Some(error),
        }
    }

    /// Returns the error, and a name for its kind.
    pub(crate) fn error(&self) -> Option<(&'static str, &JobError)> {
        match self {
            Self::Returned(Ok(())) => None,
            Self::Returned(Err(error)) => Some(("failed", error)),
            Self::Panicked(error) => Some(("panicked", error)),
            Self::TimedOut(error) => Some(("timed_out", error)),
        }
    }

    /// Returns the event of a job that ends with this attempt.
    pub(crate) fn into_event(self, elapsed: Duration) -> JobEventKind {
        match self {
            Self::Returned(Ok(())) => JobEventKind::Succeeded { elapsed },
            Self::Returned(Err(error)) => JobEventKind::Failed { error, elapsed },
            Self::Panicked(error) => JobEventKind::Panicked { error, elapsed },
            Self::TimedOut(error) => JobEventKind::TimedOut { error, elapsed },
        }
    }
}

pin_project! {
    /// Completes with the outcome of a job's future, even if the future panics or never completes; and with the span, which
    /// nobody else needs meanwhile.
    pub(crate) struct Attempt<F> {
        #[pin]
        future: Option<F>,
        span: JobSpan,
        // Boxed, because most jobs have none and a timer is larger than most jobs.
        limit: Option<Pin<Box<Limit>>>,
    }

    impl<F> PinnedDrop for Attempt<F> {
        fn drop(this: Pin<&mut Self>) {
            if this.future.is_some() {
                let _in_job = InJob::enter();
                this.drop_future();
            }
        }
    }
}

impl<F: Future<Output = JobResult>> Attempt<F> {
    pub(crate) fn new(future: F, span: JobSpan, limit: Option<Pin<Box<Limit>>>) -> Self {
        Self { future: Some(future), span, limit }
    }
}

impl<F> Attempt<F> {
    /// Drops the future in the job's span, quietly.
    fn drop_future(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _entered = this.span.enter();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| this.future.set(None))) {
            drop_quietly(panic);
        }
    }
}

impl<F: Future<Output = JobResult>> Future for Attempt<F> {
    type Output = (Outcome, JobSpan);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Outcome, JobSpan)> {
        let outcome = ready!(self.as_mut().poll_outcome(cx));
        Poll::Ready((outcome, mem::replace(self.project().span, JobSpan::NONE)))
    }
}

impl<F: Future<Output = JobResult>> Attempt<F> {
    #[inline]
    fn poll_outcome(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let _in_job = InJob::enter();
        let mut this = self.as_mut().project();
        let entered = this.span.enter();
        let mut returned = None;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let future = this.future.as_mut().as_pin_mut();
            let polled = future.expect("an attempt is not polled after it completed").poll(cx);
            if let Poll::Ready(result) = polled {
                returned = Some(result);
                this.future.set(None);
            }
        }));
        let outcome = match (returned, caught) {
            // What is around the job has seen its panic.
            (Some(Err(error)), Ok(())) if error.is_panic() => return Poll::Ready(Outcome::Panicked(error)),
            (Some(result), Ok(())) => return Poll::Ready(Outcome::Returned(result)),
            (None | Some(Ok(())), Err(panic)) => Outcome::Panicked(JobError::panicked(panic)),
            (Some(Err(error)), Err(panic)) => {
                drop_quietly(panic);
                Outcome::Returned(Err(error))
            }
            (None, Ok(())) => {
                let Some(limit) = this.limit else { return Poll::Pending };
                Outcome::TimedOut(ready!(limit.as_mut().poll(cx)))
            }
        };
        drop(entered);
        self.drop_future();
        Poll::Ready(outcome)
    }
}

pin_project! {
    /// How long an attempt may take. Completes with the error of one that takes longer.
    pub(crate) struct Limit {
        #[pin]
        timer: Sleep,
        after: Duration,
    }
}

impl Limit {
    /// On a runtime without a timer this returns an error.
    pub(crate) fn new(after: Duration) -> Result<Pin<Box<Self>>, JobError> {
        boxed_timer(|| Self { timer: tokio::time::sleep(after), after })
    }
}

impl Future for Limit {
    type Output = JobError;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobError> {
        let this = self.project();
        this.timer.poll(cx).map(|()| JobError::timed_out(*this.after))
    }
}

/// Creates a timer. On a runtime without one Tokio panics, and this returns an error.
pub(crate) fn timer(duration: Duration) -> Result<Pin<Box<Sleep>>, JobError> {
    boxed_timer(|| tokio::time::sleep(duration))
}

fn boxed_timer<T>(new: impl FnOnce() -> T) -> Result<Pin<Box<T>>, JobError> {
    catch_unwind(AssertUnwindSafe(|| Box::pin(new()))).map_err(|panic| {
        drop_quietly(panic);
        let message = "the runtime has no timer, which a job with a timeout, a backoff or a delay needs: build it \
                       with `enable_time` or `enable_all`";
        JobError::msg(message).fatal()
    })
}

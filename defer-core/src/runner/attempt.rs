//! One attempt of a job: in its span, within its time, its panics caught.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tracing::Span;

use crate::{
    error::{BoxError, JobError, JobResult},
    policy::Policy,
};

/// How an attempt ended.
pub(crate) enum Outcome {
    Returned(JobResult),
    Panicked(JobError),
    TimedOut(JobError),
}

pin_project! {
    /// Completes with the outcome of a job's future, whatever that future does.
    pub(crate) struct Attempt<'a, F> {
        #[pin]
        future: Option<F>,
        span: &'a Span,
        policy: &'static Policy,
        // Boxed: most jobs have none, and a timer is larger than most jobs.
        limit: Option<Pin<Box<Sleep>>>,
    }

    impl<F> PinnedDrop for Attempt<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            if let Err(panic) = this.drop_future() {
                drop_quietly(panic);
            }
        }
    }
}

impl<'a, F: Future<Output = JobResult>> Attempt<'a, F> {
    pub(crate) fn new(future: F, span: &'a Span, policy: &'static Policy) -> Self {
        let limit = policy.timeout().map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        Self { future: Some(future), span, policy, limit }
    }
}

impl<F> Attempt<'_, F> {
    /// Drops what the future still holds, where a panic harms nobody.
    fn drop_future(self: Pin<&mut Self>) -> std::thread::Result<()> {
        let mut this = self.project();
        let _entered = this.span.enter();
        catch_unwind(AssertUnwindSafe(|| this.future.set(None)))
    }
}

impl<F: Future<Output = JobResult>> Future for Attempt<'_, F> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.as_mut().project();
        let entered = this.span.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let future = this.future.as_mut().as_pin_mut();
            future.expect("an attempt is not polled after it completed").poll(cx)
        }));
        let outcome = match polled {
            Ok(Poll::Ready(result)) => Outcome::Returned(result),
            Err(panic) => Outcome::Panicked(panic_error(panic)),
            Ok(Poll::Pending) => {
                let Some(limit) = this.limit else { return Poll::Pending };
                if limit.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let limit = this.policy.timeout().unwrap_or_default();
                Outcome::TimedOut(JobError::msg(format!("took longer than its limit of {limit:?}")))
            }
        };
        drop(entered);
        let dropped = self.drop_future().map_err(panic_error);
        Poll::Ready(match (outcome, dropped) {
            (Outcome::Returned(Ok(())), Err(error)) => Outcome::Panicked(error),
            (outcome, _) => outcome,
        })
    }
}

/// The panic's message as an error.
pub(crate) fn panic_error(panic: Box<dyn Any + Send>) -> JobError {
    let message = if let Some(message) = panic.downcast_ref::<&'static str>() {
        JobError::msg(format!("panicked: {message}"))
    } else if let Some(message) = panic.downcast_ref::<String>() {
        JobError::msg(format!("panicked: {message}"))
    } else {
        JobError::msg("panicked with something that is no message")
    };
    drop_quietly(panic);
    message
}

/// Drops something of the user's, whose `Drop` may panic.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        tracing::error!("a job, or what it held, panicked while it was dropped");
        // The payload's own `Drop` may panic too, and there is no end to that.
        std::mem::forget(panic);
    }
}

/// A user's future that returns a result, its panics turned into errors.
pub(crate) async fn caught<Fut>(make: impl FnOnce() -> Fut) -> JobResult
where
    Fut: Future<Output = Result<(), BoxError>> + Unpin,
{
    let mut future = catch_unwind(AssertUnwindSafe(make)).map_err(panic_error)?;
    let result =
        std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(|error| JobError::msg(error.to_string()))),
            Err(panic) => Poll::Ready(Err(panic_error(panic))),
        })
        .await;
    drop_quietly(future);
    result
}

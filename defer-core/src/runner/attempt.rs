//! One attempt of a job: in its span, within its time, its panics caught.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tracing::Span;

use crate::{
    error::{JobError, JobResult},
    panic::drop_quietly,
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
    pub(crate) fn new(
        future: F,
        span: &'a Span,
        policy: &'static Policy,
        limit: Option<Pin<Box<Sleep>>>,
    ) -> Self {
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
            Err(panic) => Outcome::Panicked(JobError::panicked(panic)),
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
        let dropped = self.drop_future().map_err(JobError::panicked);
        Poll::Ready(match (outcome, dropped) {
            (Outcome::Returned(Ok(())), Err(error)) => Outcome::Panicked(error),
            (outcome, _) => outcome,
        })
    }
}

/// A timer, which Tokio makes with a panic on a runtime that has none.
pub(crate) fn timer(duration: Duration) -> Result<Pin<Box<Sleep>>, JobError> {
    catch_unwind(|| Box::pin(tokio::time::sleep(duration))).map_err(|panic| {
        drop_quietly(panic);
        let message = "the runtime has no timer, which a job with a timeout or a backoff needs: build it with \
                       `enable_time` or `enable_all`";
        JobError::msg(message).fatal()
    })
}

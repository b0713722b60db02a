//! One attempt of a job: in its span, within its timeout, with its panics caught.

use std::{
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{
    list::{
        current::{InJob, with_list},
        list::JobList,
    },
    model::{
        error::{JobError, JobResult},
        failure::Failure,
    },
    observe::span::JobSpan,
    primitives::{
        panic::drop_quietly,
        timer::{NoTimer, boxed_timer},
    },
};

/// Returns the waker of the task that polls this, with which an attempt of it can be stopped.
pub(super) async fn own_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

pin_project! {
    /// Completes with the outcome of a job's future, even if the future panics, takes longer than its limit, or is to be stopped; and
    /// with the span, which nobody else needs meanwhile.
    pub(super) struct Attempt<'a, F> {
        #[pin]
        future: Option<F>,
        rest: Rest<'a>,
    }

    impl<F> PinnedDrop for Attempt<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                drop_in_span(this.rest, &mut || this.future.set(None));
            }
        }
    }
}

/// The parts of an attempt besides its future.
struct Rest<'a> {
    span: JobSpan,
    // Boxed, because most jobs have none and a timer is larger than most jobs.
    limit: Option<Pin<Box<Limit>>>,
    stop: Stop<'a>,
}

/// Whether an attempt is stopped when its job is cancelled.
enum Stop<'a> {
    /// It goes on, even if the job is cancelled.
    Never,
    /// It is that of the job that runs in the line of the thread's list.
    InLine(Stage),
    OfJob(&'a OfJob<'a>, Stage),
}

/// A job, by its list and its index there.
pub(super) struct OfJob<'a> {
    pub(super) list: &'a JobList,
    pub(super) index: usize,
}

/// The stage of the attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not waited yet.
    New,
    /// It has waited, and so it can be woken to be stopped.
    Waits,
    /// It is to be stopped, and is polled once more.
    Told,
}

impl<'a, F: Future<Output = JobResult>> Attempt<'a, F> {
    /// An attempt of the job that runs in the line of the thread's list.
    pub(super) fn new(future: F, span: JobSpan, limit: Option<Pin<Box<Limit>>>) -> Self {
        Self { future: Some(future), rest: Rest { span, limit, stop: Stop::InLine(Stage::New) } }
    }

    /// An attempt of any job.
    pub(super) fn of_job(
        job: &'a OfJob<'a>,
        is_in_line: bool,
        future: F,
        span: JobSpan,
        limit: Option<Pin<Box<Limit>>>,
    ) -> Self {
        // Another task is known already.
        let stage = if is_in_line { Stage::New } else { Stage::Waits };
        Self { future: Some(future), rest: Rest { span, limit, stop: Stop::OfJob(job, stage) } }
    }

    /// Creates the step that follows an attempt, and that nothing stops.
    pub(super) fn unstopped(future: F, span: JobSpan, limit: Option<Pin<Box<Limit>>>) -> Self {
        Self { future: Some(future), rest: Rest { span, limit, stop: Stop::Never } }
    }
}

impl<F: Future<Output = JobResult>> Future for Attempt<'_, F> {
    type Output = AttemptEnd;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AttemptEnd> {
        let this = self.project();
        this.rest.poll(this.future, cx)
    }
}

/// How an attempt ended, and its span. Small, because most succeed.
pub(super) enum AttemptEnd {
    Succeeded(JobSpan),
    Failed(Box<(Failure, JobSpan)>),
}

/// A job's future, as an attempt needs it. What is done with it is the same for all jobs, and compiled once.
trait JobFuture {
    /// Polls the future.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobResult>;

    fn clear(self: Pin<&mut Self>);
}

impl<F: Future<Output = JobResult>> JobFuture for Option<F> {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobResult> {
        let future = self.as_mut().as_pin_mut();
        future.expect("an attempt is not polled after it completed").poll(cx)
    }

    fn clear(mut self: Pin<&mut Self>) {
        self.set(None);
    }
}

impl Rest<'_> {
    fn poll(&mut self, mut future: Pin<&mut dyn JobFuture>, cx: &mut Context<'_>) -> Poll<AttemptEnd> {
        let _in_job = InJob::enter();
        let entered = self.span.enter();
        let mut returned = None;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if let Poll::Ready(result) = future.as_mut().poll(cx) {
                returned = Some(result);
                future.as_mut().clear();
            }
        }));
        drop(entered);
        let failure = match (returned, caught) {
            (Some(Ok(())), Ok(())) => {
                return Poll::Ready(AttemptEnd::Succeeded(mem::replace(&mut self.span, JobSpan::NONE)));
            }
            (Some(Err(error)), caught) => {
                if let Err(panic) = caught {
                    drop_quietly(panic);
                }
                // Middleware has seen the job's panic.
                if error.is_panic() { Failure::Panicked(error) } else { Failure::Returned(error) }
            }
            (None | Some(Ok(())), Err(panic)) => Failure::Panicked(JobError::panicked(panic)),
            (None, Ok(())) if self.is_stopped(cx.waker()) => Failure::Returned(JobError::msg("cancelled")),
            (None, Ok(())) => {
                let Some(limit) = &mut self.limit else { return Poll::Pending };
                let limit = {
                    let _entered = self.span.enter();
                    limit.as_mut().poll(cx)
                };
                Failure::TimedOut(ready!(limit))
            }
        };
        drop_in_span(self, &mut || future.as_mut().clear());
        Poll::Ready(AttemptEnd::Failed(Box::new((failure, mem::replace(&mut self.span, JobSpan::NONE)))))
    }
}

impl Rest<'_> {
    /// The attempt waits. Returns whether it is dropped for that, because it is to be stopped: then it was polled once more before, so
    /// that it could be told.
    fn is_stopped(&mut self, task: &Waker) -> bool {
        let asks = |list: &JobList, index, stage| {
            if stage == Stage::New {
                list.waits_in_line(task);
            }
            list.stops(index)
        };
        let (stage, stops) = match &mut self.stop {
            Stop::Never => return false,
            Stop::OfJob(job, stage) => {
                let stops = asks(job.list, Some(job.index), *stage);
                (stage, stops)
            }
            Stop::InLine(stage) => {
                let stops = with_list(|list| asks(list, None, *stage)).unwrap_or_default();
                (stage, stops)
            }
        };
        let is_told = *stage == Stage::Told;
        *stage = if stops { Stage::Told } else { Stage::Waits };
        if stops && !is_told {
            task.wake_by_ref();
        }
        stops && is_told
    }
}

/// Drops a job's future as a part of the job: quietly, in its span.
#[cold]
fn drop_in_span(rest: &Rest<'_>, clear: &mut dyn FnMut()) {
    let _in_job = InJob::enter();
    let _entered = rest.span.enter();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(clear)) {
        drop_quietly(panic);
    }
}

pin_project! {
    /// How long an attempt may take. Completes with the error of one that takes longer.
    pub(super) struct Limit {
        #[pin]
        timer: Sleep,
        after: Duration,
    }
}

impl Limit {
    /// # Errors
    ///
    /// On a runtime without a timer.
    pub(super) fn new(after: Duration) -> Result<Pin<Box<Self>>, NoTimer> {
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

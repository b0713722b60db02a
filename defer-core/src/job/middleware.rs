//! Wraps each attempt in middleware.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{context::JobContext, watchdog::Watchdog};
use crate::{
    list::list::JobList,
    model::{
        error::{JobResult, caught},
        job_type::JobRef,
    },
    primitives::BoxFuture,
};

/// Middleware that wraps each attempt.
pub(crate) type Around =
    Box<dyn for<'a> Fn(&'a JobContext, Next<'a>) -> BoxFuture<'a, JobResult> + Send + Sync>;

/// A runner's middleware, the first outermost.
#[derive(Default)]
pub(crate) struct Middleware(pub(crate) Vec<Around>);

/// The rest of an attempt: the job, or the next [middleware](crate::RunnerBuilder::around). Await it to run it.
#[must_use = "the job runs when this is awaited"]
pub struct Next<'a>(BoxFuture<'a, JobResult>);

impl Future for Next<'_> {
    type Output = JobResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobResult> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

/// Wraps an attempt in its runner's middleware and watchdog. A blocking job is wrapped [where it runs](wrap_blocking), and is not
/// watched, because it may block.
pub(crate) fn wrap<'a>(
    list: &Arc<JobList>,
    job: JobRef,
    attempt: BoxFuture<'a, JobResult>,
) -> BoxFuture<'a, JobResult> {
    if !list.engine.config.wraps_attempts || job.policy().is_blocking() {
        return attempt;
    }
    let cx = JobContext::new(list.clone(), job);
    Box::pin(async move {
        let parts = &cx.list().engine.config.parts;
        let attempt = wrap_in(parts.get(), &cx, attempt);
        match parts.get::<Arc<Watchdog>>() {
            Some(watchdog) => watchdog.watch(&cx, attempt).await,
            None => attempt.await,
        }
    })
}

/// Wraps a blocking attempt in its runner's middleware, on its own thread.
pub(super) fn wrap_blocking<'a>(
    cx: &'a JobContext,
    attempt: BoxFuture<'a, JobResult>,
) -> BoxFuture<'a, JobResult> {
    wrap_in(cx.list().engine.config.parts.get(), cx, attempt)
}

fn wrap_in<'a>(
    middleware: Option<&'a Middleware>,
    cx: &'a JobContext,
    attempt: BoxFuture<'a, JobResult>,
) -> BoxFuture<'a, JobResult> {
    let innermost: BoxFuture<'a, JobResult> = Box::pin(without_panics(attempt));
    let arounds = middleware.map_or(&[][..], |middleware| &middleware.0);
    arounds.iter().rev().fold(innermost, |next, around| {
        // The middleware may run code, and panic, before it returns its future.
        Box::pin(async move { around(cx, Next(next)).await })
    })
}

/// Turns a job's panic into an error, for middleware to see.
async fn without_panics(mut job: BoxFuture<'_, JobResult>) -> JobResult {
    let result = poll_fn(|cx| match caught(|| job.as_mut().poll(cx)) {
        Ok(polled) => polled,
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let result = result.await;
    // An error is more informative than a panic in a drop after it.
    result.and(caught(|| drop(job)))
}

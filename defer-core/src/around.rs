//! Puts around a job what its runner was told to.

use std::{future::poll_fn, task::Poll};

use crate::{
    context::{Around, JobContext, Next},
    error::{JobResult, caught},
    future::BoxFuture,
};

/// Runs a job inside of these, the first outermost.
pub(crate) fn run<'a>(
    arounds: &'a [Around],
    cx: &'a JobContext,
    job: BoxFuture<'a, JobResult>,
) -> BoxFuture<'a, JobResult> {
    let Some((outermost, others)) = arounds.split_first() else {
        return Box::pin(without_panics(job));
    };
    // It may do something, and panic, before it returns its future.
    Box::pin(async move { outermost(cx, Next(run(others, cx, job))).await })
}

/// Turns a job's panic into an error, for what is around it to see.
async fn without_panics(mut job: BoxFuture<'_, JobResult>) -> JobResult {
    let result = poll_fn(|cx| match caught(|| job.as_mut().poll(cx)) {
        Ok(polled) => polled,
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let result = result.await;
    // An error says more than a panic in a drop after it.
    result.and(caught(|| drop(job)))
}

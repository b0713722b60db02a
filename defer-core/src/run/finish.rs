//! The end of an attempt: of its job, or another attempt follows.

use std::{future::poll_fn, sync::Arc, time::Duration};

use super::{
    attempt::{Attempt, AttemptEnd, Limit},
    backoff,
    held::Room,
    push,
};
use crate::{
    list::{
        current::InParent,
        list::{Call, JobList, Segment},
        state::AfterAttempt,
    },
    model::{error::JobResult, failure::Failure, job_type::JobRef},
    observe::{event::JobEventKind, hooks::Times, log::log_failed_hook, span::JobSpan, stats::Final},
    primitives::{BoxFuture, panic::drop_some, timestamp::Timestamp},
};

/// The next step of a job that had its turn.
pub(super) enum Next {
    /// Nothing: it has ended.
    Done,
    /// It goes on in a task of its own.
    Detach(Wait),
}

/// How long a job in a task of its own waits before it goes on.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    No,
    For(Duration),
    /// For this long, or until a shutdown begins.
    ForUnlessShutdown(Duration),
}

/// Another attempt follows.
pub(super) struct Again {
    pub(super) delay: Duration,
    /// The room that the job takes meanwhile.
    pub(super) room: Option<Room>,
}

/// Ends an attempt that has failed. Calls the job's `failed` before, if no other attempt follows.
pub(super) async fn end_failed(
    list: &Arc<JobList>,
    index: usize,
    jobs: &mut dyn Segment,
    (failure, span): (Failure, JobSpan),
    mut at: Option<Timestamp>,
) -> Option<Again> {
    let given_up = list.lock().state.give_up(index, &failure);
    if let Some(job) = given_up {
        let began = Timestamp::now();
        let failed = as_parent(list, index, jobs.call(index, list, job, Call::Failed(failure.error())));
        tell(failed, job, &span).await;
        // That time does not count for the attempt.
        at = at.map(|at| at.after(began.elapsed()));
    }
    end_attempt(list, index, failure, at, &span)
}

/// Lets what a stored job's `failed` defers be stored with its end.
fn as_parent<'a>(
    list: &'a Arc<JobList>,
    index: usize,
    mut failed: BoxFuture<'a, JobResult>,
) -> BoxFuture<'a, JobResult> {
    if list.engine.queue().is_none() {
        return failed;
    }
    Box::pin(poll_fn(move |cx| {
        let _parent = InParent::enter(list, index);
        failed.as_mut().poll(cx)
    }))
}

/// Runs a job's `failed`, as part of its attempt.
async fn tell(failed: BoxFuture<'_, JobResult>, job: JobRef, span: &JobSpan) {
    // Without a timer there is no limit.
    let limit = job.policy().timeout().and_then(|limit| Limit::new(limit).ok());
    let AttemptEnd::Failed(told) = Attempt::unstopped(failed, span.clone(), limit).await else { return };
    let (failure, span) = *told;
    log_failed_hook(job.in_span(span.get().is_some()), failure.kind(), failure.error());
}

/// Ends an attempt that has succeeded, and with it the job.
pub(super) fn succeed(list: &Arc<JobList>, index: usize, at: Option<Timestamp>, span: JobSpan) {
    {
        let _entered = span.enter();
        let (mut times, elapsed) = times(at);
        let ended = list.transition(|state| {
            if at.is_some() {
                times.wait = state.waited(index);
            }
            state.succeed(index)
        });
        if let Some(mut ended) = ended {
            ended.job = ended.job.in_span(span.get().is_some());
            list.ended(ended, &JobEventKind::Succeeded { elapsed }, Final::Succeeded, times);
        }
    }
    push::push_due(list);
}

/// Ends an attempt that has failed, and with it the job, unless another attempt follows here.
fn end_attempt(
    list: &Arc<JobList>,
    index: usize,
    failure: Failure,
    at: Option<Timestamp>,
    span: &JobSpan,
) -> Option<Again> {
    let again = {
        let _entered = span.enter();
        span.record_failure(failure.kind(), failure.error());
        let (mut times, elapsed) = times(at);
        let after = list.transition(|state| {
            if at.is_some() {
                times.wait = state.waited(index);
            }
            state.end_attempt(index, &failure)
        });
        let in_span = |job: JobRef| job.in_span(span.get().is_some());
        match after {
            AfterAttempt::Gone => None,
            AfterAttempt::Ended(mut ended) => {
                ended.job = in_span(ended.job);
                list.ended(ended, &JobEventKind::ended(failure, elapsed), Final::Failed, times);
                None
            }
            AfterAttempt::Cancelled(mut ended) => {
                ended.job = in_span(ended.job);
                list.ended(ended, &JobEventKind::Cancelled, Final::Cancelled, times);
                None
            }
            AfterAttempt::Return(mut ended) => {
                let observer = ended.extras.as_mut().and_then(|extras| extras.take_observer());
                let leased = ended.extras.as_mut().and_then(|extras| extras.take_leased());
                drop_some(ended.extras);
                let again = report_again(list, in_span(ended.job), failure, elapsed, times).0;
                match leased {
                    Some(leased) => list.return_leased(leased, index, ended.job, &again),
                    None => list.count(ended.job, &JobEventKind::Queued, Final::Queued, Times::default()),
                }
                if let Some(observer) = observer {
                    let _ = observer.send(again);
                }
                None
            }
            AfterAttempt::Again(job) => {
                Some(prepare_again(list, index, in_span(job), failure, elapsed, times))
            }
        }
    };
    push::push_due(list);
    again
}

/// Returns when an attempt ended, and how long it took, if it is known when it started.
#[inline]
fn times(at: Option<Timestamp>) -> (Times, Duration) {
    match at {
        None => (Times::default(), Duration::ZERO),
        Some(at) => {
            let now = Timestamp::now();
            (Times { wait: None, ended: Some(now) }, now.since(at))
        }
    }
}

#[cold]
fn prepare_again(
    list: &Arc<JobList>,
    index: usize,
    job: JobRef,
    failure: Failure,
    elapsed: Duration,
    times: Times,
) -> Again {
    // A job in its backoff takes room, which it does not wait for: its response has been let through. One that says how long it
    // waits takes none, as a delayed job does: that may be for days.
    let takes_room = failure.retry_after().is_none();
    let room = takes_room.then(|| Room::take(list));
    let (_, delay) = report_again(list, job, failure, elapsed, times);
    if let Some(now) = list.now() {
        list.lock().state.set_ready(index, now.after(delay));
    }
    Again { delay, room }
}

/// Reports an attempt that another follows. Returns the event, and how long the job has to wait.
#[cold]
fn report_again(
    list: &JobList,
    job: JobRef,
    failure: Failure,
    elapsed: Duration,
    times: Times,
) -> (JobEventKind, Duration) {
    let asked_for = failure.retry_after();
    let is_snooze = failure.is_snooze();
    let (event, delay) = match failure.into_error() {
        error if !is_snooze => {
            list.engine.counters.retried();
            let delay = asked_for.unwrap_or_else(|| backoff::delay(job.policy(), job.attempt));
            (JobEventKind::Retrying { error, elapsed, delay }, delay)
        }
        _ => {
            let delay = asked_for.unwrap_or_default();
            (JobEventKind::Snoozed { elapsed, delay }, delay)
        }
    };
    list.report(job, &event, times);
    (event, delay)
}

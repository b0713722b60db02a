//! Pushes a list's jobs to the queue.
//!
//! A separate task pushes them, so that a client that leaves cannot stop a push half-way. A job whose push failed keeps its
//! place in line and runs in this process.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use tokio::task::JoinHandle;

use crate::{
    limits::semaphore::Semaphore,
    list::{
        entry::{Entry, JobState},
        list::JobList,
        state::Effects,
    },
    model::{
        error::JobError,
        metadata::{Metadata, REQUEST_ID, ROUTE, SERIAL, UNIQUE},
        policy::Condition,
        request::RequestInfo,
        response::is_success,
    },
    observe::{event::JobEventKind, hooks::Times},
    primitives::timer::timer,
    store::{Envelope, push},
};

/// The point at which jobs are pushed, and so what is known of their response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushPoint {
    /// Before the response goes out, when its status is known.
    Head(http::StatusCode),
    /// When nothing more will be known.
    End,
}

impl PushPoint {
    /// Returns whether the condition of this job cannot be answered yet.
    fn is_early_for(self, entry: &Entry) -> bool {
        match (self, entry.condition()) {
            (Self::End, _) | (_, Condition::Always) => false,
            (Self::Head(status), Condition::Success) => !is_success(status),
            (Self::Head(_), Condition::When) => true,
        }
    }
}

/// Begins to push the jobs for the queue, if there are any. Returns the task that does it.
#[cold]
pub(super) fn begin_push(list: &Arc<JobList>, point: PushPoint) -> Option<JoinHandle<()>> {
    list.engine.queue()?;
    let mut effects = Effects::default();
    let jobs = list.lock().state.begin_push(|entry| point.is_early_for(entry), &mut effects);
    list.follow_up(effects, Vec::new(), &JobEventKind::Queued);
    if jobs.is_empty() {
        return None;
    }
    // Created before its task, because a runtime that was shut down drops the task without a poll.
    let push = Push { list: list.clone(), jobs };
    Some(list.origin.runtime.spawn(push.run(point)))
}

/// Begins to push the jobs for the queue, now that nothing more will be known about their response. Those that a recorder
/// keeps are pushed when the first of them has its turn to run.
#[inline]
pub(super) fn push_due(list: &Arc<JobList>) {
    if list.engine.queue().is_some() && !list.engine.config.is_recording {
        drop(begin_push(list, PushPoint::End));
    }
}

/// Pushes the jobs for the queue, and waits until this one is no longer on its way, or none is.
pub(crate) async fn pushed(list: &Arc<JobList>, index: Option<usize>) {
    drop(begin_push(list, PushPoint::End));
    poll_fn(|cx| {
        // Cloned before the lock, and dropped after it.
        let waker = cx.waker().clone();
        let mut locked = list.lock();
        let waits = locked.state.is_pushing(index);
        let unused = if waits { locked.state.keep_waker(waker) } else { Some(waker) };
        drop(locked);
        drop(unused);
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// Returns what the queue stores of a job that is being pushed, after its condition was asked.
fn envelope(list: &Arc<JobList>, index: usize, point: PushPoint) -> Option<Envelope> {
    if point == PushPoint::End {
        let question = list.lock().state.ask_push(index)?;
        if let Err(event) = question.map_or(Ok(()), |question| list.ask(question)) {
            list.end_with(&event, |locked, effects| {
                locked.state.end(index, |state| state == JobState::Pushing, effects);
            });
            return None;
        }
    }
    let mut envelope = list.lock().state.pass_push(index)?;
    if let Err(error) = add_metadata(list, &mut envelope) {
        // Without the extensions of its request it must not run anywhere else.
        push_failed(list, index, error, false);
        return None;
    }
    Some(envelope)
}

/// Adds what a queued job takes from its request to what is its own.
pub(super) fn add_metadata(list: &JobList, envelope: &mut Envelope) -> Result<(), JobError> {
    let own = mem::replace(&mut envelope.metadata, metadata(list)?);
    envelope.metadata.extend(own);
    Ok(())
}

fn metadata(list: &JobList) -> Result<Metadata, JobError> {
    // A job that a queued job defers comes from the same request, but has no key of its own.
    let mut metadata = list.origin.queued.as_deref().cloned().unwrap_or_default();
    metadata.remove(SERIAL);
    metadata.remove(UNIQUE);
    list.origin.parent.write(&mut metadata);
    if let Some(request) = list.request() {
        metadata.insert(ROUTE.into(), request.route());
        if let Some(id) = request.request_id() {
            metadata.insert(REQUEST_ID.into(), id.into());
        }
    }
    let mut extensions = list.request().and_then(RequestInfo::extensions).cloned().unwrap_or_default();
    let from_handler = list.lock().extensions.as_deref().cloned();
    extensions.extend(from_handler.unwrap_or_default());
    extensions.write(|name, value| drop(metadata.insert(name, value)))?;
    Ok(metadata)
}

fn push_failed(list: &Arc<JobList>, index: usize, error: JobError, unsure: bool) {
    let failed = list.lock().state.fail_push(index, unsure, list.bounds());
    let Some(failed) = failed else { return };
    list.report(failed.job, &JobEventKind::QueueFailed { error }, Times::default());
    if failed.is_released {
        // As is done with the others at the release.
        list.claim(index);
    }
    failed.wakers.into_iter().for_each(Waker::wake);
    if failed.starts {
        Semaphore::request(list.clone());
    }
}

/// Jobs on their way to the queue. If this is dropped before the queue has answered, the queue may or may not have
/// them, and they run here.
struct Push {
    list: Arc<JobList>,
    jobs: Vec<usize>,
}

impl Push {
    async fn run(mut self, point: PushPoint) {
        let list = self.list.clone();
        let mut envelopes = Vec::with_capacity(self.jobs.len());
        self.jobs.retain(|index| {
            let envelope = envelope(&list, *index, point);
            let is_left = envelope.is_some();
            envelopes.extend(envelope);
            is_left
        });
        let Some(queue) = list.engine.queue().filter(|_| !envelopes.is_empty()) else { return };
        let limit = list.engine.config.push_timeout;
        let answer = within(limit, push(queue, envelopes)).await;
        let jobs = mem::take(&mut self.jobs).into_iter();
        match answer {
            Some(Ok(())) => jobs.for_each(|index| {
                let is_pushing = |state| state == JobState::Pushing;
                list.end_with(&JobEventKind::Queued, |locked, effects| {
                    locked.state.end(index, is_pushing, effects);
                });
            }),
            Some(Err(error)) => jobs.for_each(|index| push_failed(&list, index, error.clone(), false)),
            None => {
                let error = JobError::msg(format!("the queue took longer than {limit:?}"));
                jobs.for_each(|index| push_failed(&list, index, error.clone(), true));
            }
        }
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        for index in mem::take(&mut self.jobs) {
            let error = JobError::msg("the runtime stopped before the queue had answered");
            push_failed(&self.list, index, error, true);
        }
    }
}

/// Waits for a future for this long; without a limit on a runtime that has no timer.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let Ok(mut elapsed) = timer(limit) else { return Some(future.await) };
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => elapsed.as_mut().poll(cx).map(|()| None),
    })
    .await
}

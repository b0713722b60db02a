//! Gets a list's jobs to the queue.
//!
//! A separate task does, so that a client that leaves cannot stop it half-way. A job that the queue did not take keeps its place
//! in line and runs in this process. So does one that the queue holds.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use http::StatusCode;
use tokio::task::JoinHandle;

use crate::{
    list::{
        entry::{Entry, JobState},
        list::JobList,
        state::{Effects, State},
    },
    model::{
        error::{JobError, caught},
        policy::{Condition, Flags},
        response::is_success,
    },
    observe::event::JobEventKind,
    primitives::timer::timer,
    store::{Envelope, Hold, HoldJobs, Lease, OnQueueFailure, Queue, push},
};

/// How long jobs may take to be stored if the last ones took too long.
const SLOW_PUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// The point at which jobs go to the queue, and so what is known of their response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushPoint {
    /// Before the response goes out, when its status is known.
    Head(StatusCode),
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
    let holds = list.engine.queue()?.hold().is_some();
    let mut effects = Effects::default();
    // A queue that holds jobs stores conditions too. A job that is stored with another one's end waits for that.
    let keeps = |entry: &Entry| entry.has(Flags::CHILD) || !holds && point.is_early_for(entry);
    let (left_out, jobs) = {
        let mut locked = list.lock();
        let left_out = list.leave_out_locked(&mut locked);
        (left_out, locked.state.begin_push(keeps, &mut effects))
    };
    list.follow_left_out(left_out);
    list.follow_up(effects, Vec::new(), &JobEventKind::Queued);
    if jobs.is_empty() {
        return None;
    }
    // Created before its task, because a runtime that was shut down drops the task without a poll.
    let push = Push { list: list.clone(), jobs, leases: Vec::new() };
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
    until_not(list, |state| state.is_pushing(index)).await;
}

/// Waits until a job is no longer on its way to the queue.
pub(crate) async fn answered(list: &Arc<JobList>, index: usize) {
    until_not(list, |state| state.is_on_its_way(index)).await;
}

/// Waits for a change of the list after which there is nothing to wait for.
async fn until_not(list: &Arc<JobList>, mut waits: impl FnMut(&mut State) -> bool) {
    poll_fn(|cx| {
        // Cloned before the lock, and dropped after it.
        let waker = cx.waker().clone();
        let mut locked = list.lock();
        let waits = waits(&mut locked.state);
        let unused = if waits { locked.state.keep_waker(waker) } else { Some(waker) };
        drop(locked);
        drop(unused);
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// Jobs on their way to the queue. If this is dropped before the queue has answered, the queue may or may not have
/// them, and they run here.
struct Push {
    list: Arc<JobList>,
    jobs: Vec<usize>,
    /// The leases of a queue that holds jobs: one for each job, as soon as the queue was asked.
    leases: Vec<Arc<dyn Lease>>,
}

impl Push {
    async fn run(mut self, point: PushPoint) {
        let list = self.list.clone();
        let Some(queue) = list.engine.queue() else { return };
        let holds = queue.hold();
        let mut envelopes = Vec::with_capacity(self.jobs.len());
        self.jobs.retain(|index| {
            let envelope = match point {
                PushPoint::End => list.envelope(*index),
                PushPoint::Head(status) if holds.is_some() => list.early_envelope(*index, status),
                PushPoint::Head(_) => list.passed_envelope(*index),
            };
            let is_left = envelope.is_some();
            envelopes.extend(envelope);
            is_left
        });
        if envelopes.is_empty() {
            return;
        }
        if holds.is_none() {
            let known = match point {
                PushPoint::Head(status) => Some(status),
                PushPoint::End => list.status_for_queue(),
            };
            envelopes.iter_mut().for_each(|envelope| envelope.status = known);
        }
        match holds {
            Some(holds) => self.hold(holds, envelopes, point).await,
            None => self.push(queue, envelopes).await,
        }
    }

    async fn push(mut self, queue: &dyn Queue, envelopes: Vec<Envelope>) {
        let limit = self.list.engine.config.push_timeout;
        let answer = within(limit, push(queue, envelopes)).await;
        let jobs = mem::take(&mut self.jobs);
        for index in jobs {
            match &answer {
                Some(Ok(())) => {
                    self.list.end_with(&JobEventKind::Queued, |locked, effects| {
                        locked.state.end(index, |state| state == JobState::Pushing, effects);
                    });
                }
                Some(Err(error)) => self.list.push_failed(index, error.clone(), false, None),
                None => self.list.push_failed(index, too_slow(limit), true, None),
            }
        }
    }

    async fn hold(mut self, holds: &dyn HoldJobs, envelopes: Vec<Envelope>, point: PushPoint) {
        let slow = &self.list.engine.queue_is_slow;
        let limit = self.list.engine.config.push_timeout;
        let limit = if slow.load(Ordering::Relaxed) { limit.min(SLOW_PUSH_TIMEOUT) } else { limit };
        let results = match caught(|| holds.hold(envelopes)) {
            Ok(Hold { leases, stored }) => {
                self.leases = leases;
                within(limit, stored).await
            }
            Err(panic) => Some(self.jobs.iter().map(|_| Err(panic.to_string().into())).collect()),
        };
        // Waits less for the next ones, until some were stored.
        slow.store(results.is_none(), Ordering::Relaxed);
        let is_refused = matches!(point, PushPoint::Head(_))
            && self.list.engine.config.on_queue_failure == OnQueueFailure::Refuse
            && results.as_ref().is_none_or(|results| results.iter().any(Result::is_err));
        let mut results = results.map(Vec::into_iter);
        let mut leases = mem::take(&mut self.leases).into_iter();
        for index in mem::take(&mut self.jobs) {
            let result = match &mut results {
                Some(results) => results
                    .next()
                    .unwrap_or_else(|| Err("the queue gave no answer".into()))
                    .map_err(JobError::from),
                None => Err(too_slow(limit)),
            };
            match (result, leases.next()) {
                (Ok(()), Some(lease)) => {
                    self.list.stored(index, lease);
                    if is_refused {
                        self.list.refuse_stored(index);
                    }
                }
                (Ok(()), None) => {
                    self.list.push_failed(index, JobError::msg("the queue gave no lease"), true, None)
                }
                (Err(error), lease) if is_refused => self.list.refuse(index, error, lease),
                (Err(error), lease) => self.list.push_failed(index, error, results.is_none(), lease),
            }
        }
    }
}

fn too_slow(limit: Duration) -> JobError {
    JobError::msg(format!("the queue took longer than {limit:?}"))
}

impl Drop for Push {
    fn drop(&mut self) {
        let mut leases = mem::take(&mut self.leases).into_iter();
        for index in mem::take(&mut self.jobs) {
            let error = JobError::msg("the runtime stopped before the queue had answered");
            self.list.push_failed(index, error, true, leases.next());
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

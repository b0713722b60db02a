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

use super::{beside::split, entry::Entry, list::JobList};
use crate::{
    attempt::timer,
    context::Surroundings,
    error::JobError,
    event::JobEventKind,
    queue::{Envelope, Metadata, ROUTE, SERIAL, UNIQUE, push},
    request::RequestInfo,
    response::is_success,
};

/// When jobs are pushed, and so what is known of their response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Before the response goes out, when its status is known.
    AtHead(http::StatusCode),
    /// When nothing more will be known.
    AtEnd,
}

impl Pushed {
    /// Returns whether the condition of this job cannot be answered yet.
    fn is_early_for(self, entry: &Entry) -> bool {
        match self {
            Self::AtHead(status) => {
                let runs = entry.is_unconditional() || entry.runs_after_success() && is_success(status);
                !runs
            }
            Self::AtEnd => false,
        }
    }
}

impl JobList {
    /// Begins to push the jobs for the queue, if there are any. Returns the task that does it.
    #[cold]
    pub(super) fn begin_push(self: &Arc<Self>, pushed: Pushed) -> Option<JoinHandle<()>> {
        self.runner().queue()?;
        let (jobs, freed) = self.lock().begin_push(|entry| pushed.is_early_for(entry));
        self.freed(freed);
        if jobs.is_empty() {
            return None;
        }
        // Created before its task, because a runtime that was shut down drops the task without a poll.
        let push = Push { list: self.clone(), jobs };
        Some(self.runtime().spawn(push.run(pushed)))
    }

    /// Begins to push the jobs for the queue, now that nothing more will be known about their response. Those that a recorder
    /// keeps are pushed when the first of them has its turn to run.
    #[inline]
    pub(crate) fn push_due(self: &Arc<Self>) {
        if self.runner().queue().is_some() && !self.runner().is_recording() {
            drop(self.begin_push(Pushed::AtEnd));
        }
    }

    /// Pushes the jobs for the queue, and waits until this one is no longer on its way, or none is.
    pub(crate) async fn pushed(self: &Arc<Self>, index: Option<usize>) {
        drop(self.begin_push(Pushed::AtEnd));
        poll_fn(|cx| {
            // Cloned before the lock, and dropped after it.
            let waker = cx.waker().clone();
            let (waits, _replaced) = self.lock().poll_pushed(index, waker);
            if waits { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Asks the condition of a job that is being pushed. Returns what the queue stores.
    fn ask_push(self: &Arc<Self>, index: usize, pushed: Pushed) -> Option<Envelope> {
        if pushed == Pushed::AtEnd {
            let condition = self.lock().ask_push(index)?;
            if let Err(event) = self.check(condition) {
                self.end(index, &event);
                return None;
            }
        }
        let mut envelope = self.lock().pass_push(index)?;
        if let Err(error) = self.add_metadata(&mut envelope) {
            // Without what it takes over from its request it must not run anywhere else.
            self.push_failed(index, error, false);
            return None;
        }
        Some(envelope)
    }

    /// Adds what a queued job carries over from its request to what is its own.
    pub(super) fn add_metadata(&self, envelope: &mut Envelope) -> Result<(), JobError> {
        let own = mem::replace(&mut envelope.metadata, self.metadata()?);
        envelope.metadata.extend(own);
        Ok(())
    }

    fn metadata(&self) -> Result<Metadata, JobError> {
        // A job that a queued job defers comes from the same request, but has no key of its own.
        let mut metadata = self.origin.queued.as_deref().cloned().unwrap_or_default();
        metadata.remove(SERIAL);
        metadata.remove(UNIQUE);
        self.origin.source.write(&mut metadata);
        if let Some(request) = self.request() {
            metadata.insert(ROUTE.into(), request.route());
            if let Some(id) = request.request_id() {
                metadata.insert("request_id".into(), id.into());
            }
        }
        let mut carried = self.request().and_then(RequestInfo::carried).cloned().unwrap_or_default();
        carried.extend(self.lock().all_carried().unwrap_or_default());
        carried.write(|name, value| drop(metadata.insert(name, value)))?;
        Ok(metadata)
    }

    fn push_failed(self: &Arc<Self>, index: usize, error: JobError, unsure: bool) {
        let failed = self.lock().fail_push(index, unsure, self.bounds());
        if let Some(job) = failed.job {
            self.report(job, &JobEventKind::QueueFailed { error });
        }
        failed.pushed.into_iter().for_each(Waker::wake);
        if failed.is_released {
            self.rejoin(index);
        }
        if failed.starts {
            self.request_permit();
        }
    }

    /// Does with a job that came back from its way to the queue what is done with the others at the release.
    fn rejoin(self: &Arc<Self>, index: usize) {
        self.claim(index);
        let beside = {
            let mut state = self.lock();
            let leaves_line = state.waiting_entry(index).is_some_and(|entry| entry.leaves_line());
            if leaves_line { split(&mut state, index) } else { None }
        };
        if let Some(beside) = beside {
            beside.run(self);
        }
    }
}

/// Jobs on their way to the queue. If this is dropped before the queue has answered, the queue may or may not have
/// them, and they run here.
struct Push {
    list: Arc<JobList>,
    jobs: Vec<usize>,
}

impl Push {
    async fn run(mut self, pushed: Pushed) {
        let list = self.list.clone();
        let mut envelopes = Vec::with_capacity(self.jobs.len());
        self.jobs.retain(|index| {
            let envelope = list.ask_push(*index, pushed);
            let is_left = envelope.is_some();
            envelopes.extend(envelope);
            is_left
        });
        let Some(queue) = list.runner().queue().filter(|_| !envelopes.is_empty()) else { return };
        let limit = list.runner().push_timeout();
        let answer = within(limit, push(queue, envelopes)).await;
        let jobs = mem::take(&mut self.jobs).into_iter();
        match answer {
            Some(Ok(())) => jobs.for_each(|index| {
                if let Some(ended) = list.transition(|state| state.end_queued(index)) {
                    list.ended(ended, &JobEventKind::Queued);
                }
            }),
            Some(Err(error)) => jobs.for_each(|index| list.push_failed(index, error.clone(), false)),
            None => {
                let error = JobError::msg(format!("the queue took longer than {limit:?}"));
                jobs.for_each(|index| list.push_failed(index, error.clone(), true));
            }
        }
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        for index in mem::take(&mut self.jobs) {
            let error = JobError::msg("the runtime stopped before the queue had answered");
            self.list.push_failed(index, error, true);
        }
    }
}

/// Waits for a future for this long; for ever on a runtime without a timer.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let Ok(mut elapsed) = timer(limit) else { return Some(future.await) };
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => elapsed.as_mut().poll(cx).map(|()| None),
    })
    .await
}

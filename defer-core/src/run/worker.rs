//! The task that runs the jobs of a list's line, one after another.

use std::{pin::Pin, sync::Arc};

use tokio::{runtime::Handle, task::JoinHandle};

use super::{
    attempt::{Attempt, AttemptEnd, Limit},
    detached::Detached,
    detour::{detour, next},
    finish::{Next, end_failed, succeed},
    held::Held,
    jobs::Jobs,
    start::{Limited, Started, no_timer, started},
};
use crate::{
    job::{context::JobContext, work::Work},
    limits::semaphore::{Grantee, Permit, Semaphore},
    list::{
        current::InList,
        list::{JobList, Segment, WorkerGuard},
    },
    model::failure::Failure,
    observe::span::JobSpan,
    primitives::{BoxFuture, timestamp::Timestamp},
};

impl Grantee for Arc<JobList> {
    fn semaphore(&self) -> &Semaphore<Self> {
        &self.engine.semaphore
    }

    fn granted(self, permit: Permit<Self>) {
        let (segment, epoch) = {
            let mut locked = self.lock();
            let Some(segment) = locked.take_segment() else { return };
            (segment, locked.state.worker_epoch())
        };
        // Not under the lock: a runtime that was shut down drops the worker here, which locks.
        let worker = segment.spawn(WorkerGuard::new(self.clone(), permit), &self.origin.runtime);
        let too_late = self.lock().state.keep_worker(epoch, worker);
        if let Some(worker) = too_late {
            worker.abort();
        }
    }
}

/// Spawns a worker. The attempts of its first segment are part of its future, unless there is something in their way; later
/// ones are boxed.
pub(super) fn spawn<W: Work>(mut guard: WorkerGuard, mut jobs: Jobs<W>, runtime: &Handle) -> JoinHandle<()> {
    let list = guard.list.clone();
    // Not an `async fn`, whose future would have room for each argument twice.
    let task = async move {
        // Mentioned first, and so dropped first if the task is: the list knows that its worker is gone before the jobs are
        // dropped, which may defer others.
        let _ = &guard;
        // Not a `for` loop, whose iterator the future would keep too.
        let mut index = jobs.range().start;
        loop {
            {
                // Rare steps after this are boxed, as one type.
                let aside = {
                    // Moved as a whole before the `.await`: otherwise the future would have room for it.
                    let (begin, started) = start(&guard.list, index);
                    match begin {
                        Begin::Attempt => {
                            let (cx, at, span, limit) = unpacked(started, &guard.list);
                            match Attempt::new(jobs.attempt(index, &cx), span, limit).await {
                                AttemptEnd::Succeeded(span) => {
                                    succeed(&guard.list, index, at, span);
                                    jobs.clear(index);
                                    None
                                }
                                AttemptEnd::Failed(failed) => {
                                    Some(fail(&mut guard, index, &mut jobs, failed, at))
                                }
                            }
                        }
                        Begin::Aside => go_aside(&mut guard, index, &mut jobs, started),
                    }
                };
                if let Some(aside) = aside {
                    aside.await;
                }
            }
            index += 1;
            if index >= jobs.range().end {
                break;
            }
            // As `pause` does, without the room for another future. Jobs that are ready at once would keep the thread for the
            // whole list.
            tokio::task::consume_budget().await;
            if guard.list.engine.semaphore.is_wanted() {
                let_others_go(&mut guard).await;
            }
        }
        if let Some(rest) = run_rest(&mut guard) {
            rest.await;
        }
        guard.finish();
    };
    runtime.spawn(InList::new(list, task))
}

/// Spawns a worker whose attempts are all boxed.
pub(super) fn spawn_boxed(
    mut guard: WorkerGuard,
    jobs: Box<dyn Segment>,
    runtime: &Handle,
) -> JoinHandle<()> {
    let list = guard.list.clone();
    let task = async move {
        let _ = &guard;
        run_segment(&mut guard, jobs).await;
        if let Some(rest) = run_rest(&mut guard) {
            rest.await;
        }
        guard.finish();
    };
    runtime.spawn(InList::new(list, task))
}

/// The step that a worker takes with a job.
enum Begin {
    /// Run an attempt, which has started.
    Attempt,
    /// [Something else](go_aside).
    Aside,
}

#[inline]
fn start(list: &Arc<JobList>, index: usize) -> (Begin, Option<Started>) {
    match list.transition(|state| state.start(index)) {
        Some((job, room)) => match started(list, index, job, room) {
            started @ Started { limit: Limited::By(_), .. } => (Begin::Attempt, Some(started)),
            started => (Begin::Aside, Some(started)),
        },
        None => (Begin::Aside, None),
    }
}

type Unpacked = (JobContext, Option<Timestamp>, JobSpan, Option<Pin<Box<Limit>>>);

/// Returns what an attempt that has started consists of.
#[inline]
fn unpacked(started: Option<Started>, list: &Arc<JobList>) -> Unpacked {
    let Started { job, at, span, limit } = started.expect(STARTED);
    let limit = match limit {
        Limited::By(limit) => limit,
        Limited::NoTimer => None,
    };
    (JobContext::new(list.clone(), job), at, span, limit)
}

const STARTED: &str = "an attempt that begins has started";

/// Ends an attempt that has failed. Boxed, so that others pay nothing for it.
#[cold]
fn fail<'a>(
    guard: &'a mut WorkerGuard,
    index: usize,
    jobs: &'a mut dyn Segment,
    failed: Box<(Failure, JobSpan)>,
    at: Option<Timestamp>,
) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        let mut held = Held::default();
        let again = end_failed(&guard.list, index, jobs, *failed, at).await;
        leave(&guard.list, index, jobs, next(again, &mut held), held);
    })
}

/// Runs a job with something in its way, or ends an attempt that has started, because its timeout needs a timer. `None` if the
/// job is not there: it was cancelled, or has left the line.
#[cold]
fn go_aside<'a>(
    guard: &'a mut WorkerGuard,
    index: usize,
    jobs: &'a mut dyn Segment,
    started: Option<Started>,
) -> Option<BoxFuture<'a, ()>> {
    match started {
        None => jobs.has(index).then(|| Box::pin(run_detour(guard, index, jobs)) as BoxFuture<'a, ()>),
        Some(Started { at, span, .. }) => {
            let failed = Box::new((Failure::Returned(no_timer()), span));
            Some(fail(guard, index, jobs, failed, at))
        }
    }
}

/// Runs a job by the detour.
async fn run_detour(guard: &mut WorkerGuard, index: usize, jobs: &mut dyn Segment) {
    let WorkerGuard { list, permit, .. } = guard;
    let mut held = Held::default();
    let next = detour(list, index, jobs, None, permit, &mut held).await;
    leave(list, index, jobs, next, held);
    if permit.is_none() {
        *permit = Some(Semaphore::acquire(list).await);
    }
}

/// Leaves a job behind: drops it if it has ended, or lets it go on in a task of its own.
fn leave(list: &Arc<JobList>, index: usize, jobs: &mut dyn Segment, next: Next, held: Held) {
    match next {
        Next::Done => jobs.clear(index),
        Next::Detach(wait) => {
            let Some(job) = jobs.take(index) else { return };
            Detached::new(list, index, job, held).start_after(wait);
        }
    }
}

/// Runs the jobs of the segments that are left, if any is.
fn run_rest(guard: &mut WorkerGuard) -> Option<BoxFuture<'_, ()>> {
    let first = guard.list.lock().take_segment()?;
    Some(Box::pin(async move {
        let mut next = Some(first);
        while let Some(segment) = next {
            pause(guard).await;
            run_segment(guard, segment).await;
            next = guard.list.lock().take_segment();
        }
    }))
}

async fn run_segment(guard: &mut WorkerGuard, mut jobs: Box<dyn Segment>) {
    let indices = jobs.indices();
    for index in indices.clone() {
        if index > indices.start {
            pause(guard).await;
        }
        // One that is not there was cancelled, or has left the line.
        if jobs.has(index) {
            run_detour(guard, index, &mut *jobs).await;
        }
    }
}

/// Lets other tasks and other lists go first, between two jobs.
async fn pause(guard: &mut WorkerGuard) {
    tokio::task::consume_budget().await;
    if guard.list.engine.semaphore.is_wanted() {
        let_others_go(guard).await;
    }
}

/// Lets other lists go first.
#[cold]
fn let_others_go(guard: &mut WorkerGuard) -> BoxFuture<'_, ()> {
    Box::pin(async {
        if let Some(permit) = guard.permit.take() {
            guard.permit = Some(permit.turn().await);
        }
    })
}

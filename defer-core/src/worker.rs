//! The tasks that run a list's jobs: one worker for those in line, and a task of its own for each job that is retried or
//! delayed.

use std::{mem, pin::Pin, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Sleep};
use tracing::Span;

use crate::{
    attempt::{Attempt, Outcome, Work, timer},
    context::JobContext,
    event::JobEventKind,
    list::{JobList, Next, RunSegment, Segment, WorkerGuard},
    panic::drop_quietly,
    queue::BoxFuture,
    runner::{jobs::Jobs, semaphore::Semaphore},
    scope::Scoped,
    stamp::Stamp,
};

impl<W: Work> RunSegment for Segment<W> {
    fn spawn(self: Box<Self>, guard: WorkerGuard) -> JoinHandle<()> {
        spawn(guard, self)
    }

    fn run<'a>(&'a mut self, guard: &'a mut WorkerGuard) -> BoxFuture<'a, ()> {
        Box::pin(run(guard, self))
    }
}

/// Spawns a worker. Its first segment runs inside its future; later ones are boxed.
fn spawn<W: Work>(mut guard: WorkerGuard, mut first: Box<Segment<W>>) -> JoinHandle<()> {
    let list = guard.list.clone();
    let scope = list.clone();
    // Not an `async fn`, whose future would have room for each argument twice.
    let task = async move {
        run(&mut guard, &mut first).await;
        drop_quietly(first);
        while let Some(mut segment) = guard.list.take_segment() {
            pause(&mut guard).await;
            segment.run(&mut guard).await;
        }
        guard.finish();
    };
    list.runtime().spawn(Scoped::of_list(scope, false, task))
}

/// Runs the jobs of a segment, from the first to the last.
#[allow(clippy::manual_async_fn, reason = "the future of an `async fn` has room for each argument twice")]
fn run<W: Work>(guard: &mut WorkerGuard, segment: &mut Segment<W>) -> impl Future<Output = ()> + Send {
    async move {
        for index in segment.indices() {
            if index > segment.indices().start {
                pause(guard).await;
            }
            let Some(slot) = segment.slot(index) else { continue };
            let then = loop {
                let Some(work) = slot else { break Then::Nothing };
                match run_attempt(&guard.list, index, work).await {
                    Then::Push => wait_for_push(guard, index).await,
                    then => break then,
                }
            };
            match then {
                Then::Nothing | Then::Push => drop_quietly(slot.take()),
                Then::Retry(delay) => leave(&guard.list, index, slot, delay, true),
                Then::Delay(delay) => leave(&guard.list, index, slot, delay, false),
            }
        }
    }
}

/// Leaves a job to a task of its own.
fn leave<W: Work>(list: &Arc<JobList>, index: usize, slot: &mut Option<W>, delay: Duration, has_room: bool) {
    if let Some(work) = slot.take() {
        OwnTask::spawn(list, index, work, delay, has_room);
    }
}

/// What to do with a job after an attempt, or instead of one.
enum Then {
    /// It has ended.
    Nothing,
    /// Run another attempt after this long. Room is taken for it.
    Retry(Duration),
    /// Run it after this long.
    Delay(Duration),
    /// Wait for its push to the queue.
    Push,
}

/// Waits until the queue has a job or has failed. Gives up the permit, so that other lists may run jobs.
#[cold]
async fn wait_for_push(guard: &mut WorkerGuard, index: usize) {
    drop(guard.permit.take());
    guard.list.pushed(Some(index)).await;
    guard.permit = Some(Semaphore::acquire(&(guard.list.clone() as Arc<dyn Jobs>)).await);
}

/// Lets other tasks and other lists go first, between two jobs.
async fn pause(guard: &mut WorkerGuard) {
    // Jobs that are ready at once would keep the thread for the whole list.
    tokio::task::consume_budget().await;
    if guard.list.runner().semaphore().is_wanted() {
        if let Some(permit) = guard.permit.take() {
            guard.permit = Some(permit.turn().await);
        }
    }
}

/// Runs one attempt of a job, unless something else has to be done first.
#[allow(clippy::manual_async_fn, reason = "the future of an `async fn` has room for each argument twice")]
fn run_attempt<W: Work>(
    list: &Arc<JobList>,
    index: usize,
    work: &mut W,
) -> impl Future<Output = Then> + Send {
    async move {
        let (job, policy, started) = match list.start_attempt(index) {
            Next::Attempt { job, policy, started } => (job, policy, started),
            Next::Push => return Then::Push,
            Next::Delay(delay) => return Then::Delay(delay),
            Next::Nothing => return Then::Nothing,
        };
        let span = list.span(job);
        let limit = match policy.timeout().map(timer).transpose() {
            Ok(limit) => limit,
            Err(error) => return end_attempt(list, index, Outcome::Returned(Err(error)), started, &span),
        };
        let cx = JobContext::new(list.clone(), job.id, job.attempt);
        let outcome = Attempt::new(work.run(&cx), &span, policy, limit).await;
        end_attempt(list, index, outcome, started, &span)
    }
}

fn end_attempt(
    list: &Arc<JobList>,
    index: usize,
    outcome: Outcome,
    started: Option<Stamp>,
    span: &Span,
) -> Then {
    let next = list.end_attempt(index, outcome, started, span);
    list.push_due();
    next.map_or(Then::Nothing, Then::Retry)
}

/// A job with a task of its own: delayed, or past its first attempt.
struct OwnTask<W> {
    list: Arc<JobList>,
    index: usize,
    work: Option<W>,
    has_room: bool,
}

impl<W: Work> OwnTask<W> {
    /// Runs a job after this long in a task of its own, so that the jobs behind it need not wait.
    fn spawn(list: &Arc<JobList>, index: usize, work: W, delay: Duration, has_room: bool) {
        let mut own = Self { list: list.clone(), index, work: Some(work), has_room };
        let Some(backoff) = own.backoff(delay) else { return };
        let task = list.runtime().spawn(Scoped::of_list(list.clone(), false, own.run(backoff)));
        list.keep_task(index, task.abort_handle());
    }

    /// Returns the wait for the next attempt. Without a timer the job fails.
    fn backoff(&mut self, delay: Duration) -> Option<Pin<Box<Sleep>>> {
        let backoff = timer(delay);
        if let Err(error) = backoff {
            drop_quietly(self.work.take());
            self.list.end(self.index, &JobEventKind::Failed { error, elapsed: Duration::ZERO });
            return None;
        }
        backoff.ok()
    }

    async fn run(mut self, mut backoff: Pin<Box<Sleep>>) {
        let list = self.list.clone();
        loop {
            backoff.await;
            let permit = Semaphore::acquire(&(list.clone() as Arc<dyn Jobs>)).await;
            list.give_back_room(usize::from(mem::take(&mut self.has_room)));
            let Some(work) = &mut self.work else { return };
            let then = run_attempt(&list, self.index, work).await;
            drop(permit);
            let Then::Retry(delay) = then else {
                drop_quietly(self.work.take());
                return;
            };
            self.has_room = true;
            let Some(next) = self.backoff(delay) else { return };
            backoff = next;
        }
    }
}

impl<W> Drop for OwnTask<W> {
    fn drop(&mut self) {
        if self.has_room {
            self.list.give_back_room(1);
        }
        if let Some(work) = self.work.take() {
            drop_quietly(work);
            self.list.end(self.index, &JobEventKind::Abandoned);
        }
    }
}

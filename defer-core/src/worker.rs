//! The tasks that run a list's jobs: one worker for those in line, and one task for each job that is retried.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, Sleep},
};

use crate::{
    attempt::{Attempt, Outcome, Work, timer},
    context::JobContext,
    event::JobEventKind,
    list::{JobList, RunSegment, Segment, WorkerGuard},
    panic::drop_quietly,
    queue::BoxFuture,
    runner::{jobs::Jobs, semaphore::Semaphore},
    scope::Scoped,
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
async fn run<W: Work>(guard: &mut WorkerGuard, segment: &mut Segment<W>) {
    for index in segment.indices() {
        if index > segment.indices().start {
            pause(guard).await;
        }
        let Some(slot) = segment.slot(index) else { continue };
        let Some(work) = slot else { continue };
        match run_attempt(&guard.list, index, work).await {
            None => drop_quietly(slot.take()),
            Some(delay) => {
                if let Some(work) = slot.take() {
                    Retry::spawn(&guard.list, index, work, delay);
                }
            }
        }
    }
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

/// Runs one attempt of a job. Returns the wait for the next one, if another follows.
async fn run_attempt<W: Work>(list: &Arc<JobList>, index: usize, work: &mut W) -> Option<Duration> {
    let (job, policy) = list.start_attempt(index)?;
    let span = list.span(job);
    let started = list.is_observed().then(Instant::now);
    let cx = JobContext::new(list.clone(), job.id, job.attempt);
    let outcome = match policy.timeout().map(timer).transpose() {
        Ok(timeout) => Attempt::new(work.run(&cx), &span, policy, timeout).await,
        Err(error) => Outcome::Returned(Err(error)),
    };
    let elapsed = started.map_or(Duration::ZERO, |started| started.elapsed());
    list.end_attempt(index, outcome, elapsed, &span)
}

/// A job between two attempts, and in those after the first.
struct Retry<W> {
    list: Arc<JobList>,
    index: usize,
    work: Option<W>,
    has_room: bool,
}

impl<W: Work> Retry<W> {
    /// Runs the later attempts of a job in a task of their own, so that the jobs behind it need not wait.
    fn spawn(list: &Arc<JobList>, index: usize, work: W, delay: Duration) {
        let mut retry = Self { list: list.clone(), index, work: Some(work), has_room: true };
        let Some(backoff) = retry.backoff(delay) else { return };
        let task = list.runtime().spawn(Scoped::of_list(list.clone(), false, retry.run(backoff)));
        list.keep_retry(index, task.abort_handle());
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
            self.has_room = false;
            list.give_back_room(1);
            let Some(work) = &mut self.work else { return };
            let next = run_attempt(&list, self.index, work).await;
            drop(permit);
            let Some(delay) = next else {
                drop_quietly(self.work.take());
                return;
            };
            self.has_room = true;
            let Some(next) = self.backoff(delay) else { return };
            backoff = next;
        }
    }
}

impl<W> Drop for Retry<W> {
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

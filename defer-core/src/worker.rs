//! The tasks that run a list's jobs: one worker for those in line, and a task of its own for each job that is retried or
//! delayed.

use std::{mem, pin::Pin, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Sleep};

use crate::{
    attempt::{Attempt, Limit, Outcome, Work, timer},
    context::JobContext,
    event::JobEventKind,
    future::BoxFuture,
    list::{Failure, JobList, RunSegment, Segment, Turn, WorkerGuard},
    panic::drop_quietly,
    runner::{
        jobs::{Jobs, Permit},
        semaphore::Semaphore,
    },
    scope::current::InList,
    span::JobSpan,
    stamp::Stamp,
};

/// Lets other tasks and other lists go first, between two jobs.
macro_rules! pause {
    ($guard:ident) => {
        // Jobs that are ready at once would keep the thread for the whole list.
        tokio::task::consume_budget().await;
        if $guard.list.runner().semaphore().is_wanted() {
            let_others_go(&mut $guard).await;
        }
    };
}

/// Runs the jobs of a segment, from the first to the last. A macro, because a future of its own would have room for its
/// arguments and its state twice, in every worker.
macro_rules! run_jobs {
    ($guard:ident, $segment:ident) => {
        // Not a `for` loop, whose iterator the future would keep too.
        let mut index = $segment.indices().start;
        loop {
            while let Some(work) = $segment.slot(index).and_then(Option::as_mut) {
                match run_attempt(&$guard.list, index, work).await {
                    Then::Nothing => drop_quietly($segment.take_work(index)),
                    Then::Again { delay, has_room } => {
                        leave(&$guard.list, index, $segment.take_work(index), Some(delay), has_room);
                    }
                    Then::Leave { has_room } => {
                        leave(&$guard.list, index, $segment.take_work(index), None, has_room);
                    }
                    Then::Aside(what) => {
                        // Asked for once more, because what is kept across an `.await` is room in every worker.
                        if let Some(work) = $segment.slot(index).and_then(Option::as_mut) {
                            aside(&$guard.list, &mut $guard.permit, index, work, what).await;
                        }
                    }
                }
            }
            index += 1;
            if index >= $segment.indices().end {
                break;
            }
            pause!($guard);
        }
    };
}

impl<W: Work> RunSegment for Segment<W> {
    fn spawn(self: Box<Self>, guard: WorkerGuard) -> JoinHandle<()> {
        spawn(guard, self)
    }

    fn run(mut self: Box<Self>, guard: &mut WorkerGuard) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut guard = guard;
            pause!(guard);
            run_jobs!(guard, self);
        })
    }

    fn split(&mut self, index: usize) -> Option<Box<dyn RunSegment>> {
        Some(Box::new(Self::of(index, self.take_work(index)?)))
    }

    fn run_beside(mut self: Box<Self>, list: &Arc<JobList>, index: usize, has_room: bool) {
        if let Some(work) = self.take_work(index) {
            OwnTask::spawn(list, index, work, None, has_room);
        }
    }
}

/// Spawns a worker. Its first segment runs inside its future; later ones are boxed.
fn spawn<W: Work>(mut guard: WorkerGuard, mut first: Box<Segment<W>>) -> JoinHandle<()> {
    let list = guard.list.clone();
    let scope = list.clone();
    // Not an `async fn`, whose future would have room for each argument twice.
    let task = async move {
        // Mentioned first, and so dropped first if the task is: the list knows that its worker is gone before the jobs are
        // dropped, which may defer others.
        let _ = &guard;
        run_jobs!(guard, first);
        while let Some(segment) = guard.list.take_segment() {
            segment.run(&mut guard).await;
        }
        guard.finish();
    };
    list.runtime().spawn(InList::new(scope, task))
}

/// Leaves a job to a task of its own.
fn leave<W: Work>(
    list: &Arc<JobList>,
    index: usize,
    work: Option<W>,
    delay: Option<Duration>,
    has_room: bool,
) {
    if let Some(work) = work {
        OwnTask::spawn(list, index, work, delay, has_room);
    }
}

/// What to do with a job after an attempt, or instead of one.
enum Then {
    /// It has ended.
    Nothing,
    /// Run it after this long, in a task of its own.
    Again { delay: Duration, has_room: bool },
    /// Run it in a task of its own, when it has its turn.
    Leave { has_room: bool },
    /// Do something else before it is known what follows.
    Aside(Aside),
}

/// What few jobs need before or after an attempt.
#[derive(Clone, Copy)]
enum Aside {
    /// Wait for its push to the queue.
    Push,
    /// Wait for its turn among others.
    Turn,
    /// Tell it that it is given up.
    Tell,
}

/// Does what few jobs need: boxed, so that the others pay nothing for it.
#[cold]
fn aside<'a, W: Work>(
    list: &'a Arc<JobList>,
    permit: &'a mut Option<Permit>,
    index: usize,
    work: &'a mut W,
    what: Aside,
) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        match what {
            Aside::Push | Aside::Turn => {
                // Others may run jobs meanwhile.
                drop(permit.take());
                match what {
                    Aside::Push => list.pushed(Some(index)).await,
                    _ => list.wait_for_turn(index).await,
                }
                *permit = Some(Semaphore::acquire(&(list.clone() as Arc<dyn Jobs>)).await);
            }
            Aside::Tell => {
                if let Some(failure) = list.take_failure(index) {
                    let told = give_up(list, work, &failure).await;
                    let Failure { outcome, started, span, .. } = failure;
                    // That was not the attempt's time.
                    let started = started.map(|started| started.after(told));
                    end_attempt(list, index, outcome, started, &span);
                }
            }
        }
    })
}

/// Tells a job that it is given up. Returns how long that took.
async fn give_up<W: Work>(list: &Arc<JobList>, work: &mut W, failure: &Failure) -> Duration {
    let Failure { job, outcome, span, .. } = failure;
    let began = Stamp::now();
    let cx = JobContext::new(list.clone(), *job);
    // Where there is no timer there is no limit.
    let limit = job.policy().timeout().and_then(|limit| Limit::new(limit).ok());
    let told = async {
        if let Some((_, error)) = outcome.error() {
            work.failed(&cx, error).await;
        }
        Ok(())
    };
    let (told, span) = Attempt::new(told, span.clone(), limit).await;
    if let Some((how, error)) = told.error() {
        job.within(&span).log_untold(how, error);
    }
    began.elapsed()
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

/// Runs one attempt of a job, unless something else has to be done first.
#[allow(clippy::manual_async_fn, reason = "the future of an `async fn` has room for each argument twice")]
fn run_attempt<W: Work>(
    list: &Arc<JobList>,
    index: usize,
    work: &mut W,
) -> impl Future<Output = Then> + Send {
    async move {
        let (job, started) = match list.start_attempt(index) {
            Turn::Attempt { job, started } => (job, started),
            Turn::Push => return Then::Aside(Aside::Push),
            Turn::Wait => return Then::Aside(Aside::Turn),
            Turn::Leave { has_room } => return Then::Leave { has_room },
            Turn::Delay(delay) => return Then::Again { delay, has_room: false },
            Turn::Nothing => return Then::Nothing,
        };
        let span = list.span(job);
        let limit = match job.policy().timeout().map(Limit::new).transpose() {
            Ok(limit) => limit,
            Err(error) => {
                return end_attempt(list, index, Outcome::Returned(Err(error)), started, &span);
            }
        };
        let cx = JobContext::new(list.clone(), job);
        let (outcome, span) = Attempt::new(work.run(&cx), span, limit).await;
        end_attempt(list, index, outcome, started, &span)
    }
}

fn end_attempt(
    list: &Arc<JobList>,
    index: usize,
    outcome: Outcome,
    started: Option<Stamp>,
    span: &JobSpan,
) -> Then {
    let outcome = match outcome {
        Outcome::Returned(Ok(())) => outcome,
        failed => match list.gives_up(index, failed, started, span) {
            Ok(()) => return Then::Aside(Aside::Tell),
            Err(failed) => failed,
        },
    };
    let next = list.end_attempt(index, outcome, started, span);
    list.push_due();
    next.map_or(Then::Nothing, |(delay, has_room)| Then::Again { delay, has_room })
}

/// A job with a task of its own: one that runs beside its line, is delayed, or is past its first attempt.
struct OwnTask<W> {
    list: Arc<JobList>,
    index: usize,
    work: Option<W>,
    has_room: bool,
}

impl<W: Work> OwnTask<W> {
    /// Runs a job in a task of its own, after this long, so that the jobs behind it need not wait.
    fn spawn(list: &Arc<JobList>, index: usize, work: W, delay: Option<Duration>, has_room: bool) {
        let mut own = Self { list: list.clone(), index, work: Some(work), has_room };
        match delay {
            None => own.start(None),
            Some(delay) => {
                if let Some(backoff) = own.backoff(delay) {
                    own.start(Some(backoff));
                }
            }
        }
    }

    fn start(self, backoff: Option<Pin<Box<Sleep>>>) {
        let (list, index) = (self.list.clone(), self.index);
        let task = list.runtime().spawn(InList::new(list.clone(), self.run(backoff)));
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

    async fn run(mut self, mut backoff: Option<Pin<Box<Sleep>>>) {
        let list = self.list.clone();
        loop {
            if let Some(backoff) = &mut backoff {
                backoff.await;
            }
            let Some(work) = &mut self.work else { return };
            // It keeps its room while it waits for its turn.
            while list.waits_for_turn(self.index) {
                list.wait_for_turn(self.index).await;
            }
            let mut permit = Some(Semaphore::acquire(&(list.clone() as Arc<dyn Jobs>)).await);
            list.give_back_room(usize::from(mem::take(&mut self.has_room)));
            let then = loop {
                match run_attempt(&list, self.index, work).await {
                    Then::Aside(what) => aside(&list, &mut permit, self.index, work, what).await,
                    then => break then,
                }
            };
            drop(permit);
            let delay = match then {
                Then::Again { delay, has_room } => {
                    self.has_room = has_room;
                    Some(delay)
                }
                Then::Leave { has_room } => {
                    self.has_room = has_room;
                    None
                }
                Then::Nothing | Then::Aside(_) => {
                    drop_quietly(self.work.take());
                    return;
                }
            };
            backoff = None;
            if let Some(delay) = delay {
                backoff = self.backoff(delay);
                if backoff.is_none() {
                    return;
                }
            }
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

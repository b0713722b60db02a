//! The detour of jobs that cannot start yet: everything that may delay an attempt.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker, ready},
};

use super::{
    attempt::{Attempt, AttemptEnd, OfJob},
    finish::{Again, Next, Wait, end_failed, succeed},
    held::{Held, Room},
    push,
    start::{Limited, Started, no_timer, started},
};
use crate::{
    job::middleware::wrap,
    limits::{
        keyed_semaphore::{Key, Slot},
        semaphore::Semaphore,
    },
    list::{
        current::InParent,
        list::{Call, JobList, Permit, Segment},
        state::{Obstacle, Slots},
    },
    model::{
        error::{JobError, JobResult, caught},
        failure::Failure,
    },
    observe::event::JobEventKind,
    primitives::BoxFuture,
    store::{Lease, Start, Stop},
};

/// Brings a job past its obstacles, one after another, and runs an attempt of it. Gives the permit back while it waits for
/// anything else. `own_task`: the job has one, which is woken to stop its attempt.
///
/// If this is dropped the job's turn among those of its type is given up, and with it the job: only the task that runs it calls
/// this.
pub(super) async fn detour(
    list: &Arc<JobList>,
    index: usize,
    jobs: &mut dyn Segment,
    own_task: Option<&Waker>,
    permit: &mut Option<Permit>,
    held: &mut Held,
) -> Next {
    let (mut has_slots, mut lease) = (false, None);
    let is_together = is_together(list, index, jobs);
    loop {
        let has_permit = may_run(index, jobs, is_together, permit.as_ref());
        let has_lease = lease.is_some();
        match list.transition(|state| state.advance(index, own_task, has_slots, has_permit, has_lease)) {
            Obstacle::Gone => return Next::Done,
            Obstacle::Duplicate(other) => list.end_duplicate(index, other),
            Obstacle::Push => {
                drop(permit.take());
                held.room = None;
                push::pushed(list, Some(index)).await;
                // In line, the list has taken its room again.
                if list.lock().state.is_detached(index) {
                    held.room = Some(Room::take(list));
                }
            }
            Obstacle::Ask(question) => match list.ask(question) {
                Ok(()) => {
                    if list.lock().state.pass(index) {
                        list.claim(index);
                    }
                    if let Some(lease) = list.lease(index) {
                        list.part(Some(index));
                        // It runs from here on, whatever happens to this process.
                        drop(permit.take());
                        lease.pass().await;
                    }
                }
                Err(event) => list.end(index, &event),
            },
            Obstacle::Delay { delay, room, policy } => {
                // While it waits for the clock it takes no room, which other jobs would have to wait for.
                list.give_back_room(room);
                // A change that came late may have put off a job that had its turns, or a place in a batch.
                *held = Held::default();
                leave(index, jobs);
                if let Some(now) = list.now() {
                    list.lock().state.set_ready(index, now.after(delay));
                }
                let at_shutdown = policy.runs_at_shutdown();
                return Next::Detach(if at_shutdown {
                    Wait::ForUnlessShutdown(delay)
                } else {
                    Wait::For(delay)
                });
            }
            Obstacle::Slots(Slots { serial, limit, is_in_line }) => {
                if let Some((key, slot)) = serial.filter(|_| held.serial.is_none()) {
                    let is_late = slot.is_none();
                    let slot = slot.unwrap_or_else(|| list.engine.slots.queue_for(Key::Serial(key), 1));
                    let leaves_line = is_in_line && is_late && !slot.is_granted();
                    held.serial = Some(slot);
                    // Only those that queued when the response was over may hold up their line: a later one may have to wait
                    // for a job that is behind it there.
                    if leaves_line {
                        return leave_line(list, index, held);
                    }
                }
                if let Some(slot) = &mut held.serial {
                    if !slot.is_granted() {
                        // Its key came late: those of its batch must not wait for its turn.
                        leave(index, jobs);
                    }
                    wait(list, index, slot, permit).await;
                }
                // For jobs that run together it limits the batches.
                if let Some((key, at_once)) = limit.filter(|_| !is_together) {
                    let mut slot = list.engine.slots.queue_for(key, at_once);
                    wait(list, index, &mut slot, permit).await;
                    held.limited = Some(slot);
                }
                has_slots = true;
            }
            Obstacle::Permit => match jobs.gate(index).filter(|_| is_together) {
                None => *permit = Some(Semaphore::acquire(list).await),
                Some(gate) if own_task.is_none() => {
                    // In the order of the line, which does not wait for the others.
                    gate.join(list);
                    return leave_line(list, index, held);
                }
                Some(gate) => gate.opened(list).await,
            },
            Obstacle::Lease(of_job) => match may_start(list, index, jobs, &*of_job, permit).await {
                // Without what lets it run it waits for that, and asks again.
                Some(Start::Now) => {
                    lease = may_run(index, jobs, is_together, permit.as_ref()).then_some(of_job);
                }
                Some(Start::Not(Stop::Cancelled)) => list.end(index, &JobEventKind::Cancelled),
                Some(Start::Not(Stop::Lost)) => list.end(index, &JobEventKind::Queued),
                None => {}
            },
            Obstacle::Started { job, room } => {
                held.room = None;
                let started = started(list, index, job, room);
                let how = How { lease, is_in_line: own_task.is_none(), is_together };
                let next = run(list, index, jobs, started, how, held).await;
                held.limited = None;
                return next;
            }
        }
    }
}

/// Returns whether a job's next attempt runs together with others.
fn is_together(list: &JobList, index: usize, jobs: &mut dyn Segment) -> bool {
    let Some(gate) = jobs.gate(index) else { return false };
    let attempts = list.lock().state.open_entry(index).map(|entry| entry.job().attempt);
    attempts.is_some_and(|attempts| gate.is_for(list, attempts))
}

/// Returns whether a job has a permit, or others have one for it.
fn may_run(index: usize, jobs: &mut dyn Segment, is_together: bool, permit: Option<&Permit>) -> bool {
    match jobs.gate(index).filter(|_| is_together) {
        Some(gate) => gate.is_open(),
        None => permit.is_some(),
    }
}

/// The way an attempt runs.
struct How {
    lease: Option<Arc<dyn Lease>>,
    is_in_line: bool,
    is_together: bool,
}

/// Runs an attempt that has started.
async fn run(
    list: &Arc<JobList>,
    index: usize,
    jobs: &mut dyn Segment,
    started: Started,
    how: How,
    held: &mut Held,
) -> Next {
    let Started { job, at, span, limit } = started;
    let How { lease, is_in_line, is_together } = how;
    let failed = match limit {
        Limited::By(limit) => {
            let turns = if job.policy().is_blocking() { held.turns() } else { Vec::new() };
            let attempt = jobs.call(index, list, job, Call::Run(turns));
            // The wrapper of attempts is around the whole batch.
            let attempt = if is_together { attempt } else { wrap(list, job, attempt) };
            let is_lost = OnceLock::new();
            let attempt = match lease {
                Some(lease) => {
                    Box::pin(UnderLease { attempt, lease, list, index, is_told: false, is_lost: &is_lost })
                }
                None => attempt,
            };
            let of_job = OfJob { list, index };
            let end = Attempt::of_job(&of_job, is_in_line, attempt, span, limit).await;
            leave(index, jobs);
            if is_lost.get().is_some() {
                list.end(index, &JobEventKind::Queued);
                return Next::Done;
            }
            match end {
                AttemptEnd::Succeeded(span) => {
                    succeed(list, index, at, span);
                    return Next::Done;
                }
                AttemptEnd::Failed(failed) => *failed,
            }
        }
        Limited::NoTimer => {
            leave(index, jobs);
            (Failure::Returned(no_timer()), span)
        }
    };
    next(end_failed(list, index, jobs, failed, at).await, held)
}

/// The others do not wait for a job any more, nor it for them.
fn leave(index: usize, jobs: &mut dyn Segment) {
    if let Some(gate) = jobs.gate(index) {
        gate.leave();
    }
}

/// An attempt of a job that a queue has stored. It ends early when its lease is lost, and is stopped when the queue cancels it.
struct UnderLease<'a> {
    attempt: BoxFuture<'a, JobResult>,
    lease: Arc<dyn Lease>,
    list: &'a Arc<JobList>,
    index: usize,
    /// It is to be stopped.
    is_told: bool,
    /// It has ended early.
    is_lost: &'a OnceLock<()>,
}

impl Future for UnderLease<'_> {
    type Output = JobResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobResult> {
        let this = &mut *self;
        match this.lease.poll_stopped(cx) {
            Poll::Ready(Stop::Lost) => {
                let _ = this.is_lost.set(());
                return Poll::Ready(Err(JobError::msg("others run the job")));
            }
            // It is woken by this, polled once more, and then dropped.
            Poll::Ready(Stop::Cancelled) if !this.is_told => {
                this.is_told = true;
                this.list.stop_attempt(this.index);
            }
            Poll::Ready(Stop::Cancelled) | Poll::Pending => {}
        }
        let _parent = InParent::enter(this.list, this.index);
        this.attempt.as_mut().poll(cx)
    }
}

/// Waits until a lease lets its job start, and gives back meanwhile what lets it run. `None` if the job has ended.
async fn may_start(
    list: &JobList,
    index: usize,
    jobs: &mut dyn Segment,
    lease: &dyn Lease,
    permit: &mut Option<Permit>,
) -> Option<Start> {
    poll_fn(|cx| {
        let start = caught(|| lease.poll_start(cx)).unwrap_or(Poll::Ready(Start::Not(Stop::Lost)));
        if let Poll::Ready(start) = start {
            if permit.is_none() {
                let _kept = list.lock().state.forget_waker(cx.waker());
            }
            return Poll::Ready(Some(start));
        }
        drop(permit.take());
        leave(index, jobs);
        // Cloned before the lock, and dropped after it.
        let waker = cx.waker().clone();
        let (may_start, _unused) = list.lock().state.poll_start(index, waker);
        if may_start { Poll::Pending } else { Poll::Ready(None) }
    })
    .await
}

/// Returns what is next after an attempt.
pub(super) fn next(again: Option<Again>, held: &mut Held) -> Next {
    match again {
        Some(Again { delay, room }) => {
            held.room = room;
            Next::Detach(Wait::For(delay))
        }
        None => Next::Done,
    }
}

/// Lets a job wait for its turn in a task of its own. It keeps its room.
fn leave_line(list: &Arc<JobList>, index: usize, held: &mut Held) -> Next {
    let detached = list.lock().state.detach(index);
    match detached {
        Some(room) => {
            held.room = Room::take_over(list, room);
            Next::Detach(Wait::No)
        }
        None => Next::Done,
    }
}

/// Waits until a job has its turn, or has ended.
async fn wait(list: &JobList, index: usize, slot: &mut Slot, permit: &mut Option<Permit>) {
    if slot.is_granted() {
        return;
    }
    // Others may run jobs meanwhile.
    drop(permit.take());
    poll_fn(|cx| {
        // Cloned before the lock, and dropped after it.
        let waker = cx.waker().clone();
        let (may_start, _unused) = list.lock().state.poll_start(index, waker);
        if may_start {
            ready!(slot.poll_granted(cx));
            let _kept = list.lock().state.forget_waker(cx.waker());
        }
        Poll::Ready(())
    })
    .await;
}

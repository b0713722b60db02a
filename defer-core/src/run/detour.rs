//! What few jobs need: everything that may be in the way of an attempt.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use super::{
    attempt::{Attempt, AttemptEnd},
    finish::{Again, Next, end_failed, succeed},
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
        extras::Question,
        list::{Call, JobList, Permit, Segment},
        state::{Obstacle, Slots},
    },
    model::{error::caught, failure::Failure},
    observe::event::JobEventKind,
};

/// Brings a job past its obstacles, one after another, and runs an attempt of it. Gives the permit back while it waits for
/// anything else.
///
/// If this is dropped the job's turn among those of its type is given up, and with it the job: only the task that runs it calls
/// this.
pub(super) async fn detour(
    list: &Arc<JobList>,
    index: usize,
    jobs: &mut dyn Segment,
    permit: &mut Option<Permit>,
    held: &mut Held,
) -> Next {
    let mut has_slots = false;
    // Kept until this returns: between two attempts another job of the type may run.
    let mut _limit = None;
    loop {
        match list.transition(|state| state.advance(index, has_slots, permit.is_some())) {
            Obstacle::Gone => return Next::Done,
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
                Ok(()) => list.lock().state.pass(index),
                Err(event) => list.end(index, &event),
            },
            Obstacle::Delay { delay, room } => {
                // While it waits for the clock it takes no room, which other jobs would have to wait for.
                list.give_back_room(room);
                held.room = None;
                if let Some(now) = list.now() {
                    list.lock().state.set_ready(index, now.after(delay));
                }
                return Next::Detach(Some(delay));
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
                    wait(list, index, slot, permit).await;
                }
                if let Some((key, at_once)) = limit {
                    let mut slot = list.engine.slots.queue_for(key, at_once);
                    wait(list, index, &mut slot, permit).await;
                    _limit = Some(slot);
                }
                has_slots = true;
            }
            Obstacle::Permit => *permit = Some(Semaphore::acquire(list).await),
            Obstacle::Started { job, room } => {
                held.room = None;
                return run(list, index, jobs, started(list, index, job, room), held).await;
            }
        }
    }
}

/// Runs an attempt that has started.
async fn run(
    list: &Arc<JobList>,
    index: usize,
    jobs: &mut dyn Segment,
    started: Started,
    held: &mut Held,
) -> Next {
    let Started { job, at, span, limit } = started;
    let failed = match limit {
        Limited::By(limit) => {
            let attempt = jobs.call(index, list, job, Call::Run);
            match Attempt::new(wrap(list, job, attempt), span, limit).await {
                AttemptEnd::Succeeded(span) => {
                    succeed(list, index, at, span);
                    return Next::Done;
                }
                AttemptEnd::Failed(failed) => *failed,
            }
        }
        Limited::NoTimer => (Failure::Returned(no_timer()), span),
    };
    next(end_failed(list, index, jobs, failed, at).await, held)
}

/// Returns what is next after an attempt.
pub(super) fn next(again: Option<Again>, held: &mut Held) -> Next {
    match again {
        Some(Again { delay, room }) => {
            held.room = room;
            Next::Detach(Some(delay))
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
            Next::Detach(None)
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

impl JobList {
    /// Asks a job's condition. Without a response there is nothing to ask about, and the job runs.
    ///
    /// # Errors
    ///
    /// How the job ends, if it is not to run.
    pub(super) fn ask(&self, question: Question) -> Result<(), JobEventKind> {
        let Some(response) = self.response() else { return Ok(()) };
        let runs = match question {
            Question::IsSuccess => response.is_success(),
            Question::When(when) => caught(|| when(response))
                .map_err(|error| JobEventKind::Panicked { error, elapsed: Duration::ZERO })?,
        };
        if runs { Ok(()) } else { Err(JobEventKind::Skipped) }
    }
}

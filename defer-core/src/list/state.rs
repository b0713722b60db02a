//! The state of a list: plain data, and every transition of it.
//!
//! | file | has the transitions |
//! |---|---|
//! | this | of joining, the release and the worker, and the one in which every job ends |
//! | `attempt` | from the place in line to the end of an attempt |
//! | `cancel` | of a job that somebody asks to be cancelled |
//! | `push` | on the way to the queue |
//! | `stop` | of a shutdown, and of a lost worker |
//! | `view` | none: what others see, and change of jobs in line |
//! | `effects` | none: what transitions leave to do |
//!
//! A transition runs under the list's lock. It neither drops nor calls user code, and wakes no task: it returns what is
//! left to do, and its caller does that after unlocking.

use std::task::Waker;

use tokio::{task::JoinHandle, time::Instant};

use super::{
    entries::Entries,
    entry::{Entry, InQueue, JobState},
};
use crate::{
    limits::{capacity::Capacity, dedup::Place},
    model::policy::Flags,
    primitives::timestamp::Timestamp,
};

mod attempt;
mod cancel;
mod effects;
mod push;
mod stop;
#[cfg(test)]
mod tests;
mod view;

use self::effects::Rare;
pub(crate) use self::{
    attempt::{AfterAttempt, Obstacle, Slots},
    cancel::Asked,
    effects::{Effects, Ended, Report},
    push::{Returned, Way},
    stop::HandedOver,
};

/// The state of each job of a list, and of the list itself.
pub(crate) struct State {
    entries: Entries,
    counts: Counts,
    phase: Phase,
    /// When the response was over, if a hook may want to know.
    released: Option<Timestamp>,
    /// When the job that the worker runs has started, if a hook or a subscriber may want to know.
    started: Option<Timestamp>,
    /// The flags that any job of the list has, or has had.
    flags: Flags,
    /// Wakes the held response until the release, and from then on the worker, once an attempt of it waits.
    line_waker: Option<Waker>,
    rare: Option<Box<Rare>>,
    worker: Option<JoinHandle<()>>,
    /// Counts workers that stopped or were stopped, so that the handle of one of those is not kept.
    worker_epoch: u32,
}

/// The phase of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its response is not over.
    Collecting,
    /// Released, with nothing left to start.
    Idle,
    /// Released, with a worker or a place in the semaphore's queue.
    Active,
}

/// How many jobs of a list are in which state.
#[derive(Default)]
struct Counts {
    /// Not ended.
    open: usize,
    waiting: usize,
    running: usize,
    /// Waiting jobs for which the runner's room is taken, once they are released. At most as many as there is room for:
    /// otherwise one request with many jobs would keep the others out until most of its jobs had started.
    room: usize,
}

impl Counts {
    /// A job no longer waits. Returns how many jobs' room to give back.
    #[inline]
    fn stop_waiting(&mut self) -> usize {
        self.waiting -= 1;
        let room = self.room.min(1);
        self.room -= room;
        room
    }
}

/// The runner's room for jobs that wait, and what happens to those that find none.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) capacity: &'a Capacity,
    pub(crate) sheds: bool,
}

/// Joining, waiting and the release.
impl State {
    pub(crate) fn new() -> Self {
        Self {
            entries: Entries::default(),
            counts: Counts::default(),
            phase: Phase::Collecting,
            released: None,
            started: None,
            flags: Flags::NONE,
            line_waker: None,
            rare: None,
            worker: None,
            worker_epoch: 0,
        }
    }

    /// Takes room for one more job, once the list is released. Returns whether the job may join.
    pub(crate) fn makes_room(&mut self, bounds: Bounds<'_>) -> bool {
        let Bounds { capacity, sheds } = bounds;
        if self.phase == Phase::Collecting {
            // A job beyond the bound would be shed at the release.
            return !sheds || self.counts.waiting < capacity.max();
        }
        let taken = if sheds {
            capacity.take_free(1)
        } else if self.counts.room < capacity.max() {
            capacity.take(1);
            1
        } else {
            0
        };
        self.counts.room += taken;
        taken > 0 || !sheds
    }

    /// Adds a job for which [`makes_room`](Self::makes_room) returned true. Returns its index.
    pub(crate) fn add(&mut self, entry: Entry) -> usize {
        self.flags = self.flags.with(entry.flags);
        self.counts.open += 1;
        self.counts.waiting += 1;
        self.entries.push(entry)
    }

    /// Returns whether a job waits for a worker that nobody has asked for. The caller has to.
    pub(crate) fn activate(&mut self) -> bool {
        let starts = self.phase == Phase::Idle && self.counts.waiting > 0;
        if starts {
            self.phase = Phase::Active;
        }
        starts
    }

    /// Returns how many jobs a response is held for, until there is room for them. Those that the queue has find room there, and those
    /// that are left out need none.
    pub(crate) fn waiting_for_room(&mut self) -> usize {
        let others = if self.flags.has(Flags::LEASED.with(Flags::UNIQUE)) {
            let needs_none = |entry: &Entry| entry.has(Flags::LEASED) || entry.twin().is_some();
            self.waiting_entries().filter(|(_, entry)| needs_none(entry)).count()
        } else {
            0
        };
        self.counts.waiting - others
    }

    /// Keeps the waker of the held response. Returns how many jobs it is held for (0 if it is no longer held), and a
    /// waker to drop.
    pub(crate) fn hold(&mut self, waker: Waker) -> (usize, Option<Waker>) {
        match self.phase {
            Phase::Collecting if self.counts.waiting > 0 => {
                let waiting = self.waiting_for_room();
                (waiting, self.line_waker.replace(waker))
            }
            _ => (0, Some(waker)),
        }
    }

    /// Forgets the held response.
    pub(crate) fn let_go(&mut self) -> Option<Waker> {
        if self.phase == Phase::Collecting { self.line_waker.take() } else { None }
    }

    /// The response is over. Sheds jobs that find no room. Returns whether the list has jobs to start, which it does once
    /// [`begin`](Self::begin) is called. `None` if the list was released before.
    pub(crate) fn release(
        &mut self,
        bounds: Bounds<'_>,
        now: Option<Timestamp>,
        effects: &mut Effects,
    ) -> Option<bool> {
        if self.phase != Phase::Collecting {
            return None;
        }
        self.released = now;
        if let Some(held) = self.line_waker.take() {
            effects.wakers.push(held);
        }
        if self.flags.has(Flags::DELAY) {
            let now = Instant::now();
            self.entries.open().for_each(|(_, entry)| entry.begin_delay(now));
        }
        let Bounds { capacity, sheds } = bounds;
        let waiting = self.counts.waiting;
        self.counts.room = if sheds {
            let room = capacity.take_free(waiting);
            if room < waiting {
                self.shed_newest(room, effects);
            }
            // Those that are not shed take room beyond what there is.
            let beyond = self.counts.waiting.min(capacity.max()).saturating_sub(room);
            capacity.take(beyond);
            room + beyond
        } else {
            let room = waiting.min(capacity.max());
            capacity.take(room);
            room
        };
        let starts = self.counts.waiting > 0;
        self.phase = if starts { Phase::Active } else { Phase::Idle };
        Some(starts)
    }

    /// Lets a list start that was [released](Self::release) with jobs to start, unless none of them is left in line. Returns
    /// whether the caller has to ask for a permit.
    pub(crate) fn begin(&mut self) -> bool {
        let starts = self.counts.waiting > 0;
        if !starts {
            self.forget_worker();
        }
        starts
    }

    /// Sheds the newest jobs, so that this many are left. Keeps those that were for the queue: they run, as promised.
    #[cold]
    fn shed_newest(&mut self, kept: usize, effects: &mut Effects) {
        let (promised, others): (Vec<_>, Vec<_>) = self
            .waiting_entries()
            .map(|(index, entry)| (index, !matches!(entry.queue, InQueue::No)))
            .partition(|(_, is_promised)| *is_promised);
        let kept = kept.saturating_sub(promised.len());
        for (index, _) in others.into_iter().skip(kept) {
            self.end(index, |state| state == JobState::Waiting, effects);
        }
    }

    /// Cancels a job that has not started, unless the queue may have it, or others were left out for it.
    pub(crate) fn cancel(&mut self, index: usize, effects: &mut Effects) {
        let entry = self.entries.get_mut(index).filter(|entry| entry.attempts == 0);
        if entry.is_some_and(|entry| entry.may_be_dropped()) {
            self.end(index, |state| matches!(state, JobState::Waiting | JobState::Detached), effects);
        }
    }

    /// Ends a job that another takes the place of, unless the queue may have it, or it may yet be skipped. Returns the place.
    pub(crate) fn replace(&mut self, index: usize, effects: &mut Effects) -> Option<Place> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.may_be_replaced())?;
        let place = entry.place();
        self.end(index, |_| true, effects);
        Some(place)
    }

    /// Cancels the jobs with this key that are in line and have not started, except one.
    pub(crate) fn cancel_key(&mut self, key: &str, except: Option<usize>, effects: &mut Effects) {
        let same: Vec<usize> = self
            .waiting_entries()
            .filter(|(index, entry)| Some(*index) != except && entry.key() == Some(key))
            .map(|(index, _)| index)
            .collect();
        same.into_iter().for_each(|index| self.cancel(index, effects));
    }

    /// Ends a job that has not ended, if its state is one of these.
    pub(crate) fn end(&mut self, index: usize, from: impl FnOnce(JobState) -> bool, effects: &mut Effects) {
        let Some((before, mut ended)) = self.end_entry(index, from) else { return };
        if before == JobState::Detached {
            // It may wait for long.
            effects.tasks.extend(ended.extras.as_mut().and_then(|extras| extras.progress.task.take()));
        }
        effects.ended.push(ended);
        if before == JobState::Waiting {
            self.stop_waiting(effects);
        }
        if matches!(before, JobState::Waiting | JobState::Pushing) {
            effects.wakers.extend(self.take_changed());
        }
    }

    /// Counts a job that waited and will not be started here.
    fn stop_waiting(&mut self, effects: &mut Effects) {
        effects.room += self.counts.stop_waiting();
        effects.wakers.extend(self.let_go());
    }

    /// Every job ends here. Returns its last state, and what it leaves behind.
    #[inline(always)]
    fn end_entry(&mut self, index: usize, from: impl FnOnce(JobState) -> bool) -> Option<(JobState, Ended)> {
        let entry = self.entries.get_mut(index)?;
        let before = entry.state;
        if before == JobState::Ended || !from(before) {
            return None;
        }
        entry.state = JobState::Ended;
        let (job, extras) = (entry.job(), entry.take_extras());
        self.counts.open -= 1;
        self.counts.running -= usize::from(before == JobState::Running);
        self.entries.forget_ended(self.counts.open);
        Some((before, Ended { index, job, extras }))
    }
}

/// Waiting for a change.
impl State {
    /// Keeps the waker of a task that waits for something of the list to change. Returns a waker to drop.
    pub(crate) fn keep_waker(&mut self, waker: Waker) -> Option<Waker> {
        let changed = &mut self.rare.get_or_insert_default().changed;
        if changed.iter().any(|known| known.will_wake(&waker)) {
            return Some(waker);
        }
        changed.push(waker);
        None
    }

    /// Returns whether a job may still start. In line it may be cancelled meanwhile: then its worker's waker is kept. Returns a
    /// waker to drop, too.
    pub(crate) fn poll_start(&mut self, index: usize, waker: Waker) -> (bool, Option<Waker>) {
        match self.entries.get_mut(index).map(|entry| entry.state) {
            Some(JobState::Waiting) => (true, self.keep_waker(waker)),
            Some(JobState::Detached) => (true, Some(waker)),
            _ => (false, Some(waker)),
        }
    }

    /// Forgets the waker of a task that waits no more: it would keep the task's memory. Returns it.
    pub(crate) fn forget_waker(&mut self, waker: &Waker) -> Option<Waker> {
        let changed = &mut self.rare.as_mut()?.changed;
        let at = changed.iter().position(|known| known.will_wake(waker))?;
        Some(changed.swap_remove(at))
    }

    fn take_changed(&mut self) -> Vec<Waker> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.changed)).unwrap_or_default()
    }
}

/// The worker.
impl State {
    /// There is no job left for the worker, or no worker.
    pub(crate) fn forget_worker(&mut self) {
        if self.phase == Phase::Active {
            self.phase = Phase::Idle;
        }
        self.worker = None;
        // Tokio's own, as the handle is, and so it may be dropped under the lock.
        self.line_waker = None;
        self.worker_epoch = self.worker_epoch.wrapping_add(1);
    }

    /// Returns the epoch to pass to [`keep_worker`](Self::keep_worker).
    pub(crate) fn worker_epoch(&self) -> u32 {
        self.worker_epoch
    }

    /// Keeps the handle of a worker that was spawned in this epoch. Returns it if that worker is gone, or was stopped
    /// before its handle arrived.
    pub(crate) fn keep_worker(&mut self, epoch: u32, worker: JoinHandle<()>) -> Option<JoinHandle<()>> {
        if self.worker_epoch != epoch {
            return Some(worker);
        }
        self.worker = Some(worker);
        None
    }
}

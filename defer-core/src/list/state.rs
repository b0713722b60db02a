//! The state of a list: plain data, and every transition of it.
//!
//! A transition runs under the list's lock. It neither drops nor calls user code, and wakes no task: it returns what is
//! left to do, and its caller does that after unlocking.

use std::{any::TypeId, collections::BTreeMap, ptr, task::Waker, time::Duration};

use serde::Serialize;
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

#[cfg(feature = "testing")]
use tokio::sync::oneshot;

use super::{
    effects::{AttemptEnd, Ended, Freed, Released, Start, Waiters},
    entry::{Entries, Entry, Extras, Gate, InQueue, JobState},
    segment::{Segment, Segments, Slots},
};
#[cfg(feature = "testing")]
use crate::{attempt::SharedJob, event::JobEventKind};
use crate::{
    attempt::{Outcome, Sequel, Work},
    carried::{Carried, Shared},
    event::JobRef,
    policy::{Gates, JobType},
    runner::{
        Overflow,
        capacity::Capacity,
        lanes::{Lanes, Place},
    },
    span::JobSpan,
    stamp::Stamp,
};

/// The jobs of a list, in segments of type `S`, and the state of each.
pub(super) struct State<S> {
    entries: Entries,
    /// Those that no worker has taken.
    segments: Segments<S>,
    counts: Counts,
    list: ListState,
    /// When the response was over, if a hook may want to know.
    released: Option<Stamp>,
    /// When the job that the worker runs has started, if a hook may want to know.
    started: Option<Stamp>,
    /// What a job of the list may have, or has had.
    gates: Gates,
    /// Boxed, because few lists have any.
    waiters: Option<Box<Waiters>>,
    /// What jobs take over from the request, besides what the layer has captured.
    carried: Option<Box<Carried>>,
    worker: Option<JoinHandle<()>>,
    /// Counts workers that stopped or were stopped, so that the handle of one of those is not kept.
    worker_epoch: u32,
}

/// What a list does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListState {
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

/// The runner's bounds, as a transition needs them.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) capacity: &'a Capacity,
    pub(super) lanes: &'a Lanes,
    pub(super) overflow: Overflow,
}

impl Counts {
    /// Starts an attempt of a job that waits or is between two attempts.
    #[inline]
    fn start(&mut self, entry: &mut Entry) -> Start {
        let room = match entry.state {
            JobState::Waiting => self.stop_waiting(),
            JobState::Backoff => 0,
            JobState::Pushing | JobState::Running | JobState::HandedOver | JobState::Ended => {
                return Start::Gone;
            }
        };
        if let Some(delay) = entry.take_delay() {
            return delayed(entry, delay, room);
        }
        self.running += 1;
        entry.state = JobState::Running;
        entry.attempts += 1;
        Start::Started { job: entry.job(), room }
    }

    /// Leaves a job to a task of its own, if it has to wait for its delay.
    fn delay(&mut self, entry: &mut Entry) -> Option<Start> {
        let delay = entry.take_delay()?;
        let room = if entry.state == JobState::Waiting { self.stop_waiting() } else { 0 };
        Some(delayed(entry, delay, room))
    }

    /// A job no longer waits. Returns how many jobs' room to give back.
    #[inline]
    fn stop_waiting(&mut self) -> usize {
        self.waiting -= 1;
        let room = self.room.min(1);
        self.room -= room;
        room
    }
}

fn delayed(entry: &mut Entry, delay: Duration, room: usize) -> Start {
    entry.state = JobState::Backoff;
    entry.has_task = true;
    Start::Delay { delay, room }
}

impl<S: Slots> State<S> {
    pub(super) fn new() -> Self {
        Self {
            entries: Entries::default(),
            segments: Segments::default(),
            counts: Counts::default(),
            list: ListState::Collecting,
            released: None,
            started: None,
            gates: Gates::default(),
            waiters: None,
            carried: None,
            worker: None,
            worker_epoch: 0,
        }
    }

    /// Returns how many jobs have not ended.
    pub(super) fn open(&self) -> usize {
        self.counts.open
    }

    /// Returns how many jobs have not started.
    pub(super) fn waiting(&self) -> usize {
        self.counts.waiting
    }

    /// Returns how many jobs run.
    pub(super) fn running(&self) -> usize {
        self.counts.running
    }

    /// Adds a job for which [`makes_room`](Self::makes_room) returned true. It joins the last segment if that is of its
    /// type. Otherwise it gets a new one, which `boxed` boxes.
    ///
    /// Returns its index, and whether the list has to be started.
    pub(super) fn add<W: Work>(
        &mut self,
        entry: Entry,
        work: W,
        boxed: impl FnOnce(Segment<W>) -> S,
    ) -> (usize, bool) {
        self.gates = self.gates.with(entry.gates);
        let index = self.entries.push(entry);
        self.counts.open += 1;
        self.counts.waiting += 1;
        if let Some(segment) = Segment::append(self.segments.last_mut(), index, work) {
            self.segments.push(boxed(segment));
        }
        let starts = self.list == ListState::Idle;
        if starts {
            self.list = ListState::Active;
        }
        (index, starts)
    }

    /// Adds a job that runs beside the line of a list that is released. Returns its index, and how many jobs' room it takes.
    pub(super) fn add_beside(&mut self, mut entry: Entry) -> (usize, usize) {
        entry.state = JobState::Backoff;
        entry.has_task = true;
        self.counts.open += 1;
        self.counts.waiting += 1;
        (self.entries.push(entry), self.counts.stop_waiting())
    }

    /// Takes room for one more job, once the list is released. Returns whether the job may join.
    pub(super) fn makes_room(&mut self, bounds: Bounds<'_>) -> bool {
        let Bounds { capacity, overflow, .. } = bounds;
        let sheds = overflow == Overflow::Shed;
        if self.list == ListState::Collecting {
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

    /// Returns the entry of a job that has not started.
    pub(super) fn waiting_entry(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index).filter(|entry| entry.state == JobState::Waiting)
    }

    /// Iterates over the jobs that have not started, with their indices.
    pub(super) fn waiting_entries(&mut self) -> impl Iterator<Item = (usize, &mut Entry)> {
        self.entries.open().filter(|(_, entry)| entry.state == JobState::Waiting)
    }

    /// Keeps the waker of the held response. Returns how many jobs it is held for (0 if it is no longer held), and a
    /// waker to drop.
    pub(super) fn hold(&mut self, waker: Waker) -> (usize, Option<Waker>) {
        match self.list {
            ListState::Collecting if self.counts.waiting > 0 => {
                let waiters = self.waiters.get_or_insert_default();
                (self.counts.waiting, waiters.held.replace(waker))
            }
            _ => (0, Some(waker)),
        }
    }

    /// Adds what jobs take over from the request. Returns what that replaces, to be dropped after unlocking.
    pub(super) fn carry<T: Serialize + Send + Sync + 'static>(&mut self, value: T) -> impl Sized + use<T, S> {
        self.carried.get_or_insert_default().insert(value)
    }

    pub(super) fn carried(&self, type_id: TypeId) -> Option<Shared> {
        self.carried.as_ref()?.get(type_id)
    }

    /// Returns all of it.
    pub(super) fn all_carried(&self) -> Option<Carried> {
        self.carried.as_deref().cloned()
    }

    /// Forgets the held response.
    pub(super) fn let_go(&mut self) -> Option<Waker> {
        self.waiters.as_mut()?.held.take()
    }

    /// Returns whether the response is over.
    pub(super) fn is_released(&self) -> bool {
        self.list != ListState::Collecting
    }

    /// Sets the delay: the job starts no sooner than this long after its response.
    pub(super) fn set_delay(&mut self, index: usize, delay: Duration) {
        if let Some(entry) = self.waiting_entry(index) {
            if entry.is_relied_on() || entry.has_entered() {
                return;
            }
            entry.set_delay(delay);
            self.gates = self.gates.with(Gates::DELAY);
        }
    }

    /// Cancels a job that has not started, unless the queue may have it, or others were left out for it.
    pub(super) fn cancel(&mut self, index: usize) -> Option<Ended> {
        let entry = self.entries.get_mut(index)?;
        let must_run = entry.queue == InQueue::Unsure || entry.is_relied_on();
        self.remove(index, |state| state == JobState::Waiting && !must_run)
    }

    /// Cancels the jobs with this key that have not started, except one.
    pub(super) fn cancel_key(&mut self, key: &str, except: Option<usize>) -> Vec<Ended> {
        let same: Vec<usize> = self
            .waiting_entries()
            .filter(|(index, entry)| Some(*index) != except && entry.key() == Some(key))
            .map(|(index, _)| index)
            .collect();
        same.into_iter().filter_map(|index| self.cancel(index)).collect()
    }

    /// The response is over: jobs may start. `None` if it was released before.
    pub(super) fn release(&mut self, bounds: Bounds<'_>, now: Option<Stamp>) -> Option<Released> {
        if self.list != ListState::Collecting {
            return None;
        }
        self.released = now;
        if self.gates.has(Gates::DELAY) {
            let now = Instant::now();
            self.entries.open().for_each(|(_, entry)| entry.begin_delay(now));
        }
        let mut shed = Vec::new();
        let capacity = bounds.capacity;
        self.counts.room = match bounds.overflow {
            Overflow::Wait => {
                let room = self.counts.waiting.min(capacity.max());
                capacity.take(room);
                room
            }
            Overflow::Shed => {
                let room = capacity.take_free(self.counts.waiting);
                if room < self.counts.waiting {
                    shed = self.shed_newest(room);
                }
                // Those that are not shed take room beyond what there is.
                let beyond = self.counts.waiting.min(capacity.max()).saturating_sub(room);
                capacity.take(beyond);
                room + beyond
            }
        };
        let starts = self.counts.waiting > 0;
        self.list = if starts { ListState::Active } else { ListState::Idle };
        if self.gates.has(Gates::SERIAL) {
            self.take_places(bounds.lanes);
        }
        let (has_unique, has_beside) = (self.gates.has(Gates::UNIQUE), self.gates.has(Gates::BESIDE));
        Some(Released { shed, starts, has_unique, has_beside })
    }

    /// Takes a place in its lane for each job that has one, in their order. Those that are delayed take theirs when they are
    /// due. In the same step as the release: otherwise one that joins then could come before them.
    #[cold]
    fn take_places(&mut self, lanes: &Lanes) {
        for (_, entry) in self.waiting_entries().filter(|(_, entry)| !entry.has_delay()) {
            if let Some(key) = entry.enter_serial() {
                let replaced = entry.keep_place(lanes.enter(key, 1));
                debug_assert!(replaced.is_none(), "it had no place");
            }
        }
    }

    /// Sheds the newest jobs, so that this many are left. Keeps those that the queue did not take: they run, as promised.
    #[cold]
    fn shed_newest(&mut self, kept: usize) -> Vec<Ended> {
        let (promised, others): (Vec<_>, Vec<_>) = self
            .waiting_entries()
            .map(|(index, entry)| (index, matches!(entry.queue, InQueue::Failed | InQueue::Unsure)))
            .partition(|(_, is_promised)| *is_promised);
        let kept = kept.saturating_sub(promised.len());
        let newest = others.into_iter().skip(kept).map(|(index, _)| index);
        let waits = |state| state == JobState::Waiting;
        newest.filter_map(|index| self.remove(index, waits)).collect()
    }

    /// Sets when a job could start.
    pub(super) fn set_ready(&mut self, index: usize, ready: Stamp) {
        let entry = self.entries.get_mut(index);
        if let Some(entry) = entry.filter(|entry| entry.state != JobState::Ended) {
            entry.set_ready(ready);
        }
    }

    /// Sets when an attempt of a job started.
    pub(super) fn set_started(&mut self, index: usize, now: Stamp) {
        match self.entries.get_mut(index) {
            Some(entry) if entry.has_task => entry.set_started(now),
            _ => self.started = Some(now),
        }
    }

    /// Returns how long a job had waited when its attempt started.
    pub(super) fn waited(&mut self, index: usize) -> Option<Duration> {
        let entry = self.entries.get_mut(index)?;
        let started = if entry.has_task { entry.started() } else { self.started };
        let ready = entry.ready().or(self.released);
        Some(started?.since(ready?))
    }

    /// Returns the jobs that run, and since when.
    pub(super) fn in_attempt(&mut self) -> impl Iterator<Item = (JobRef, Option<Stamp>)> {
        let of_worker = self.started;
        let running = self.entries.open().filter(|(_, entry)| entry.state == JobState::Running);
        running.map(move |(_, entry)| (entry.job(), if entry.has_task { entry.started() } else { of_worker }))
    }

    /// Counts the jobs that have not ended, by their names.
    pub(super) fn count_unfinished(&mut self, counts: &mut BTreeMap<&'static str, u64>) {
        let mut of_type = |kind: Option<&'static JobType>, jobs| {
            if let Some(kind) = kind {
                *counts.entry(kind.name()).or_default() += jobs;
            }
        };
        // Neighbours mostly are of the same type.
        let (mut last, mut jobs): (Option<&'static JobType>, u64) = (None, 0);
        for (_, entry) in self.entries.open() {
            if last.is_none_or(|last| !ptr::eq(last, entry.kind)) {
                of_type(last.replace(entry.kind), jobs);
                jobs = 0;
            }
            jobs += 1;
        }
        of_type(last, jobs);
    }

    /// Returns since when the job that waits longest could have started.
    pub(super) fn oldest_ready(&mut self, now: Stamp) -> Option<Stamp> {
        let released = self.released?;
        // Those with a task of their own wait too, once they are due.
        let waiting = self.entries.open().filter(|(_, entry)| entry.may_start() && entry.attempts == 0);
        waiting.map(|(_, entry)| entry.ready().unwrap_or(released)).filter(|ready| *ready <= now).min()
    }

    /// Takes the next segment for the worker. If there is none, the worker is forgotten.
    pub(super) fn take_segment(&mut self) -> Option<S> {
        let segment = self.segments.take_next();
        if segment.is_none() {
            self.forget_worker();
        }
        segment
    }

    /// Returns the epoch to pass to [`keep_worker`](Self::keep_worker).
    pub(super) fn worker_epoch(&self) -> u32 {
        self.worker_epoch
    }

    /// Keeps the handle of a worker that was spawned in this epoch. Returns it if that worker is gone, or was stopped
    /// before its handle arrived.
    pub(super) fn keep_worker(&mut self, epoch: u32, worker: JoinHandle<()>) -> Option<JoinHandle<()>> {
        if self.worker_epoch != epoch {
            return Some(worker);
        }
        self.worker = Some(worker);
        None
    }

    /// Starts an attempt, unless there is something to do first.
    #[inline]
    pub(super) fn start(&mut self, index: usize) -> Start {
        let Some(entry) = self.entries.get_mut(index) else { return Start::Gone };
        match entry.state {
            JobState::Pushing => return Start::Push,
            JobState::Waiting if entry.queue == InQueue::Due => return Start::Push,
            JobState::Waiting | JobState::Backoff if entry.gates.has(Gates::START) => return Start::Gated,
            _ => {}
        }
        self.counts.start(entry)
    }

    /// Starts an attempt of a job, or lets it wait for its delay, if it has passed all of its gates. Otherwise returns the next.
    pub(super) fn start_passed(&mut self, index: usize) -> Result<Start, Gate> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.may_start());
        let Some(entry) = entry else { return Ok(Start::Gone) };
        if entry.is_unconditional() {
            // It takes its places when it is due.
            if let Some(start) = self.counts.delay(entry) {
                return Ok(start);
            }
        }
        match entry.next_gate() {
            Some(gate) => Err(gate),
            None => Ok(self.counts.start(entry)),
        }
    }

    /// Returns what a job with a task of its own has to pass next, apart from its delay.
    pub(super) fn next_gate(&mut self, index: usize) -> Option<Gate> {
        self.entry_to_start(index).filter(|entry| entry.gates.has(Gates::START))?.next_gate()
    }

    /// Returns the entry of a job that is in no attempt, and may start one.
    fn entry_to_start(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index).filter(|entry| entry.may_start())
    }

    /// Lets a job wait for its turn in a task of its own.
    pub(super) fn leave_late(&mut self, index: usize) -> Start {
        match self.entries.get_mut(index) {
            Some(entry) if entry.state == JobState::Waiting => {
                entry.state = JobState::Backoff;
                entry.has_task = true;
                Start::Leave { room: self.counts.stop_waiting() }
            }
            Some(entry) if entry.state == JobState::Backoff => Start::Wait,
            _ => Start::Gone,
        }
    }

    /// The condition of a job was asked, and is true.
    pub(super) fn pass(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.pass();
        }
    }

    /// Changes a job that has not ended.
    pub(super) fn open_entry(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index).filter(|entry| entry.state != JobState::Ended)
    }

    /// Takes the place in which a job waits for its turn.
    pub(super) fn waiting_place(&mut self, index: usize) -> Option<Place> {
        self.open_entry(index)?.take_waiting_place()
    }

    /// Keeps the waker of a worker that waits for a job's turn. Returns whether it has to wait, and a waker to drop.
    pub(super) fn poll_turn(&mut self, index: usize, waker: Waker) -> (bool, Option<Waker>) {
        match self.entry_to_start(index) {
            Some(entry) => (true, entry.keep_waker(waker)),
            None => (false, Some(waker)),
        }
    }

    /// Forgets the waker of what waits for a job's turn.
    pub(super) fn forget_turn(&mut self, index: usize) -> Option<Waker> {
        self.open_entry(index)?.take_waker()
    }

    /// Gives a job something that is to be done at its release.
    pub(super) fn note(&mut self, gates: Gates) {
        self.gates = self.gates.with(gates);
    }

    /// Lets a job that waits leave its request's line, for a task of its own. `split` takes it out of its segment. Returns it,
    /// and how many jobs' room it takes with it.
    pub(super) fn leave_line<T>(
        &mut self,
        index: usize,
        split: impl FnMut(&mut S) -> Option<T>,
    ) -> Option<(T, usize)> {
        let entry = self.waiting_entry(index)?;
        if entry.queue == InQueue::Due {
            return None;
        }
        self.take_out_of_line(index, split)
    }

    /// Lets a job that waits leave its request's line for one attempt, at once, after `attempts` earlier ones. Returns what
    /// [`leave_line`](Self::leave_line) does.
    #[cfg(feature = "testing")]
    pub(super) fn leave_for_attempt<T>(
        &mut self,
        index: usize,
        attempts: u32,
        observer: oneshot::Sender<JobEventKind>,
        split: impl FnMut(&mut S) -> Option<T>,
    ) -> Option<(T, usize)> {
        let left = self.take_out_of_line(index, split)?;
        let entry = self.entries.get_mut(index)?;
        entry.limit_to_one_attempt(attempts, observer);
        entry.take_delay();
        Some(left)
    }

    fn take_out_of_line<T>(
        &mut self,
        index: usize,
        split: impl FnMut(&mut S) -> Option<T>,
    ) -> Option<(T, usize)> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Waiting)?;
        let job = self.segments.iter_mut().find_map(split)?;
        entry.state = JobState::Backoff;
        entry.has_task = true;
        Some((job, self.counts.stop_waiting()))
    }

    /// Ends an attempt, and with it the job, unless another attempt follows.
    pub(super) fn end_attempt(&mut self, index: usize, sequel: Sequel) -> AttemptEnd {
        if sequel != Sequel::Nothing {
            let Some(entry) = self.entries.get_mut(index) else { return AttemptEnd::Gone };
            let job = entry.job();
            let goes_on = entry.state == JobState::Running && entry.goes_on(sequel);
            if goes_on && entry.is_from_queue() {
                let ended = self.end_entry(index, |_| true);
                return ended.map_or(AttemptEnd::Gone, |(_, _, extras)| AttemptEnd::Return(job, extras));
            }
            if goes_on {
                entry.state = JobState::Backoff;
                entry.has_task = true;
                if sequel == Sequel::Snooze {
                    entry.unspend();
                }
                self.counts.running -= 1;
                return AttemptEnd::Again(job);
            }
        }
        let ended = self.end_entry(index, |state| state == JobState::Running);
        ended.map_or(AttemptEnd::Gone, |(_, job, extras)| AttemptEnd::Ended(job, extras))
    }

    /// Keeps how a job that runs has failed, if no other attempt follows and it has not been told. Otherwise returns the outcome
    /// and the span.
    pub(super) fn give_up(
        &mut self,
        index: usize,
        outcome: Outcome,
        started: Option<Stamp>,
        span: JobSpan,
    ) -> Result<(), (Outcome, JobSpan)> {
        match self.entries.get_mut(index) {
            Some(entry)
                if entry.state == JobState::Running
                    && !entry.goes_on(outcome.sequel())
                    && !entry.is_told() =>
            {
                entry.set_failure(outcome, started, span);
                Ok(())
            }
            _ => Err((outcome, span)),
        }
    }

    /// Keeps what aborts a job's own task. Returns it if the job has already been stopped.
    pub(super) fn keep_task(&mut self, index: usize, task: AbortHandle) -> Option<AbortHandle> {
        match self.entries.get_mut(index) {
            Some(entry) if !matches!(entry.state, JobState::HandedOver | JobState::Ended) => {
                entry.set_task(task);
                None
            }
            _ => Some(task),
        }
    }

    /// Ends a job that has not ended and is not handed over.
    pub(super) fn end(&mut self, index: usize) -> Option<Ended> {
        self.end_from(index, |state| state != JobState::HandedOver)
    }

    /// Ends a job that was handed over.
    pub(super) fn end_handover(&mut self, index: usize) -> Option<Ended> {
        self.end_from(index, |state| state == JobState::HandedOver)
    }

    /// Returns what `see` makes of each job that has not started, and of the job itself, if it is shared and no worker has taken
    /// it.
    #[cfg(feature = "testing")]
    pub(super) fn inspect<T>(&mut self, see: impl Fn(&Entry, Option<SharedJob>) -> T) -> Vec<T> {
        let waiting = self.entries.open().filter(|(_, entry)| entry.state == JobState::Waiting);
        let segments = &mut self.segments;
        let mut job = |index| segments.iter_mut().find_map(|segment| segment.job(index));
        waiting.map(|(index, entry)| see(entry, job(index))).collect()
    }

    fn remove(&mut self, index: usize, from: impl FnOnce(JobState) -> bool) -> Option<Ended> {
        let mut ended = self.end_from(index, from)?;
        ended.work = self.segments.iter_mut().find_map(|segment| segment.take(index));
        Some(ended)
    }

    fn end_from(&mut self, index: usize, from: impl FnOnce(JobState) -> bool) -> Option<Ended> {
        let (before, job, mut extras) = self.end_entry(index, from)?;
        let freed = if before == JobState::Waiting { self.free() } else { Freed::default() };
        let mut wakes = if before == JobState::Pushing { self.take_pushed() } else { Vec::new() };
        wakes.extend(extras.as_mut().and_then(|extras| extras.take_waker()));
        Some(Ended { job, freed, extras, work: None, wakes })
    }

    /// Every job ends here. Returns its last state, and what it leaves behind.
    #[inline(always)]
    fn end_entry(
        &mut self,
        index: usize,
        from: impl FnOnce(JobState) -> bool,
    ) -> Option<(JobState, JobRef, Option<Box<Extras>>)> {
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
        Some((before, job, extras))
    }

    /// Counts a job that waited and ends without an attempt.
    fn free(&mut self) -> Freed {
        Freed { room: self.counts.stop_waiting(), held: self.let_go() }
    }

    fn forget_worker(&mut self) {
        if self.list == ListState::Active {
            self.list = ListState::Idle;
        }
        self.worker = None;
        self.worker_epoch = self.worker_epoch.wrapping_add(1);
    }
}

mod push;
mod stop;
#[cfg(test)]
mod tests;

//! The state of one job that this process has.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use defer_core::{
    JobId,
    queue::{End, Ready, Settled, Start, Stop},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::convert::{self, millis};
use crate::store::{ChangeKind, HolderId, NewJob, StoredEnd, Taken};

/// One job that this process has.
pub(super) struct Held {
    pub(super) id: JobId,
    /// The claim under which this process has it.
    pub(super) claim: i64,
    pub(super) holder: HolderId,
    /// The number of attempts before this one.
    attempts: i64,
    /// A worker took it. If false, this process deferred it.
    pub(super) was_taken: bool,
    /// Another job may be waiting for its end.
    pub(super) is_serial: bool,
    state: Mutex<State>,
}

struct State {
    stored: Stored,
    /// Its end has been written or is pending.
    is_settled: bool,
    /// Other processes have the job.
    is_lost: bool,
    /// It may have started.
    is_started: bool,
    /// This process has cancelled its row, so no end has to be written.
    is_cancelled: bool,
    stop: Option<Stop>,
    /// The wakers of the tasks that wait for the start or for a stop.
    start_waker: Option<Waker>,
    stop_waker: Option<Waker>,
    /// Changes that wait until the job is stored with the end of its parent.
    parked: Vec<Settling>,
    /// Its place in its worker.
    place: Option<OwnedSemaphorePermit>,
    /// Boxed, because few jobs report progress.
    progress: Option<Box<Progress>>,
}

/// The progress of a job.
#[derive(Default)]
struct Progress {
    /// The last value, until it is written.
    json: Option<String>,
    /// It is waiting to be written.
    waits: bool,
    /// When the previous value was written.
    written: Option<Instant>,
}

/// The minimum time between two writes of a job's progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Whether the database has a job, as far as this process knows.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// The database has not answered yet.
    Asked(Box<NewJob>),
    /// It will be stored with the end of the job that deferred it, and only then.
    WithParent,
    /// The database has the job, and has had it since this moment at the latest.
    Yes(Instant),
    /// The database does not have the job.
    No,
    /// The database may have the job, or may still receive it.
    InDoubt(Box<NewJob>),
}

/// A change to be written, and the task that waits for it.
pub(super) struct Settling {
    pub(super) kind: ChangeKind,
    /// Jobs to be stored with it.
    pub(super) children: Vec<Child>,
    /// The child that is left out for now, with its position: the database refused the children together, and this one may be the
    /// cause.
    pub(super) aside: Option<Box<(usize, Child)>>,
    pub(super) done: oneshot::Sender<Settled>,
}

/// A job to be stored with the end of the one that deferred it.
pub(super) type Child = (NewJob, Arc<Held>);

impl Settling {
    pub(super) fn new(kind: ChangeKind, children: Vec<Child>, done: oneshot::Sender<Settled>) -> Self {
        Self { kind, children, aside: None, done }
    }

    /// Leaves out the next child, or all of them once each has been tried. Returns the children that are left out permanently;
    /// `None` if there are none to leave out.
    pub(super) fn leave_out_child(&mut self) -> Option<Vec<Child>> {
        let next = match self.aside.take() {
            None => 0,
            Some(aside) => {
                let (at, child) = *aside;
                self.children.insert(at, child);
                at + 1
            }
        };
        if self.children.is_empty() {
            return None;
        }
        if next == self.children.len() {
            return Some(mem::take(&mut self.children));
        }
        self.aside = Some(Box::new((next, self.children.remove(next))));
        Some(Vec::new())
    }
}

impl Held {
    pub(super) fn new(id: JobId, claim: i64, holder: HolderId, attempts: i64, stored: Stored) -> Self {
        let state = State {
            stored,
            is_settled: false,
            is_lost: false,
            is_started: false,
            is_cancelled: false,
            stop: None,
            start_waker: None,
            stop_waker: None,
            parked: Vec::new(),
            place: None,
            progress: None,
        };
        let (was_taken, is_serial) = (false, false);
        Self { id, claim, holder, attempts, was_taken, is_serial, state: Mutex::new(state) }
    }

    /// A job that a worker took.
    pub(super) fn taken(id: JobId, taken: &Taken, holder: HolderId, at: Instant) -> Self {
        let held = Self::new(id, taken.claim, holder, taken.attempts, Stored::Yes(at));
        Self { was_taken: true, is_serial: taken.is_serial, ..held }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the job's place in its worker until the job's end is stored.
    pub(super) fn keep_place(&self, place: OwnedSemaphorePermit) {
        self.lock().place = Some(place);
    }

    pub(super) fn is_in(&self, places: &Arc<Semaphore>) -> bool {
        self.lock().place.as_ref().is_some_and(|place| Arc::ptr_eq(place.semaphore(), places))
    }

    pub(super) fn give_up_place(&self) {
        let place = self.lock().place.take();
        drop(place);
    }

    /// Sets whether the database has the job. Returns the changes that waited for this.
    pub(super) fn set_stored(&self, stored: Stored) -> Vec<Settling> {
        let mut state = self.lock();
        state.stored = stored;
        mem::take(&mut state.parked)
    }

    pub(super) fn stored(&self) -> Stored {
        self.lock().stored.clone()
    }

    /// Returns whether the database has the job, may have it, or is being asked.
    pub(super) fn may_be_stored(&self) -> bool {
        !matches!(self.lock().stored, Stored::No)
    }

    /// Keeps a change until the job is stored with the end of its parent. Returns the change if it does not have to wait.
    pub(super) fn park(&self, settling: Settling) -> Option<Settling> {
        let mut state = self.lock();
        if matches!(state.stored, Stored::WithParent) {
            state.parked.push(settling);
            return None;
        }
        Some(settling)
    }

    /// Notes that the job may be stored, now or later.
    pub(super) fn in_doubt(&self) {
        let mut state = self.lock();
        state.stored = match mem::replace(&mut state.stored, Stored::No) {
            Stored::Asked(job) => Stored::InDoubt(job),
            stored => stored,
        };
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lock().is_lost
    }

    /// Notes that other processes have the job, or may take it.
    pub(super) fn lose(&self) {
        self.lock().is_lost = true;
        self.stop(Stop::Lost);
    }

    /// Returns whether the row existed before this moment and the job's end is not being written.
    pub(super) fn should_be_there(&self, at: Instant) -> bool {
        let state = self.lock();
        let is_open = !state.is_settled && state.stop != Some(Stop::Cancelled);
        is_open && matches!(state.stored, Stored::Yes(since) if since < at)
    }

    /// Ends an attempt of the job, and keeps it from starting.
    pub(super) fn stop(&self, stop: Stop) {
        let wakers = {
            let mut state = self.lock();
            state.stop.get_or_insert(stop);
            [state.start_waker.take(), state.stop_waker.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Starts the job, unless it was stopped before.
    pub(super) fn start(&self) -> Start {
        let mut state = self.lock();
        match state.stop {
            Some(stop) => Start::Not(stop),
            None => {
                state.is_started = true;
                Start::Now
            }
        }
    }

    /// Waits to be started or stopped.
    pub(super) fn wait_for_start(&self, waker: Waker) {
        let before = self.lock().start_waker.replace(waker);
        drop(before);
    }

    /// Returns the waker of the task that waits for the start.
    pub(super) fn start_waker(&self) -> Option<Waker> {
        self.lock().start_waker.take()
    }

    /// Cancels the job here. Returns whether that keeps it from starting: a job whose write failed or is in doubt still runs.
    pub(super) fn cancel(&self) -> bool {
        self.stop(Stop::Cancelled);
        let state = self.lock();
        !state.is_started && state.stop == Some(Stop::Cancelled) && matches!(state.stored, Stored::Yes(_))
    }

    /// Notes that this process cancelled the row.
    pub(super) fn set_cancelled(&self) {
        self.lock().is_cancelled = true;
    }

    /// Returns whether this process cancelled its row.
    pub(super) fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        self.lock().stop
    }

    /// Marks the job as settled. Returns false if it was settled before.
    pub(super) fn settles(&self) -> bool {
        !mem::replace(&mut self.lock().is_settled, true)
    }

    /// Returns the change that stores an end.
    pub(super) fn change(&self, end: End) -> ChangeKind {
        let attempts = self.attempts.saturating_add(1);
        match end {
            End::Succeeded => ChangeKind::End(StoredEnd::Done { attempts }),
            End::Failed { error } => {
                ChangeKind::End(StoredEnd::Failed { attempts, error: convert::error(&error) })
            }
            End::Skipped => ChangeKind::End(StoredEnd::Skipped),
            End::Cancelled => ChangeKind::End(StoredEnd::Cancelled),
            End::Retry { error, delay } => {
                ChangeKind::Retry { delay: millis(delay), attempts, error: Some(convert::error(&error)) }
            }
            End::Snoozed { delay } => {
                ChangeKind::Retry { delay: millis(delay), attempts: self.attempts, error: None }
            }
            End::Ready(Ready { delay, serial, unique, replace, at_most, response }) => ChangeKind::Ready {
                delay: millis(delay),
                serial: serial.as_deref().map(convert::text),
                unique: unique.as_deref().map(convert::text),
                replace: replace.map(convert::replace),
                throttle: at_most.as_ref().map(convert::throttle),
                outcome: response.as_ref().and_then(convert::outcome),
            },
        }
    }

    /// Sets the job's progress. Returns when to write it, unless a write is pending already.
    pub(super) fn set_progress(&self, json: &str, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        if state.is_settled || state.is_lost {
            return None;
        }
        let progress = state.progress.get_or_insert_default();
        progress.json = Some(json.to_owned());
        if mem::replace(&mut progress.waits, true) {
            return None;
        }
        Some(progress.written.map_or(now, |written| now.max(written + PROGRESS_EVERY)))
    }

    /// Takes the progress to write, if its row exists and its attempt has not ended.
    pub(super) fn take_progress(&self, now: Instant) -> Option<String> {
        let mut state = self.lock();
        let is_open = !state.is_settled && !state.is_lost && matches!(state.stored, Stored::Yes(_));
        let progress = state.progress.as_mut()?;
        (progress.waits, progress.written) = (false, Some(now));
        progress.json.take().filter(|_| is_open)
    }

    /// Waits until the job has to stop.
    pub(super) fn poll_stopped(&self, waker: &Waker) -> Poll<Stop> {
        let mut state = self.lock();
        if let Some(stop) = state.stop {
            return Poll::Ready(stop);
        }
        if !state.stop_waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            let before = state.stop_waker.replace(waker.clone());
            drop(state);
            drop(before);
        }
        Poll::Pending
    }
}

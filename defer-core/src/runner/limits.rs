//! How many jobs run, and how many wait.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

use super::batch::Batch;
use crate::lock::lock;

/// What happens to a response, or to a job, when `max_pending` jobs are waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The response that deferred jobs is held back until there is room for them: the clients wait, nothing is lost.
    #[default]
    Wait,
    /// The job that finds no room is dropped, with an event.
    Shed,
}

/// Lets `max_running` lines of jobs run; the others wait in the order they came.
pub(crate) struct Gate {
    state: Mutex<GateState>,
    /// The length of `GateState::waiting`, readable without the lock.
    waiting: AtomicUsize,
}

struct GateState {
    free: usize,
    waiting: VecDeque<Waiter>,
    /// Somebody is handing out permits, and will see what changes meanwhile.
    granting: bool,
}

enum Waiter {
    /// Its worker is spawned when it gets a permit: until then it is a pointer, not a task.
    Batch(Arc<Batch>),
    Task(Arc<Batch>, oneshot::Sender<Permit>),
}

/// The right of a batch to run one of its jobs at a time.
pub(crate) struct Permit {
    // Not the runner, whose count all requests share.
    batch: Arc<Batch>,
}

impl Gate {
    pub(crate) fn new(permits: usize) -> Self {
        Self {
            state: Mutex::new(GateState { free: permits, waiting: VecDeque::new(), granting: false }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Starts the batch's worker, now or when its turn comes.
    pub(crate) fn start(batch: Arc<Batch>) {
        {
            let gate = batch.runner().gate();
            let mut state = lock(&gate.state);
            if state.free == 0 || !state.waiting.is_empty() {
                gate.enqueue(&mut state, Waiter::Batch(batch.clone()));
                return;
            }
            state.free -= 1;
        }
        let permit = Permit { batch: batch.clone() };
        batch.spawn_worker(permit);
    }

    /// Waits for a permit. Cancel safe: a permit that was on its way is passed on.
    pub(crate) async fn acquire(batch: &Arc<Batch>) -> Permit {
        let turn = {
            let gate = batch.runner().gate();
            let mut state = lock(&gate.state);
            if state.free > 0 && state.waiting.is_empty() {
                state.free -= 1;
                return Permit { batch: batch.clone() };
            }
            let (grant, turn) = oneshot::channel();
            gate.enqueue(&mut state, Waiter::Task(batch.clone(), grant));
            turn
        };
        turn.await.expect("the gate keeps a waiter until it grants it a permit, and outlives it")
    }

    fn enqueue(&self, state: &mut GateState, waiter: Waiter) {
        state.waiting.push_back(waiter);
        self.waiting.store(state.waiting.len(), Ordering::Relaxed);
    }

    fn release(&self) {
        let mut state = lock(&self.state);
        state.free += 1;
        // A permit granted to a waiter that is gone comes straight back here. So there is one loop that grants, and
        // what comes back while it runs only raises the count: no recursion, however many are gone.
        if state.granting {
            return;
        }
        while state.free > 0 {
            let Some(waiter) = state.waiting.pop_front() else { break };
            self.waiting.store(state.waiting.len(), Ordering::Relaxed);
            state.free -= 1;
            state.granting = true;
            drop(state);
            match waiter {
                Waiter::Batch(batch) => {
                    let permit = Permit { batch: batch.clone() };
                    batch.spawn_worker(permit);
                }
                Waiter::Task(batch, grant) => drop(grant.send(Permit { batch })),
            }
            state = lock(&self.state);
            state.granting = false;
        }
    }
}

impl Permit {
    /// Whether others wait for a permit.
    pub(crate) fn is_wanted(&self) -> bool {
        self.batch.runner().gate().waiting.load(Ordering::Relaxed) > 0
    }

    /// Between two jobs: lets those go first who wait longer.
    pub(crate) async fn turn(self) -> Self {
        let (grant, turn) = oneshot::channel();
        {
            let gate = self.batch.runner().gate();
            gate.enqueue(&mut lock(&gate.state), Waiter::Task(self.batch.clone(), grant));
        }
        drop(self);
        turn.await.expect("the gate keeps a waiter until it grants it a permit, and outlives it")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.batch.runner().gate().release();
    }
}

/// Room for `max_pending` jobs that have not started.
///
/// What a semaphore with a debt is, but that taking and giving back are one atomic operation each while nobody waits:
/// every job does both.
pub(crate) struct Room {
    capacity: u32,
    /// How many jobs have room, and those that were let in although there was none: these have to be gone before
    /// anybody else gets in.
    taken: AtomicU32,
    /// First come, first served.
    waiting: Mutex<VecDeque<Waiting>>,
    /// The length of `waiting`. Written and read as `SeqCst`, as `taken` is: either who gives back sees the one who
    /// waits, or the latter what was given back.
    waiters: AtomicUsize,
}

struct Waiting {
    wanted: u32,
    /// What it has of that. Kept for it whether it is polled or not, and so nobody overtakes it.
    has: u32,
    grant: oneshot::Sender<()>,
}

impl Room {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
            taken: AtomicU32::new(0),
            waiting: Mutex::default(),
            waiters: AtomicUsize::new(0),
        }
    }

    /// Takes room for this many jobs, if there is and nobody waits for it, and returns how much was taken.
    pub(crate) fn try_take(&self, jobs: usize) -> Option<u32> {
        let wanted = self.wanted(jobs);
        let nobody_waits = self.waiters.load(Ordering::SeqCst) == 0;
        (nobody_waits && self.take_free(wanted, wanted) == wanted).then_some(wanted)
    }

    /// For more jobs than there is ever room for, all of it.
    fn wanted(&self, jobs: usize) -> u32 {
        u32::try_from(jobs).unwrap_or(u32::MAX).min(self.capacity)
    }

    /// Takes at most `most` of what is free, or nothing if that is less than `least`.
    fn take_free(&self, least: u32, most: u32) -> u32 {
        let mut got = 0;
        let take = |taken: u32| {
            got = self.capacity.saturating_sub(taken).min(most);
            (got > 0 && got >= least).then(|| taken + got)
        };
        let took = self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        if took { got } else { 0 }
    }

    /// Waits for room for this many jobs, first come, first served, and returns how much was taken. Cancel
    /// safe: nothing is taken.
    pub(crate) async fn take(&self, jobs: usize) -> u32 {
        let wanted = self.wanted(jobs);
        let (grant, granted) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            waiting.push_back(Waiting { wanted, has: 0, grant });
            self.waiters.store(waiting.len(), Ordering::SeqCst);
        }
        let mut waits = Waits { room: self, wanted, granted: Some(granted) };
        self.grant();
        if let Some(granted) = &mut waits.granted {
            granted.await.expect("whoever waits is served before it is forgotten");
        }
        waits.granted = None;
        wanted
    }

    /// Takes room for this many jobs, whether there is or not.
    pub(crate) fn take_anyway(&self, jobs: u32) {
        self.taken.fetch_add(jobs, Ordering::SeqCst);
    }

    pub(crate) fn give_back(&self, jobs: u32) {
        self.taken.fetch_sub(jobs, Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.grant();
        }
    }

    /// Gives what is free to those who wait.
    fn grant(&self) {
        while let Some(Waiting { wanted, grant, .. }) = self.next_served() {
            // Not under the lock: it wakes a task. Who is gone meanwhile has taken nothing.
            if grant.send(()).is_err() {
                self.taken.fetch_sub(wanted, Ordering::SeqCst);
            }
        }
    }

    /// The first who waits, if it has all that it wants.
    fn next_served(&self) -> Option<Waiting> {
        let mut waiting = lock(&self.waiting);
        loop {
            let first = waiting.front_mut()?;
            if first.grant.is_closed() {
                self.taken.fetch_sub(first.has, Ordering::SeqCst);
                waiting.pop_front();
                self.waiters.store(waiting.len(), Ordering::SeqCst);
                continue;
            }
            first.has += self.take_free(0, first.wanted - first.has);
            if first.has < first.wanted {
                return None;
            }
            let served = waiting.pop_front();
            self.waiters.store(waiting.len(), Ordering::SeqCst);
            return served;
        }
    }
}

/// Somebody who waits for room. Dropped before it has taken it, it leaves it to the others.
struct Waits<'a> {
    room: &'a Room,
    wanted: u32,
    /// `None` when it has it.
    granted: Option<oneshot::Receiver<()>>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let Some(mut granted) = self.granted.take() else { return };
        granted.close();
        if granted.try_recv().is_ok() {
            self.room.give_back(self.wanted);
        } else {
            self.room.grant();
        }
    }
}

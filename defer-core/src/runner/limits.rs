//! How many jobs run, and how many wait.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

use super::{Runner, batch::Batch, signal::Signal};
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
    Task(oneshot::Sender<Permit>),
}

/// The right to run one job at a time.
pub(crate) struct Permit {
    runner: Runner,
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
        let runner = batch.runner().clone();
        let gate = runner.gate();
        {
            let mut state = lock(&gate.state);
            if state.free == 0 || !state.waiting.is_empty() {
                gate.enqueue(&mut state, Waiter::Batch(batch));
                return;
            }
            state.free -= 1;
        }
        batch.spawn_worker(Permit { runner });
    }

    /// Waits for a permit. Cancel safe: a permit that was on its way is passed on.
    pub(crate) async fn acquire(runner: &Runner) -> Permit {
        let turn = {
            let mut state = lock(&runner.gate().state);
            if state.free > 0 && state.waiting.is_empty() {
                state.free -= 1;
                return Permit { runner: runner.clone() };
            }
            let (grant, turn) = oneshot::channel();
            runner.gate().enqueue(&mut state, Waiter::Task(grant));
            turn
        };
        turn.await.expect("the gate keeps a waiter until it grants it a permit, and outlives it")
    }

    fn enqueue(&self, state: &mut GateState, waiter: Waiter) {
        state.waiting.push_back(waiter);
        self.waiting.store(state.waiting.len(), Ordering::Relaxed);
    }

    fn release(&self, runner: &Runner) {
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
            let permit = Permit { runner: runner.clone() };
            match waiter {
                Waiter::Batch(batch) => batch.spawn_worker(permit),
                Waiter::Task(grant) => drop(grant.send(permit)),
            }
            state = lock(&self.state);
            state.granting = false;
        }
    }
}

impl Permit {
    /// Whether others wait for a permit.
    pub(crate) fn is_wanted(&self) -> bool {
        self.runner.gate().waiting.load(Ordering::Relaxed) > 0
    }

    /// Between two jobs: lets those go first who wait longer.
    pub(crate) async fn turn(self) -> Self {
        let runner = self.runner.clone();
        let (grant, turn) = oneshot::channel();
        let gate = runner.gate();
        gate.enqueue(&mut lock(&gate.state), Waiter::Task(grant));
        drop(self);
        turn.await.expect("the gate keeps a waiter until it grants it a permit, and outlives it")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.runner.gate().release(&self.runner);
    }
}

/// Room for `max_pending` jobs that have not started.
pub(crate) struct Room {
    capacity: u32,
    /// How many jobs have room, and those that were let in although there was none.
    taken: AtomicU32,
    /// First come, first served.
    turn: tokio::sync::Mutex<()>,
    freed: Signal,
}

impl Room {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
            taken: AtomicU32::new(0),
            turn: tokio::sync::Mutex::new(()),
            freed: Signal::default(),
        }
    }

    /// Takes room for this many jobs, if there is and nobody waits for it, and returns how much was taken.
    pub(crate) fn try_take(&self, jobs: usize) -> Option<u32> {
        if self.freed.is_awaited() { None } else { self.take_free(self.wanted(jobs)) }
    }

    /// For more jobs than there is ever room for, all of it.
    fn wanted(&self, jobs: usize) -> u32 {
        u32::try_from(jobs).unwrap_or(u32::MAX).min(self.capacity)
    }

    fn take_free(&self, wanted: u32) -> Option<u32> {
        let after = |taken: u32| taken.checked_add(wanted).filter(|after| *after <= self.capacity);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, after).is_ok().then_some(wanted)
    }

    /// Waits for room for this many jobs, first come, first served, and returns how much was taken. Cancel
    /// safe: nothing is taken.
    pub(crate) async fn take(&self, jobs: usize) -> u32 {
        let wanted = self.wanted(jobs);
        let freed = self.freed.listen();
        let _turn = self.turn.lock().await;
        freed.until(|| self.take_free(wanted)).await
    }

    /// Takes room for this many jobs, whether there is or not. What is taken too much is given back before anybody
    /// else gets in.
    pub(crate) fn take_anyway(&self, jobs: u32) {
        self.taken.fetch_add(jobs, Ordering::SeqCst);
    }

    pub(crate) fn give_back(&self, jobs: u32) {
        self.taken.fetch_sub(jobs, Ordering::SeqCst);
        self.freed.send();
    }
}

//! Permits for `max_running` jobs, and who waits for one.

use std::collections::VecDeque;

use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    lock, oneshot,
};

/// A list of jobs that runs one of them at a time, with a permit.
pub(crate) trait Starts: Clone + Sized {
    fn gate(&self) -> &Gate<Self>;

    /// Starts running the jobs. May drop the permit at once.
    fn start(self, permit: Permit<Self>);
}

/// Lets `max_running` lists of jobs run; the others wait in the order they came.
pub(crate) struct Gate<B: Starts> {
    state: Mutex<State<B>>,
    /// The length of `State::waiting`, readable without the lock.
    waiting: AtomicUsize,
}

struct State<B: Starts> {
    free: usize,
    waiting: VecDeque<Waiter<B>>,
    /// Somebody is handing out permits, and will see what changes meanwhile.
    granting: bool,
}

enum Waiter<B: Starts> {
    /// Its worker is spawned when it gets a permit: until then it is a pointer, not a task.
    List(B),
    Task(B, oneshot::Sender<Permit<B>>),
}

/// The right to run one job at a time.
pub(crate) struct Permit<B: Starts> {
    // Not the runner, whose count all requests share.
    list: B,
}

impl<B: Starts> Gate<B> {
    pub(crate) fn new(permits: usize) -> Self {
        Self {
            state: Mutex::new(State { free: permits, waiting: VecDeque::new(), granting: false }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Starts a list of jobs, now or when its turn comes.
    pub(crate) fn start(list: B) {
        {
            let gate = list.gate();
            let mut state = lock(&gate.state);
            if state.free == 0 || !state.waiting.is_empty() {
                gate.enqueue(&mut state, Waiter::List(list.clone()));
                return;
            }
            state.free -= 1;
        }
        let permit = Permit { list: list.clone() };
        list.start(permit);
    }

    /// Waits for a permit. Cancel safe: a permit that was on its way is passed on.
    pub(crate) async fn acquire(list: &B) -> Permit<B> {
        let turn = {
            let gate = list.gate();
            let mut state = lock(&gate.state);
            if state.free > 0 && state.waiting.is_empty() {
                state.free -= 1;
                return Permit { list: list.clone() };
            }
            let (grant, turn) = oneshot::channel();
            gate.enqueue(&mut state, Waiter::Task(list.clone(), grant));
            turn
        };
        turn.await.expect("the gate keeps a waiter until it grants it a permit, and outlives it")
    }

    fn enqueue(&self, state: &mut State<B>, waiter: Waiter<B>) {
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
                Waiter::List(list) => {
                    let permit = Permit { list: list.clone() };
                    list.start(permit);
                }
                Waiter::Task(list, grant) => drop(grant.send(Permit { list })),
            }
            state = lock(&self.state);
            state.granting = false;
        }
    }
}

impl<B: Starts> Permit<B> {
    /// Whether others wait for a permit.
    pub(crate) fn is_wanted(&self) -> bool {
        self.list.gate().waiting.load(Ordering::Relaxed) > 0
    }

    /// Between two jobs: lets those go first who wait longer.
    pub(crate) async fn turn(self) -> Self {
        let (grant, turn) = oneshot::channel();
        {
            let gate = self.list.gate();
            gate.enqueue(&mut lock(&gate.state), Waiter::Task(self.list.clone(), grant));
        }
        drop(self);
        turn.await.expect("the gate keeps a waiter until it grants it a permit, and outlives it")
    }
}

impl<B: Starts> Drop for Permit<B> {
    fn drop(&mut self) {
        self.list.gate().release();
    }
}

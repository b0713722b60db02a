//! Limits the number of running jobs, and decides which list runs the next one.

use std::collections::VecDeque;

use crate::primitives::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    lock, oneshot,
};

/// A list of jobs that a [`Semaphore`] grants permits to.
pub(crate) trait Grantee: Clone + Sized {
    /// Returns the semaphore that bounds the list.
    fn semaphore(&self) -> &Semaphore<Self>;

    /// Takes the permit that was [requested](Semaphore::request), and runs the jobs with it, one at a time. May drop the permit
    /// immediately.
    fn granted(self, permit: Permit<Self>);
}

/// Hands out `max_running` permits, first come, first served. Unlike Tokio's semaphore it calls the list whose turn it is,
/// so that a list without a permit is a pointer rather than a task.
pub(crate) struct Semaphore<L: Grantee> {
    state: Mutex<State<L>>,
    /// The length of `State::waiting`, readable without the lock.
    waiting: AtomicUsize,
}

struct State<L: Grantee> {
    free: usize,
    waiting: VecDeque<Waiter<L>>,
    /// Set while a call of `release` hands out permits. That call also hands out the permits that come back meanwhile.
    granting: bool,
}

enum Waiter<L: Grantee> {
    /// A list that [requests](Semaphore::request) a permit.
    List(L),
    /// A task of that list that is waiting for its permit.
    Task(L, oneshot::Sender<Permit<L>>),
}

/// The right to run one job at a time. When dropped, it goes to the next waiter.
pub(crate) struct Permit<L: Grantee> {
    // Leads to the semaphore. It is not the runner itself, because all requests would contend for its reference count.
    list: L,
}

impl<L: Grantee> Semaphore<L> {
    pub(crate) fn new(permits: usize) -> Self {
        Self {
            state: Mutex::new(State { free: permits, waiting: VecDeque::new(), granting: false }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Grants a permit to a list, now or when its turn comes.
    pub(crate) fn request(list: L) {
        {
            let semaphore = list.semaphore();
            let mut state = lock(&semaphore.state);
            if state.free == 0 || !state.waiting.is_empty() {
                semaphore.enqueue(&mut state, Waiter::List(list.clone()));
                return;
            }
            state.free -= 1;
        }
        let permit = Permit { list: list.clone() };
        list.granted(permit);
    }

    /// Waits for a permit. Cancel safe: if dropped after the permit was granted, the permit goes to the next in the queue.
    pub(crate) async fn acquire(list: &L) -> Permit<L> {
        let turn = {
            let semaphore = list.semaphore();
            let mut state = lock(&semaphore.state);
            if state.free > 0 && state.waiting.is_empty() {
                state.free -= 1;
                return Permit { list: list.clone() };
            }
            let (grant, turn) = oneshot::channel();
            semaphore.enqueue(&mut state, Waiter::Task(list.clone(), grant));
            turn
        };
        turn.await.expect(GRANTED)
    }

    /// Returns whether a list or task is waiting for a permit.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn enqueue(&self, state: &mut State<L>, waiter: Waiter<L>) {
        state.waiting.push_back(waiter);
        self.waiting.store(state.waiting.len(), Ordering::Relaxed);
    }

    fn release(&self) {
        let mut state = lock(&self.state);
        state.free += 1;
        // A permit that is granted to a dropped waiter comes straight back here. One loop grants all permits, and returning ones
        // only increase the count, so that many such waiters do not cause recursion.
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
                    list.granted(permit);
                }
                Waiter::Task(list, grant) => drop(grant.send(Permit { list })),
            }
            state = lock(&self.state);
            state.granting = false;
        }
    }
}

const GRANTED: &str = "the semaphore keeps a waiter until it grants a permit, and outlives it";

impl<L: Grantee> Permit<L> {
    /// Goes to the end of the queue between two jobs.
    pub(crate) async fn turn(self) -> Self {
        let (grant, turn) = oneshot::channel();
        {
            let semaphore = self.list.semaphore();
            semaphore.enqueue(&mut lock(&semaphore.state), Waiter::Task(self.list.clone(), grant));
        }
        drop(self);
        turn.await.expect(GRANTED)
    }
}

impl<L: Grantee> Drop for Permit<L> {
    fn drop(&mut self) {
        self.list.semaphore().release();
    }
}

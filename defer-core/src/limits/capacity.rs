//! The capacity for `max_pending` released jobs, and the queue of responses that are held until there is room.
//!
//! Only released jobs take room. A held response keeps none while it waits, and takes none when it is let through, so
//! every response waits for jobs that are free to start and never for another response. The price: responses that are
//! let through at the same time may together release more jobs than there is room for.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use crate::primitives::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    lock,
};

/// Room for a number of jobs.
pub(crate) struct Capacity {
    max: usize,
    /// [`JOB`] times the number of jobs that take room, plus [`WAITING`]. It exceeds `max` jobs if jobs were released although
    /// their response could not be held.
    ///
    /// A single word that is only changed by read-modify-write, so that either the call that gives back room sees the waiting
    /// response, or that response sees the room.
    taken: AtomicUsize,
    queue: Mutex<Queue>,
}

/// A response is waiting. Set and unset under the queue's lock, so it may lag behind.
const WAITING: usize = 1;
const JOB: usize = 2;

#[derive(Default)]
struct Queue {
    next: u64,
    /// In the order of their numbers: first come, first served.
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    number: u64,
    jobs: usize,
    waker: Waker,
}

/// A response's place in the queue. A number that is no longer in the queue was let through.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

/// Whether all responses that had room were let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Admitted {
    All,
    /// Another response is waiting that would have room if it were alone. The responses that were let through have not released
    /// their jobs yet, and may never do so: call [`Capacity::admit`] again after giving them time.
    MoreSoon,
}

impl Capacity {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, taken: AtomicUsize::new(0), queue: Mutex::new(Queue::default()) }
    }

    /// Returns the maximum number of jobs.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Returns the number of jobs that take room.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed) / JOB
    }

    /// Returns the number of waiting responses.
    pub(crate) fn held(&self) -> usize {
        lock(&self.queue).waiting.len()
    }

    /// Returns whether there is room for this many jobs and no response is waiting for it.
    pub(crate) fn has(&self, jobs: usize) -> bool {
        let taken = self.taken.load(Ordering::Acquire);
        taken & WAITING == 0 && jobs.min(self.max) <= self.free(taken)
    }

    /// Takes room for this many jobs, even beyond the maximum.
    pub(crate) fn take(&self, jobs: usize) {
        self.taken.fetch_add(jobs * JOB, Ordering::AcqRel);
    }

    /// Takes room for up to this many jobs, as far as it is free. Returns the number of jobs that got room.
    pub(crate) fn take_free(&self, jobs: usize) -> usize {
        let mut got = 0;
        let take = |taken: usize| {
            got = jobs.min(self.free(taken));
            (got > 0).then(|| taken + got * JOB)
        };
        let took = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok();
        if took { got } else { 0 }
    }

    /// Gives back the room of this many jobs, and lets through the responses that now find room.
    #[inline]
    pub(crate) fn give_back(&self, jobs: usize) -> Admitted {
        let before = self.taken.fetch_sub(jobs * JOB, Ordering::AcqRel);
        if before & WAITING == 0 { Admitted::All } else { self.admit() }
    }

    /// Lets responses through, in order, while there is room for their jobs.
    #[cold]
    pub(crate) fn admit(&self) -> Admitted {
        let (wakers, admitted) = self.admit_from(&mut lock(&self.queue));
        wakers.into_iter().for_each(Waker::wake);
        admitted
    }

    /// Polls for room for the jobs of a response. A response with more than `max` jobs waits for all the room.
    pub(crate) fn poll(
        &self,
        ticket: &mut Ticket,
        jobs: usize,
        cx: &mut Context<'_>,
    ) -> (Poll<()>, Admitted) {
        let (old, wakers, admitted, polled) = {
            let mut queue = lock(&self.queue);
            let old = self.enqueue(&mut queue, ticket, jobs, cx.waker());
            let (wakers, admitted) = self.admit_from(&mut queue);
            let polled = match ticket.0 {
                Some(number) if queue.position(number).is_ok() => Poll::Pending,
                _ => Poll::Ready(()),
            };
            (old, wakers, admitted, polled)
        };
        if polled.is_ready() {
            ticket.0 = None;
        }
        // A waker may be user code: drop and wake it only after releasing the lock.
        drop(old);
        wakers.into_iter().for_each(Waker::wake);
        (polled, admitted)
    }

    /// Leaves the queue. The responses behind it may have room now.
    pub(crate) fn leave(&self, ticket: &mut Ticket) -> Admitted {
        let Some(number) = ticket.0.take() else { return Admitted::All };
        let left = {
            let mut queue = lock(&self.queue);
            let at = queue.position(number).ok();
            at.and_then(|at| queue.waiting.remove(at))
        };
        drop(left);
        self.admit()
    }

    fn free(&self, taken: usize) -> usize {
        self.max.saturating_sub(taken / JOB)
    }

    /// Puts a response into the queue, or updates its entry. Returns the waker it replaced.
    fn enqueue(&self, queue: &mut Queue, ticket: &mut Ticket, jobs: usize, waker: &Waker) -> Option<Waker> {
        let Some(number) = ticket.0 else {
            let number = queue.next;
            queue.next += 1;
            ticket.0 = Some(number);
            queue.waiting.push_back(Waiter { number, jobs, waker: waker.clone() });
            return None;
        };
        let at = queue.position(number).ok()?;
        let waiter = queue.waiting.get_mut(at)?;
        waiter.jobs = jobs;
        (!waiter.waker.will_wake(waker)).then(|| std::mem::replace(&mut waiter.waker, waker.clone()))
    }

    /// Removes the responses that have room from the queue, and returns their wakers.
    fn admit_from(&self, queue: &mut Queue) -> (Vec<Waker>, Admitted) {
        // Set before the count is read, so that a later call that gives back room sees the waiting response.
        let free = self.free(self.taken.fetch_or(WAITING, Ordering::AcqRel));
        let mut left = free;
        let mut wakers = Vec::new();
        let mut admitted = Admitted::All;
        while let Some(first) = queue.waiting.front() {
            let jobs = first.jobs.min(self.max);
            if jobs > left {
                if jobs <= free {
                    admitted = Admitted::MoreSoon;
                }
                break;
            }
            left -= jobs;
            wakers.extend(queue.waiting.pop_front().map(|waiter| waiter.waker));
        }
        if queue.waiting.is_empty() {
            self.taken.fetch_and(!WAITING, Ordering::AcqRel);
        }
        (wakers, admitted)
    }
}

impl Queue {
    fn position(&self, number: u64) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&number, |waiter| waiter.number)
    }
}

//! Room for `max_pending` released jobs, and the responses that are held back until there is some.
//!
//! Nobody keeps room while waiting for more: only jobs whose response is over take it, and a response that is let
//! through takes none before its jobs are released. So whoever waits here waits for jobs that are free to start, and
//! never for another response. The price is that responses which are let through at the same time may together
//! release more jobs than there is room for.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    lock,
};

pub(crate) struct Room {
    capacity: usize,
    /// [`JOB`] times how many jobs take room, and [`WAITING`]. More than `capacity` jobs take room where some were
    /// released that nobody could hold back.
    ///
    /// One word, changed by read-modify-write alone: either whoever gives back sees that a response waits, or that sees
    /// what was given back.
    taken: AtomicUsize,
    queue: Mutex<Queue>,
}

/// A response waits, or did a moment ago. Set and unset under the queue's lock.
const WAITING: usize = 1;
const JOB: usize = 2;

#[derive(Default)]
struct Queue {
    next: u64,
    /// First come, first served. In the order of their tickets.
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    ticket: u64,
    jobs: usize,
    waker: Waker,
}

/// A response's place among those that wait. A ticket that is no longer in the queue was let through.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<u64>);

/// Whether a call let responses through while another one waits that would have found room too. Jobs of the first are
/// not released yet, and may never be: [`Room::admit`] is to be called again when they had time for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Admitted {
    All,
    MoreSoon,
}

impl Room {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, taken: AtomicUsize::new(0), queue: Mutex::new(Queue::default()) }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether there is room for this many jobs, and no response waits for it.
    pub(crate) fn has(&self, jobs: usize) -> bool {
        let taken = self.taken.load(Ordering::Acquire);
        taken & WAITING == 0 && jobs.min(self.capacity) <= self.free(taken)
    }

    /// Takes room for this many jobs, whether there is any or not.
    pub(crate) fn take(&self, jobs: usize) {
        self.taken.fetch_add(jobs * JOB, Ordering::AcqRel);
    }

    /// Takes room for at most this many jobs, as far as there is any. Returns for how many.
    pub(crate) fn take_free(&self, jobs: usize) -> usize {
        let mut got = 0;
        let take = |taken: usize| {
            got = jobs.min(self.free(taken));
            (got > 0).then(|| taken + got * JOB)
        };
        let took = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok();
        if took { got } else { 0 }
    }

    /// Gives back the room of this many jobs, and lets through whoever finds room then.
    #[inline]
    pub(crate) fn give_back(&self, jobs: usize) -> Admitted {
        let before = self.taken.fetch_sub(jobs * JOB, Ordering::AcqRel);
        if before & WAITING == 0 { Admitted::All } else { self.admit() }
    }

    /// Lets responses through, in their order, as long as there is room for their jobs.
    #[cold]
    pub(crate) fn admit(&self) -> Admitted {
        let (wakers, admitted) = self.admit_from(&mut lock(&self.queue));
        wakers.into_iter().for_each(Waker::wake);
        admitted
    }

    /// Waits until there is room for the jobs of a response. `Ready` is said once; a response with more jobs than
    /// there is ever room for waits for all of it.
    pub(crate) fn poll(&self, place: &mut Place, jobs: usize, cx: &mut Context<'_>) -> (Poll<()>, Admitted) {
        let (old, wakers, admitted, polled) = {
            let mut queue = lock(&self.queue);
            let old = self.stand_in(&mut queue, place, jobs, cx.waker());
            let (wakers, admitted) = self.admit_from(&mut queue);
            let polled = match place.0 {
                Some(ticket) if queue.position(ticket).is_ok() => Poll::Pending,
                _ => Poll::Ready(()),
            };
            (old, wakers, admitted, polled)
        };
        if polled.is_ready() {
            place.0 = None;
        }
        // Wakers are somebody else's code: nothing of them runs under the lock.
        drop(old);
        wakers.into_iter().for_each(Waker::wake);
        (polled, admitted)
    }

    /// Gives up a place. Whoever stood behind it may find room.
    pub(crate) fn leave(&self, place: &mut Place) -> Admitted {
        let Some(ticket) = place.0.take() else { return Admitted::All };
        let left = {
            let mut queue = lock(&self.queue);
            let at = queue.position(ticket).ok();
            at.and_then(|at| queue.waiting.remove(at))
        };
        drop(left);
        self.admit()
    }

    fn free(&self, taken: usize) -> usize {
        self.capacity.saturating_sub(taken / JOB)
    }

    /// Puts a response into the queue, or brings its place there up to date. Returns a waker to be dropped.
    fn stand_in(&self, queue: &mut Queue, place: &mut Place, jobs: usize, waker: &Waker) -> Option<Waker> {
        let Some(ticket) = place.0 else {
            let ticket = queue.next;
            queue.next += 1;
            place.0 = Some(ticket);
            queue.waiting.push_back(Waiter { ticket, jobs, waker: waker.clone() });
            return None;
        };
        let at = queue.position(ticket).ok()?;
        let waiter = queue.waiting.get_mut(at)?;
        waiter.jobs = jobs;
        (!waiter.waker.will_wake(waker)).then(|| std::mem::replace(&mut waiter.waker, waker.clone()))
    }

    /// Takes those from the queue that find room, and returns what wakes them.
    fn admit_from(&self, queue: &mut Queue) -> (Vec<Waker>, Admitted) {
        // Before the count is looked at: what is given back later sees that somebody waits.
        let free = self.free(self.taken.fetch_or(WAITING, Ordering::AcqRel));
        let mut left = free;
        let mut wakers = Vec::new();
        let mut admitted = Admitted::All;
        while let Some(first) = queue.waiting.front() {
            let jobs = first.jobs.min(self.capacity);
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
    fn position(&self, ticket: u64) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&ticket, |waiter| waiter.ticket)
    }
}

//! The jobs that must not all run at once, such as those with the same key: each such group is a lane, in which they wait for
//! their turn.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::unconstrained,
};

use crate::{future::BoxFuture, sync::lock};

/// The lanes that have a job.
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: Arc<Mutex<HashMap<Key, Arc<Semaphore>>>>,
}

/// What the jobs of a lane have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// What a user has called it.
    Serial(Arc<str>),
    /// The type of this name.
    Type(&'static str),
}

/// A job's place in its lane: first come, first served. When it is dropped the next one has its turn.
pub(crate) struct Place {
    turn: Turn,
    // Dropped last.
    lane: Lane,
}

enum Turn {
    /// Tokio's semaphore is fair: who has asked first is first, whether it is polled or not.
    Waiting(BoxFuture<'static, Option<OwnedSemaphorePermit>>),
    Has {
        _permit: Option<OwnedSemaphorePermit>,
    },
}

/// Removes the lane, if it is the last that knows it.
struct Lane {
    key: Key,
    /// `None` while it is dropped.
    semaphore: Option<Arc<Semaphore>>,
    lanes: Weak<Mutex<HashMap<Key, Arc<Semaphore>>>>,
}

impl Lanes {
    /// Takes the next place in a lane, in which so many jobs may run at once.
    pub(crate) fn enter(&self, key: Key, at_once: usize) -> Place {
        let semaphore = {
            let mut lanes = lock(&self.lanes);
            lanes.entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(at_once))).clone()
        };
        let lane = Lane { key, semaphore: Some(semaphore.clone()), lanes: Arc::downgrade(&self.lanes) };
        // Not by the task's budget, after which it would not be in the queue.
        let turn = unconstrained(async { semaphore.acquire_owned().await.ok() });
        let mut turn: BoxFuture<'static, _> = Box::pin(turn);
        let turn = match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Turn::Has { _permit: permit },
            Poll::Pending => Turn::Waiting(turn),
        };
        Place { turn, lane }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.lanes).len()
    }
}

impl Place {
    pub(crate) fn key(&self) -> &Key {
        &self.lane.key
    }

    /// Returns whether it is its turn.
    pub(crate) fn has_turn(&self) -> bool {
        matches!(self.turn, Turn::Has { .. })
    }

    /// Completes when it is its turn.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Turn::Waiting(turn) = &mut self.turn {
            self.turn = Turn::Has { _permit: ready!(turn.as_mut().poll(cx)) };
        }
        Poll::Ready(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let Some(lanes) = self.lanes.upgrade() else { return };
        let mut lanes = lock(&lanes);
        // Under the lock, so that of two that are dropped at once the second sees that it is the last.
        self.semaphore = None;
        if lanes.get(&self.key).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            lanes.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::Serial("account:7".into())
    }

    #[tokio::test]
    async fn each_has_its_turn_in_the_order_in_which_they_came() {
        let lanes = Lanes::default();
        let first = lanes.enter(key(), 1);
        let second = lanes.enter(key(), 1);
        let mut third = lanes.enter(key(), 1);
        assert!(first.has_turn() && !second.has_turn() && !third.has_turn());
        drop(first);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(third.poll_turn(&mut cx).is_pending(), "it is the second's turn, who does not ask");
        drop(second);
        assert!(third.poll_turn(&mut cx).is_ready());
    }

    #[test]
    fn a_lane_without_jobs_is_forgotten() {
        let lanes = Lanes::default();
        let places = [lanes.enter(key(), 2), lanes.enter(key(), 2), lanes.enter(key(), 2)];
        assert_eq!(places.iter().filter(|place| place.has_turn()).count(), 2);
        assert_eq!(lanes.len(), 1);
        drop(places);
        assert_eq!(lanes.len(), 0);
        let late = lanes.enter(key(), 1);
        drop(lanes);
        drop(late);
    }
}

//! Limits the number of jobs with the same key that run at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::unconstrained,
};

use crate::primitives::{BoxFuture, sync::lock};

/// A fair semaphore for each key that is in use.
#[derive(Default)]
pub(crate) struct KeyedSemaphore {
    semaphores: Arc<Semaphores>,
}

type Semaphores = Mutex<HashMap<Key, Arc<Semaphore>>>;

/// A key of jobs that must not all run at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The user's serial key.
    Serial(Arc<str>),
    /// The name of their type.
    Type(&'static str),
}

/// A job's turn among those with its key: first come, first served. The next job gets its turn when this and all slots that
/// [share](Self::shared) it are dropped.
pub(crate) struct Slot {
    turn: Turn,
    // Dropped last.
    in_use: Arc<InUse>,
}

enum Turn {
    /// Tokio's semaphore is fair: it serves requests in order, even if they are not polled.
    Waiting(BoxFuture<'static, Option<OwnedSemaphorePermit>>),
    Granted(Option<Arc<OwnedSemaphorePermit>>),
}

/// Removes the semaphore when the last slot of its key is dropped.
struct InUse {
    key: Key,
    /// `None` while this is being dropped.
    semaphore: Option<Arc<Semaphore>>,
    semaphores: Weak<Semaphores>,
}

impl KeyedSemaphore {
    /// Queues for the next turn among the jobs with this key, of which up to `at_once` may run at the same time.
    pub(crate) fn queue_for(&self, key: Key, at_once: usize) -> Slot {
        let semaphore = {
            let mut semaphores = lock(&self.semaphores);
            semaphores.entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(at_once))).clone()
        };
        let semaphores = Arc::downgrade(&self.semaphores);
        let in_use = InUse { key, semaphore: Some(semaphore.clone()), semaphores };
        // Unconstrained, because a task that has used up its budget would not be queued.
        let turn = unconstrained(async { semaphore.acquire_owned().await.ok() });
        let mut turn: BoxFuture<'static, _> = Box::pin(turn);
        let turn = match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Turn::granted(permit),
            Poll::Pending => Turn::Waiting(turn),
        };
        Slot { turn, in_use: Arc::new(in_use) }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.semaphores).len()
    }
}

impl Slot {
    /// Returns whether it is the job's turn.
    pub(crate) fn is_granted(&self) -> bool {
        matches!(self.turn, Turn::Granted(_))
    }

    /// Completes when it is the job's turn.
    pub(crate) fn poll_granted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Turn::Waiting(turn) = &mut self.turn {
            self.turn = Turn::granted(ready!(turn.as_mut().poll(cx)));
        }
        Poll::Ready(())
    }

    /// Returns another owner of this turn, if it is the job's turn.
    pub(crate) fn shared(&self) -> Option<Self> {
        match &self.turn {
            Turn::Waiting(_) => None,
            Turn::Granted(permit) => {
                Some(Self { turn: Turn::Granted(permit.clone()), in_use: self.in_use.clone() })
            }
        }
    }
}

impl Turn {
    fn granted(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self::Granted(permit.map(Arc::new))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let Some(semaphores) = self.semaphores.upgrade() else { return };
        let mut semaphores = lock(&semaphores);
        // Dropped under the lock: if two slots are dropped at the same time, the second one sees that it is the last.
        self.semaphore = None;
        if semaphores.get(&self.key).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            semaphores.remove(&self.key);
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
        let semaphores = KeyedSemaphore::default();
        let first = semaphores.queue_for(key(), 1);
        let second = semaphores.queue_for(key(), 1);
        let mut third = semaphores.queue_for(key(), 1);
        assert!(first.is_granted() && !second.is_granted() && !third.is_granted());
        drop(first);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(third.poll_granted(&mut cx).is_pending(), "it is the second's turn, who does not ask");
        drop(second);
        assert!(third.poll_granted(&mut cx).is_ready());
    }

    #[test]
    fn a_turn_lasts_until_all_who_share_it_are_gone() {
        let semaphores = KeyedSemaphore::default();
        let first = semaphores.queue_for(key(), 1);
        let mut second = semaphores.queue_for(key(), 1);
        assert!(second.shared().is_none(), "it has no turn yet");
        let thread = first.shared().unwrap();
        drop(first);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(second.poll_granted(&mut cx).is_pending());
        drop(thread);
        assert!(second.poll_granted(&mut cx).is_ready());
    }

    #[test]
    fn a_key_without_jobs_is_forgotten() {
        let semaphores = KeyedSemaphore::default();
        let slots =
            [semaphores.queue_for(key(), 2), semaphores.queue_for(key(), 2), semaphores.queue_for(key(), 2)];
        assert_eq!(slots.iter().filter(|slot| slot.is_granted()).count(), 2);
        assert_eq!(semaphores.len(), 1);
        drop(slots);
        assert_eq!(semaphores.len(), 0);
        let late = semaphores.queue_for(key(), 1);
        drop(semaphores);
        drop(late);
    }
}

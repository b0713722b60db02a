//! The last start of each key, for jobs that may only start so often.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::{model::id::JobId, primitives::sync::lock};

/// Practically forever, for a clock that cannot represent a later time.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The last start of each key, for as long as a job's limit needs it.
#[derive(Clone, Default)]
pub(crate) struct Throttle {
    starts: Arc<Mutex<Starts>>,
}

#[derive(Default)]
struct Starts {
    by_key: HashMap<Arc<str>, Start>,
    /// When to forget each key. A key whose time was extended has several entries.
    until: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
}

struct Start {
    id: JobId,
    at: Instant,
    until: Instant,
}

/// Limits how often jobs with the same key start.
#[derive(Clone)]
pub(crate) struct AtMost {
    pub(crate) key: Arc<str>,
    pub(crate) every: Duration,
    pub(crate) throttle: Throttle,
}

impl AtMost {
    /// Called when the job is about to start. Returns the job that started too recently, or counts this start. It runs no user
    /// code, so it may be called under a lock.
    pub(crate) fn start(&self, id: JobId) -> Option<JobId> {
        let now = Instant::now();
        let mut starts = lock(&self.throttle.starts);
        starts.forget(now);
        if self.every.is_zero() {
            return None;
        }
        let last = starts.by_key.get(&self.key);
        if let Some(last) = last.filter(|last| now.saturating_duration_since(last.at) < self.every) {
            // The entry may belong to this job itself: it has started before, or the start was handed over to it.
            return (last.id != id).then_some(last.id);
        }
        let until = now.checked_add(self.every).unwrap_or(now + FOREVER);
        let put_off = last.is_none_or(|last| last.until < until);
        let until = last.map_or(until, |last| last.until.max(until));
        starts.by_key.insert(self.key.clone(), Start { id, at: now, until });
        if put_off {
            starts.until.push(Reverse((until, self.key.clone())));
        }
        None
    }

    /// Counts the start of a job as that of the job that replaces it. May be called under a lock, like [`start`](Self::start).
    pub(crate) fn hand_over(&self, from: JobId, to: JobId) {
        let mut starts = lock(&self.throttle.starts);
        if let Some(start) = starts.by_key.get_mut(&self.key).filter(|start| start.id == from) {
            start.id = to;
        }
    }
}

impl Starts {
    /// Forgets starts that no longer matter.
    fn forget(&mut self, now: Instant) {
        while self.until.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            let Some(Reverse((_, key))) = self.until.pop() else { return };
            if self.by_key.get(&key).is_some_and(|start| start.until <= now) {
                self.by_key.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(throttle: &Throttle, key: &str, every: Duration) -> AtMost {
        AtMost { key: key.into(), every, throttle: throttle.clone() }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_start_counts_for_as_long_as_the_next_one_says() {
        let throttle = Throttle::default();
        let (first, second, third) = (JobId::unique(), JobId::unique(), JobId::unique());
        assert_eq!(at_most(&throttle, "k", SECOND * 10).start(first), None);
        assert_eq!(at_most(&throttle, "l", SECOND * 10).start(second), None, "another key");
        tokio::time::advance(SECOND * 9).await;
        assert_eq!(at_most(&throttle, "k", SECOND * 10).start(third), Some(first));
        assert_eq!(at_most(&throttle, "k", SECOND * 5).start(third), None);
        assert_eq!(at_most(&throttle, "k", SECOND * 5).start(second), Some(third));
        tokio::time::advance(SECOND * 5).await;
        assert_eq!(at_most(&throttle, "k", SECOND * 5).start(first), None);
        assert_eq!(at_most(&throttle, "k", Duration::MAX).start(second), Some(first));
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_of_a_job_that_is_replaced_counts_for_the_other() {
        let throttle = Throttle::default();
        let (first, second, third) = (JobId::unique(), JobId::unique(), JobId::unique());
        let at_most = at_most(&throttle, "k", SECOND);
        assert_eq!(at_most.start(first), None);
        at_most.hand_over(first, second);
        assert_eq!((at_most.start(second), at_most.start(third)), (None, Some(second)));
    }

    #[tokio::test(start_paused = true)]
    async fn starts_are_forgotten_once_nobody_counts_them() {
        let throttle = Throttle::default();
        for round in 0..10 {
            for key in 0..100 {
                let key = format!("{round} {key}");
                assert_eq!(at_most(&throttle, &key, SECOND).start(JobId::unique()), None);
                at_most(&throttle, &key, SECOND * 1_000_000).start(JobId::unique());
                at_most(&throttle, &key, Duration::ZERO).start(JobId::unique());
            }
            tokio::time::advance(SECOND).await;
        }
        at_most(&throttle, "last", SECOND).start(JobId::unique());
        let starts = lock(&throttle.starts);
        assert_eq!((starts.by_key.len(), starts.until.len()), (1, 1));
    }
}

//! The times at which jobs that this process delayed become due.

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The longest delay whose end is noted. Workers look every second anyway, and one second late does not matter after a longer
/// delay.
const LONGEST: Duration = Duration::from_secs(10);
/// The least time between two looks. A job may be late by up to twice this, so that many jobs cost no more looks and no more
/// memory.
const STEP: Duration = Duration::from_millis(5);

/// The times at which workers should look again because a delayed job is due.
#[derive(Default)]
pub(super) struct Due(Mutex<BTreeSet<Instant>>);

impl Due {
    /// Notes that a job becomes due after this long.
    pub(super) fn add(&self, now: Instant, delay: Duration) {
        if delay.is_zero() || delay > LONGEST {
            return;
        }
        let due = now + delay;
        self.with(|times| {
            // Every worker has looked by now.
            while times.first().is_some_and(|first| now.saturating_duration_since(*first) > LONGEST) {
                times.pop_first();
            }
            if times.range(due..=due + 2 * STEP).next().is_none() {
                times.insert(due + STEP);
            }
        });
    }

    /// Returns when a worker that looked at this moment should look again.
    pub(super) fn next_after(&self, looked: Instant) -> Option<Instant> {
        self.with(|times| times.range((Bound::Excluded(looked), Bound::Unbounded)).next().copied())
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeSet<Instant>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_looks_soon_after_a_job_is_due_and_not_before() {
        let (due, now) = (Due::default(), Instant::now());
        for delay in [40, 10, 300].map(Duration::from_millis) {
            due.add(now, delay);
            let look = due.next_after(now + delay - Duration::from_nanos(1)).unwrap();
            assert!(look >= now + delay && look <= now + delay + 2 * STEP);
        }
        assert_eq!(due.next_after(now), Some(now + Duration::from_millis(10) + STEP));
        assert_eq!(due.next_after(now + Duration::from_secs(1)), None);
    }

    #[test]
    fn many_jobs_cost_few_looks_and_little_memory() {
        let (due, now) = (Due::default(), Instant::now());
        for micros in 0..1_000_000 {
            due.add(now + Duration::from_micros(micros * 100), Duration::from_millis(500));
        }
        let times = due.with(|times| times.iter().copied().collect::<Vec<_>>());
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= STEP), "{times:?}");
        assert!(times.len() <= 2_200, "{}", times.len());
        due.add(now, LONGEST + Duration::from_nanos(1));
        due.add(now, Duration::ZERO);
        assert_eq!(due.with(|times| times.len()), times.len());
    }
}

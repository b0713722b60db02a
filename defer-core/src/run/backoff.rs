//! Computes how long to wait before another attempt.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::model::policy::Policy;

/// Returns the wait after this many attempts: doubled each time, with up to as much again of jitter, at most the
/// policy's longest.
pub(super) fn delay(policy: &Policy, attempts: u32) -> Duration {
    let (min, max) = policy.backoff();
    // Later waits are all the longest, so the attempt number is capped.
    let nth = attempts.saturating_sub(1).min(63) as usize;
    ExponentialBuilder::new()
        .with_min_delay(min)
        .with_max_delay(max)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
        .nth(nth)
        .unwrap_or(max)
        .min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_from_the_shortest_to_the_longest() {
        let (min, max) = (Duration::from_millis(500), Duration::from_secs(30));
        let policy = Policy::new().with_backoff(min, max);
        for (attempts, least) in [(1, 500), (2, 1_000), (3, 2_000), (7, 30_000), (u32::MAX, 30_000)] {
            let delay = delay(&policy, attempts);
            let least = Duration::from_millis(least);
            assert!(delay >= least && delay <= max.min(least * 2), "{attempts}: {delay:?}");
        }
    }

    #[test]
    fn jobs_that_failed_together_do_not_come_back_together() {
        let policy = Policy::new().with_backoff(Duration::from_millis(500), Duration::from_secs(30));
        let delays: std::collections::BTreeSet<_> = (0..100).map(|_| delay(&policy, 1)).collect();
        assert!(delays.len() > 90, "{} of 100 differ", delays.len());
    }
}

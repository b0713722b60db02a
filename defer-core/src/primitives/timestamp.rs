//! An instant in eight bytes, small because a list may keep several for each job.

use std::{num::NonZeroU64, sync::LazyLock, time::Duration};

use tokio::time::Instant;

/// An instant, in nanoseconds relative to a shared one, which is at `HALF`. It is exact for 292 years in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(NonZeroU64);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const HALF: u64 = 1 << 63;

impl Timestamp {
    /// Returns the current time by Tokio's clock.
    pub fn now() -> Self {
        let start = *START;
        Self::between(start, Instant::now())
    }

    /// Returns the instant this much later.
    pub(crate) fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(nanos(delay)))
    }

    /// Returns the instant this much earlier.
    pub(crate) fn before(self, time: Duration) -> Self {
        Self(NonZeroU64::new(self.0.get().saturating_sub(nanos(time))).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// Returns the time between an earlier instant and this one; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// With a paused clock, `now` may be before `start`, which was set on another runtime.
    fn between(start: Instant, now: Instant) -> Self {
        let nanos = match now.checked_duration_since(start) {
            Some(after) => HALF.saturating_add(nanos(after)),
            None => HALF.saturating_sub(nanos(start - now)),
        };
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }
}

/// Returns a duration in nanoseconds, at most 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Durations of all magnitudes.
    fn durations() -> impl Strategy<Value = Duration> {
        prop_oneof![
            (0..=u64::MAX, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
            (0..=u64::MAX).prop_map(Duration::from_nanos),
            (0..1_000_u64).prop_map(Duration::from_nanos),
            Just(Duration::MAX),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_delay_is_kept_to_the_nanosecond_or_is_the_longest(at in 1..=u64::MAX, delay in durations()) {
            let at = Timestamp(NonZeroU64::new(at).unwrap());
            let later = at.after(delay);
            prop_assert!(later >= at);
            let kept = later.since(at);
            prop_assert!(kept == delay || (kept < delay && later == Timestamp(NonZeroU64::MAX)), "{:?}", kept);
            prop_assert_eq!(at.since(later), Duration::ZERO);
        }

        #[test]
        fn a_duration_is_at_most_584_years(duration in durations()) {
            let exact = u64::try_from(duration.as_nanos());
            prop_assert_eq!(nanos(duration), exact.unwrap_or(u64::MAX));
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_stamp_is_told_apart_by_time() {
        let (first, start) = (Timestamp::now(), Instant::now());
        tokio::time::advance(SECOND).await;
        assert_eq!(first.elapsed(), SECOND);
        assert!(first < Timestamp::now());
        assert_eq!(first.after(3 * SECOND).elapsed(), Duration::ZERO);
        assert_eq!(first.after(Duration::MAX).elapsed(), Duration::ZERO);
        // Around the start.
        let before = Timestamp::between(start + SECOND, start);
        let at = Timestamp::between(start, start);
        assert!(before < at);
        assert!(before.after(SECOND) <= at);
        assert_eq!(at.after(SECOND), Timestamp::between(start, start + SECOND));
        assert_eq!(Timestamp::between(start, start + SECOND).since(before), 2 * SECOND);
    }
}

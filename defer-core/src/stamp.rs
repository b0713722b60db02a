//! An instant in eight bytes: each job has one.

use std::{num::NonZeroI64, sync::LazyLock, time::Duration};

use tokio::time::Instant;

/// An instant, in nanoseconds from one that all share. It is exact for 292 years around that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(NonZeroI64);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Stamp {
    /// Returns the time by Tokio's clock.
    pub fn now() -> Self {
        let start = *START;
        Self::between(start, Instant::now())
    }

    /// Returns the instant this much later.
    pub(crate) fn after(self, delay: Duration) -> Self {
        Self::of(self.0.get().saturating_add(nanos(delay)).saturating_sub(1))
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// Returns the time between an earlier instant and this one; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        let since = self.0.get().saturating_sub(earlier.0.get());
        Duration::from_nanos(since.try_into().unwrap_or_default())
    }

    /// With a paused clock, `now` may be before `start`, which another runtime has set.
    fn between(start: Instant, now: Instant) -> Self {
        match now.checked_duration_since(start) {
            Some(after) => Self::of(nanos(after)),
            None => Self::of(-nanos(start - now)),
        }
    }

    fn of(nanos: i64) -> Self {
        // 0 is left for `Option`.
        let nanos = if nanos < 0 { nanos } else { nanos.saturating_add(1) };
        Self(NonZeroI64::new(nanos).unwrap_or(NonZeroI64::MAX))
    }
}

fn nanos(duration: Duration) -> i64 {
    let secs: i64 = duration.as_secs().try_into().unwrap_or(i64::MAX);
    secs.saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_stamp_is_told_apart_by_time() {
        let (first, start) = (Stamp::now(), Instant::now());
        tokio::time::advance(SECOND).await;
        assert_eq!(first.elapsed(), SECOND);
        assert!(first < Stamp::now());
        assert_eq!(first.after(3 * SECOND).elapsed(), Duration::ZERO);
        assert_eq!(first.after(Duration::MAX).elapsed(), Duration::ZERO);
        // Around the start.
        let before = Stamp::between(start + SECOND, start);
        let at = Stamp::between(start, start);
        assert!(before < at);
        assert!(before.after(SECOND) <= at);
        assert_eq!(at.after(SECOND), Stamp::between(start, start + SECOND));
    }
}

//! How long a job waits, as a statement reads it.

use std::time::Duration;

/// The longest delay, about a hundred years: SQLite's dates end in the year 9999.
const LONGEST_DELAY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Returns an interval, and whether River's scheduler is to make the job available. For short ones it would be late, and so is
/// left out, as River does at retries.
pub(super) fn after(delay: Duration) -> (String, bool) {
    let delay = delay.min(LONGEST_DELAY);
    let millis = millis(delay);
    (format!("{}.{:03} seconds", millis / 1000, millis % 1000), delay > Duration::from_secs(5))
}

/// Returns a duration in milliseconds, rounded up: a job does not start early.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_never_shorter_than_it_was_asked_for() {
        let delays = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(6), Duration::MAX];
        let after = delays.map(after);
        assert_eq!(after[0], ("0.000 seconds".to_owned(), false));
        assert_eq!(after[1], ("0.001 seconds".to_owned(), false));
        assert_eq!(after[2], ("6.000 seconds".to_owned(), true));
        assert_eq!(after[3].0, "3153600000.000 seconds");
    }
}

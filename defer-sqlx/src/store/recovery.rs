//! Decides the fate of a job whose holder is gone.

use super::state::{CANCELLED, FAILED, READY, SKIPPED};

/// A job fails when this many of its processes have died.
const MOST_DEATHS: i64 = 10;
/// The most deaths that a row counts.
const COUNTED_DEATHS: i64 = 1_000_000;
/// The longest wait after the second death, in milliseconds. It doubles with each further death.
const FIRST_DELAY: i64 = 10_000;

/// A job that a process held or ran.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) id: String,
    pub(crate) deaths: i64,
    pub(crate) condition: i64,
    pub(crate) status: Option<i64>,
    pub(crate) cancel: bool,
}

/// The new state of such a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) state: i16,
    pub(crate) deaths: i64,
    pub(crate) delay: i64,
    pub(crate) error: Option<&'static str>,
}

impl Orphan {
    /// Returns what becomes of the job when its process dies, or signs off and leaves it behind.
    pub(crate) fn fate(&self, died: bool) -> Fate {
        let deaths = (self.deaths + i64::from(died)).min(COUNTED_DEATHS);
        let end = |state, error| Fate { state, deaths, delay: 0, error };
        match () {
            () if self.cancel => end(CANCELLED, None),
            () if died && deaths >= MOST_DEATHS => {
                end(FAILED, Some("its process died ten times while it had the job"))
            }
            () if self.condition == 2 => {
                end(FAILED, Some("its process ended before its condition could be asked"))
            }
            () if self.condition == 1 && self.status.is_none_or(|status| status >= 400) => end(SKIPPED, None),
            () => Fate { state: READY, deaths, delay: if died { delay(deaths) } else { 0 }, error: None },
        }
    }
}

/// The first death causes no delay. Later delays separate a job that kills its process from the jobs around it.
fn delay(deaths: i64) -> i64 {
    if deaths < 2 {
        return 0;
    }
    // The exponent is at most 7: 21 minutes.
    fastrand::i64(0..=FIRST_DELAY << (deaths - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphan(deaths: i64) -> Orphan {
        Orphan { id: String::new(), deaths, condition: 0, status: None, cancel: false }
    }

    #[test]
    fn a_job_waits_longer_with_each_death_but_the_first_and_is_given_up_after_ten() {
        assert_eq!((orphan(0).fate(true).state, orphan(0).fate(true).delay), (READY, 0));
        for (deaths, longest) in [(1, 10_000), (2, 20_000), (8, 1_280_000)] {
            let delays = (0..500).map(|_| orphan(deaths).fate(true).delay);
            let (least, most) = (delays.clone().min().unwrap_or(0), delays.max().unwrap_or(0));
            assert!(
                least < longest / 4 && most > longest / 2 && most <= longest,
                "{deaths}: {least} to {most}"
            );
        }
        assert_eq!(orphan(9).fate(true).state, FAILED);
        assert_eq!((orphan(9).fate(false).state, orphan(9).fate(false).deaths), (READY, 9));
    }

    #[test]
    fn a_condition_that_was_not_asked_is_judged_by_the_status_or_keeps_the_job() {
        let fate = |condition, status| Orphan { condition, status, ..orphan(0) }.fate(true).state;
        assert_eq!((fate(1, Some(200)), fate(1, Some(404)), fate(1, None)), (READY, SKIPPED, SKIPPED));
        assert_eq!(fate(2, Some(200)), FAILED);
    }
}

//! How runs went in the last minutes.

use std::time::Duration;

use histogram::{Histogram32, Quantile};
use serde::Serialize;

use super::float::float;

/// The times of runs are kept by the minute, for this many minutes.
pub(super) const MINUTES: usize = 5;
/// Runs are counted by slots of this many seconds, for as long.
const SLOT: u64 = 5;
const SLOTS: usize = 60;

/// Times are told apart to a sixteenth, up to 2^32 microseconds: an hour and eleven minutes.
const SIXTEENTH: u8 = 4;
const LONGEST: u8 = 32;

/// The runs of the last five minutes.
pub(super) struct Window {
    minutes: [Minute; MINUTES],
    slots: [Slot; SLOTS],
}

struct Minute {
    /// Counted from the begin.
    number: u64,
    ran: Histogram32,
    waited: Histogram32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Counted from the begin.
    number: u64,
    counts: Counts,
}

/// How many runs went well, and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) succeeded: u32,
    pub(super) failed: u32,
}

/// How long runs took, or waited: half, 95 and 99 of 100 at most so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

impl Window {
    pub(super) fn new() -> Self {
        let histogram = || Histogram32::new(SIXTEENTH, LONGEST).expect("the bounds are valid");
        Self {
            minutes: std::array::from_fn(|_| Minute { number: 0, ran: histogram(), waited: histogram() }),
            slots: [Slot::default(); SLOTS],
        }
    }

    /// Adds a run that ended at this time.
    pub(super) fn add(&mut self, at: Duration, succeeded: bool, ran: Duration, waited: Option<Duration>) {
        let number = at.as_secs() / 60;
        let minute = &mut self.minutes[index(number, MINUTES)];
        if minute.number != number {
            minute.number = number;
            minute.ran.reset();
            minute.waited.reset();
        }
        record(&mut minute.ran, ran);
        if let Some(waited) = waited {
            record(&mut minute.waited, waited);
        }
        let number = at.as_secs() / SLOT;
        let slot = &mut self.slots[index(number, SLOTS)];
        if slot.number != number {
            *slot = Slot { number, counts: Counts::default() };
        }
        let count = if succeeded { &mut slot.counts.succeeded } else { &mut slot.counts.failed };
        *count = count.saturating_add(1);
    }

    /// Returns how long runs took, if there were any.
    pub(super) fn ran(&self, now: Duration) -> Option<Percentiles> {
        self.percentiles(now, |minute| &minute.ran)
    }

    /// Returns how long runs waited, if there were any.
    pub(super) fn waited(&self, now: Duration) -> Option<Percentiles> {
        self.percentiles(now, |minute| &minute.waited)
    }

    /// Returns how many runs there were, in slots of five seconds, the latest last.
    pub(super) fn counts(&self, now: Duration) -> Vec<Counts> {
        let last = now.as_secs() / SLOT;
        (0..SLOTS as u64).rev().map(|back| self.slot(last.checked_sub(back))).collect()
    }

    /// Returns how many runs there were a second, of late.
    pub(super) fn rate(&self, now: Duration) -> f64 {
        let last = now.as_secs() / SLOT;
        let counts = [Some(last), last.checked_sub(1)].map(|number| self.slot(number));
        let runs: f64 =
            counts.iter().map(|counts| f64::from(counts.succeeded) + f64::from(counts.failed)).sum();
        let since = Duration::from_secs(last.saturating_sub(1) * SLOT);
        runs / (now - since).as_secs_f64().max(1.0)
    }

    fn slot(&self, number: Option<u64>) -> Counts {
        let slot = number.map(|number| (number, self.slots[index(number, SLOTS)]));
        slot.filter(|(number, slot)| slot.number == *number).map(|(_, slot)| slot.counts).unwrap_or_default()
    }

    fn percentiles(&self, now: Duration, times: impl Fn(&Minute) -> &Histogram32) -> Option<Percentiles> {
        let last = now.as_secs() / 60;
        let recent = self.minutes.iter().filter(|minute| minute.number + MINUTES as u64 > last).map(times);
        // There are too many to count, or none.
        let all = Histogram32::checked_sum(&recent.collect::<Vec<_>>()).ok()?;
        let quantiles = all.quantiles(&[0.5, 0.95, 0.99]).ok()??;
        let at = |quantile| Some(float(quantiles.get(&Quantile::new(quantile).ok()?)?.end()) / 1e6);
        Some(Percentiles { p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)? })
    }
}

fn index(number: u64, length: usize) -> usize {
    usize::try_from(number % length as u64).expect("smaller than `length`")
}

fn record(times: &mut Histogram32, time: Duration) {
    let micros = time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into());
    // There is no error up to the longest time.
    let _ = times.increment(micros.min(u32::MAX.into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn percentiles_are_within_a_sixteenth() {
        let mut window = Window::new();
        for n in 1..=1_000 {
            window.add(at(3), true, n * MS, Some(2 * n * MS));
        }
        for (seconds, expected) in [
            (window.ran(at(3)).unwrap().p50, 0.5),
            (window.ran(at(3)).unwrap().p99, 0.99),
            (window.waited(at(3)).unwrap().p95, 1.9),
        ] {
            assert!((seconds / expected - 1.0).abs() < 1.0 / 16.0, "{seconds} for {expected}");
        }
    }

    #[test]
    fn times_are_forgotten_after_five_minutes_and_longer_ones_are_an_hour() {
        let mut window = Window::new();
        window.add(at(59), false, Duration::MAX, None);
        assert!(window.ran(at(59)).unwrap().p50 >= 3_600.0);
        assert_eq!(window.waited(at(59)), None);
        assert!(window.ran(at(299)).is_some());
        assert_eq!(window.ran(at(300)), None);
        // The minute's place is taken by a later one.
        window.add(at(300), true, MS, None);
        assert!(window.ran(at(300)).unwrap().p99 < 0.0011);
    }

    #[test]
    fn runs_are_counted_where_they_ended() {
        let mut window = Window::new();
        window.add(at(0), true, MS, None);
        window.add(at(12), false, MS, None);
        window.add(at(14), true, MS, None);
        let counts = window.counts(at(15));
        assert_eq!(counts.len(), SLOTS);
        assert_eq!(
            counts[SLOTS - 4..],
            [
                Counts { succeeded: 1, failed: 0 },
                Counts::default(),
                Counts { succeeded: 1, failed: 1 },
                Counts::default(),
            ]
        );
        assert!(window.counts(at(1_000)).iter().all(|counts| *counts == Counts::default()));
        assert_eq!(window.rate(at(15)), 2.0 / 5.0);
        assert_eq!(window.rate(at(1_000)), 0.0);
        assert_eq!(Window::new().rate(Duration::ZERO), 0.0);
    }
}

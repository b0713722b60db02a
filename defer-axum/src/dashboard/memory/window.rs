//! The runs of the last minutes.

use std::time::Duration;

use histogram::{Histogram32, Quantile};
use serde::Serialize;

use super::{float::float, outcome::Group};

/// The run times are kept by the minute, for this many minutes.
const MINUTES: usize = 5;
/// Runs are counted in slots of this many seconds, for the same time.
const SLOT: u64 = 5;
const SLOTS: usize = 60;

/// Times are exact to a sixteenth, up to 2^32 microseconds: an hour and eleven minutes.
const SIXTEENTH: u8 = 4;
const LONGEST: u8 = 32;

/// The runs of the last five minutes.
pub(crate) struct Window {
    minutes: [Minute; MINUTES],
    slots: [Slot; SLOTS],
}

struct Minute {
    /// Counted from the start.
    number: u64,
    /// `None` before the first run: many types have no runs.
    times: Option<Times>,
}

struct Times {
    ran: Histogram32,
    waited: Histogram32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Counted from the start.
    number: u32,
    counts: Counts,
}

/// The number of attempts, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) succeeded: u32,
    /// Attempts with which their jobs failed permanently.
    pub(crate) failed: u32,
    /// Attempts that failed and were followed by another.
    pub(crate) retried: u32,
}

/// The run or wait times of half, 95% and 99% of runs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl Counts {
    /// Counts an attempt. Ends without an attempt do not count.
    fn count(&mut self, group: Group) {
        let count = match group {
            Group::Succeeded => &mut self.succeeded,
            Group::Failed => &mut self.failed,
            Group::Retrying => &mut self.retried,
            Group::Other => return,
        };
        *count = count.saturating_add(1);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.succeeded = self.succeeded.saturating_add(other.succeeded);
        self.failed = self.failed.saturating_add(other.failed);
        self.retried = self.retried.saturating_add(other.retried);
    }

    pub(crate) fn all(self) -> u64 {
        u64::from(self.succeeded) + u64::from(self.failed) + u64::from(self.retried)
    }
}

impl Times {
    fn new() -> Self {
        let histogram = || Histogram32::new(SIXTEENTH, LONGEST).expect("the bounds are valid");
        Self { ran: histogram(), waited: histogram() }
    }

    fn reset(&mut self) {
        self.ran.reset();
        self.waited.reset();
    }
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            minutes: std::array::from_fn(|_| Minute { number: 0, times: None }),
            slots: [Slot::default(); SLOTS],
        }
    }

    /// Counts an attempt that ended at this time. Returns the slot it replaces, which is older than five minutes, with its start.
    pub(crate) fn count(&mut self, at: Duration, group: Group) -> Option<(Duration, Counts)> {
        let number = at.as_secs() / SLOT;
        let slot = &mut self.slots[index(number, SLOTS)];
        let mut replaced = None;
        if u64::from(slot.number) != number {
            replaced = slot.known();
            *slot = Slot { number: u32::try_from(number).unwrap_or(u32::MAX), counts: Counts::default() };
        }
        slot.counts.count(group);
        replaced
    }

    /// Adds the run time and the wait of an attempt that ended at this time.
    pub(crate) fn time(&mut self, at: Duration, ran: Duration, waited: Option<Duration>) {
        let number = at.as_secs() / 60;
        let minute = &mut self.minutes[index(number, MINUTES)];
        let times = minute.times.get_or_insert_with(Times::new);
        if minute.number != number {
            minute.number = number;
            times.reset();
        }
        record(&mut times.ran, ran);
        if let Some(waited) = waited {
            record(&mut times.waited, waited);
        }
    }

    /// Returns the run times, if there were any.
    pub(crate) fn ran(&self, now: Duration) -> Option<Percentiles> {
        self.percentiles(now, |times| &times.ran)
    }

    /// Returns the wait times, if there were any.
    pub(crate) fn waited(&self, now: Duration) -> Option<Percentiles> {
        self.percentiles(now, |times| &times.waited)
    }

    /// Returns the number of attempts, in slots of five seconds, the latest last.
    pub(crate) fn counts(&self, now: Duration) -> Vec<Counts> {
        let last = now.as_secs() / SLOT;
        (0..SLOTS as u64).rev().map(|back| self.slot(last.checked_sub(back))).collect()
    }

    /// Returns all slots with attempts, in no order, each with its start.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Duration, Counts)> {
        self.slots.iter().filter_map(Slot::known)
    }

    /// Returns the recent number of attempts per second.
    pub(crate) fn rate(&self, now: Duration) -> f64 {
        let last = now.as_secs() / SLOT;
        let counts = [Some(last), last.checked_sub(1)].map(|number| self.slot(number));
        let runs: u64 = counts.into_iter().map(Counts::all).sum();
        let since = Duration::from_secs(last.saturating_sub(1) * SLOT);
        float(runs) / (now - since).as_secs_f64().max(1.0)
    }

    fn slot(&self, number: Option<u64>) -> Counts {
        let slot = number.map(|number| (number, self.slots[index(number, SLOTS)]));
        let slot = slot.filter(|(number, slot)| u64::from(slot.number) == *number);
        slot.map(|(_, slot)| slot.counts).unwrap_or_default()
    }

    fn percentiles(&self, now: Duration, of: impl Fn(&Times) -> &Histogram32) -> Option<Percentiles> {
        let last = now.as_secs() / 60;
        let recent = self.minutes.iter().filter(|minute| minute.number + MINUTES as u64 > last);
        let recent: Vec<_> = recent.filter_map(|minute| minute.times.as_ref()).map(of).collect();
        // `None` if there are no times, or too many to count.
        let all = Histogram32::checked_sum(&recent).ok()?;
        let quantiles = all.quantiles(&[0.5, 0.95, 0.99]).ok()??;
        let at = |quantile| Some(float(quantiles.get(&Quantile::new(quantile).ok()?)?.end()) / 1e6);
        Some(Percentiles { p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)? })
    }
}

impl Slot {
    /// Returns the counts of the slot, and its start. `None` if there are none.
    fn known(&self) -> Option<(Duration, Counts)> {
        let since = Duration::from_secs(u64::from(self.number) * SLOT);
        (self.counts != Counts::default()).then_some((since, self.counts))
    }
}

fn index(number: u64, length: usize) -> usize {
    usize::try_from(number % length as u64).expect("smaller than `length`")
}

fn record(times: &mut Histogram32, time: Duration) {
    let micros = time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into());
    // Cannot fail up to the longest time.
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
            window.time(at(3), n * MS, Some(2 * n * MS));
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
        window.time(at(59), Duration::MAX, None);
        assert!(window.ran(at(59)).unwrap().p50 >= 3_600.0);
        assert_eq!(window.waited(at(59)), None);
        assert!(window.ran(at(299)).is_some());
        assert_eq!(window.ran(at(300)), None);
        // A later minute replaces this one.
        window.time(at(300), MS, None);
        assert!(window.ran(at(300)).unwrap().p99 < 0.0011);
    }

    #[test]
    fn attempts_are_counted_where_they_ended() {
        let mut window = Window::new();
        window.count(at(0), Group::Succeeded);
        window.count(at(12), Group::Failed);
        window.count(at(13), Group::Retrying);
        window.count(at(14), Group::Succeeded);
        window.count(at(14), Group::Other);
        let counts = window.counts(at(15));
        assert_eq!(counts.len(), SLOTS);
        assert_eq!(
            counts[SLOTS - 4..],
            [
                Counts { succeeded: 1, ..Counts::default() },
                Counts::default(),
                Counts { succeeded: 1, failed: 1, retried: 1 },
                Counts::default(),
            ]
        );
        assert!(window.counts(at(1_000)).iter().all(|counts| *counts == Counts::default()));
        assert_eq!(window.rate(at(15)), 3.0 / 5.0);
        assert_eq!(window.rate(at(1_000)), 0.0);
        assert_eq!(Window::new().rate(Duration::ZERO), 0.0);
    }

    #[test]
    fn what_is_older_than_five_minutes_is_handed_on_once() {
        let mut window = Window::new();
        let one = Counts { failed: 1, ..Counts::default() };
        assert_eq!(window.count(at(7), Group::Failed), None);
        assert_eq!(window.count(at(8), Group::Other), None);
        assert_eq!(window.known().collect::<Vec<_>>(), [(at(5), one)]);
        assert_eq!(window.count(at(305), Group::Failed), Some((at(5), one)));
        assert_eq!(window.count(at(306), Group::Failed), None);
        assert_eq!(window.known().count(), 1);
    }
}

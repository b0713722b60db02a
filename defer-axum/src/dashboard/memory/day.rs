//! The number of attempts in each minute of the last day.

use std::time::Duration;

use super::window::Counts;

/// The number of minutes to keep.
pub(crate) const MINUTES: usize = 24 * 60;

/// The attempts of all types in the last day. The latest five minutes may still be in the types' windows.
pub(crate) struct Day {
    minutes: Box<[Minute]>,
}

#[derive(Clone, Copy, Default)]
struct Minute {
    /// Counted from the start.
    number: u32,
    counts: Counts,
}

impl Day {
    pub(crate) fn new() -> Self {
        Self { minutes: vec![Minute::default(); MINUTES].into() }
    }

    /// Adds the counts of a slot that starts at this time, and lies within a minute.
    pub(crate) fn add(&mut self, (at, counts): (Duration, Counts)) {
        let number = number(at);
        let minute = &mut self.minutes[number as usize % MINUTES];
        if minute.number < number {
            *minute = Minute { number, counts: Counts::default() };
        }
        // Counts from more than a day ago come too late.
        if minute.number == number {
            minute.counts.add(counts);
        }
    }

    /// Returns the counts of each minute, the latest last. `latest` are those that are not in here yet.
    pub(crate) fn minutes(
        &self,
        now: Duration,
        latest: impl Iterator<Item = (Duration, Counts)>,
    ) -> Vec<Counts> {
        let last = number(now);
        let back_of = |number: u32| Some(last.checked_sub(number)? as usize).filter(|back| *back < MINUTES);
        let here = self.minutes.iter().map(|minute| (minute.number, minute.counts));
        let here = here.filter(|(_, counts)| *counts != Counts::default());
        let mut minutes = vec![Counts::default(); MINUTES];
        for (number, counts) in here.chain(latest.map(|(at, counts)| (number(at), counts))) {
            if let Some(back) = back_of(number) {
                minutes[MINUTES - 1 - back].add(counts);
            }
        }
        minutes
    }
}

fn number(at: Duration) -> u32 {
    u32::try_from(at.as_secs() / 60).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(number: u64) -> Duration {
        Duration::from_secs(number * 60)
    }

    fn failed(failed: u32) -> Counts {
        Counts { failed, ..Counts::default() }
    }

    #[test]
    fn a_minute_is_kept_for_a_day_with_what_comes_late() {
        let mut day = Day::new();
        day.add((minute(3), failed(1)));
        day.add((minute(3), failed(2)));
        let minutes = day.minutes(minute(5), [(minute(5), failed(4)), (minute(3), failed(8))].into_iter());
        assert_eq!(minutes.len(), MINUTES);
        assert_eq!(minutes[MINUTES - 3..], [failed(11), failed(0), failed(4)]);
        let sum = |now| day.minutes(now, std::iter::empty()).iter().map(|counts| counts.all()).sum::<u64>();
        assert_eq!(sum(minute(3 + 1_439)), 3);
        assert_eq!(sum(minute(3 + 1_440)), 0);
    }

    #[test]
    fn what_comes_a_day_late_is_left_out() {
        let mut day = Day::new();
        day.add((minute(3 + 1_440), failed(1)));
        day.add((minute(3), failed(2)));
        let minutes = day.minutes(minute(3 + 1_440), std::iter::empty());
        assert_eq!(minutes[MINUTES - 1], failed(1));
    }
}

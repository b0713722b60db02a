//! Plots of attempts: successes above a line, and failures below it.

use std::fmt::Write as _;

use crate::dashboard::memory::window::Counts;

/// A plot in its own units. Above the line are successes and, narrower and on top, retried attempts. Below it are jobs that
/// failed permanently.
pub(crate) struct Plot {
    columns: Vec<Counts>,
    scale: Scale,
    most: u64,
    /// The totals of all columns.
    succeeded: u64,
    failed: u64,
    retried: u64,
}

/// The width of a column, and of its bar.
const COLUMN: usize = 4;
const BAR: usize = 3;
/// The height of bars above the line, and below it.
const ABOVE: u32 = 20;
const BELOW: u32 = 8;
/// The number of columns for the last minutes.
const COLUMNS: usize = 30;
/// The height of a day's plot.
const DAY_ABOVE: u32 = 60;
const DAY_BELOW: u32 = 24;

impl Plot {
    /// Plots the last minutes. Leaves out the current slot: otherwise the plot of a busy type would change every second.
    pub(super) fn of_minutes(slots: &[Counts]) -> Self {
        let together = (slots.len() / COLUMNS).max(1);
        let slots = slots.split_last().map_or(slots, |(_, over)| over);
        let columns = slots.chunks(together).map(|slots| {
            let mut sum = Counts::default();
            slots.iter().for_each(|counts| sum.add(*counts));
            sum
        });
        Self::new(columns.collect())
    }

    /// Plots each minute of a day.
    pub(super) fn of_day(minutes: &[Counts]) -> Self {
        Self::new(minutes.to_vec())
    }

    fn new(columns: Vec<Counts>) -> Self {
        let mut plot = Self {
            columns,
            scale: Scale { above: 1, below: 1 },
            most: 0,
            succeeded: 0,
            failed: 0,
            retried: 0,
        };
        let columns = plot.columns.iter().filter(|counts| **counts != Counts::default());
        for counts in columns {
            plot.most = plot.most.max(counts.all());
            plot.succeeded += u64::from(counts.succeeded);
            plot.failed += u64::from(counts.failed);
            plot.retried += u64::from(counts.retried);
            plot.scale.above = plot.scale.above.max(above(counts));
            plot.scale.below = plot.scale.below.max(counts.failed);
        }
        plot
    }

    /// Returns how many attempts the column with the most has.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Describes the plot in words.
    pub(super) fn label(&self) -> String {
        let Self { succeeded, failed, retried, .. } = self;
        format!("{succeeded} succeeded, {failed} failed and {retried} were retried")
    }

    /// Returns the bars of attempts that succeeded.
    pub(super) fn good(&self) -> String {
        let scale = &self.scale;
        self.bars(|counts| (ABOVE, scale.above(counts.succeeded), BAR))
    }

    /// Returns the bars of attempts that were retried.
    pub(super) fn retried(&self) -> String {
        let scale = &self.scale;
        self.bars(|counts| (ABOVE - scale.above(counts.succeeded), scale.above(counts.retried), 1))
    }

    /// Returns the bars of jobs that failed.
    pub(super) fn bad(&self) -> String {
        let scale = &self.scale;
        self.bars(|counts| {
            let height = scale.below(counts.failed);
            (ABOVE + 1 + height, height, BAR)
        })
    }

    /// Returns bars. Each is given by its lower end, its height and its width.
    fn bars(&self, bar: impl Fn(&Counts) -> (u32, u32, usize)) -> String {
        let mut bars = String::new();
        for (n, counts) in self.columns.iter().enumerate() {
            let (base, height, width) = bar(counts);
            if height > 0 {
                let _ = write!(bars, "M{} {base}v-{height}h{width}v{height}z", n * COLUMN);
            }
        }
        bars
    }

    /// Returns the outline of a day's attempts that did not fail.
    pub(super) fn day_above(&self) -> String {
        let most = self.scale.above;
        self.outline(|counts| DAY_ABOVE - part(above(counts), most, DAY_ABOVE))
    }

    /// Returns the outline of a day's failed jobs, below the line.
    pub(super) fn day_below(&self) -> String {
        let most = self.scale.below;
        self.outline(|counts| DAY_ABOVE + part(counts.failed, most, DAY_BELOW))
    }

    /// Returns an outline with a step at each column that differs from the one before.
    fn outline(&self, height: impl Fn(&Counts) -> u32) -> String {
        let mut outline = format!("M0 {DAY_ABOVE}");
        let mut at = DAY_ABOVE;
        for (n, counts) in self.columns.iter().enumerate() {
            let next = height(counts);
            if next != at {
                let _ = write!(outline, "H{n}V{next}");
                at = next;
            }
        }
        let _ = write!(outline, "H{}V{DAY_ABOVE}z", self.columns.len());
        outline
    }
}

/// The numbers of attempts at the full height, at least one.
struct Scale {
    above: u32,
    below: u32,
}

impl Scale {
    fn above(&self, count: u32) -> u32 {
        part(count, self.above, ABOVE)
    }

    fn below(&self, count: u32) -> u32 {
        part(count, self.below, BELOW)
    }
}

/// Returns the number of attempts above the line.
fn above(counts: &Counts) -> u32 {
    counts.succeeded.saturating_add(counts.retried)
}

/// Scales a count to a height. A single one among many stays visible.
fn part(count: u32, most: u32, height: u32) -> u32 {
    // Most minutes of a day are like this, and a division takes long.
    if count == 0 {
        return 0;
    }
    let part = u64::from(count) * u64::from(height) / u64::from(most);
    u32::try_from(part).unwrap_or(height).clamp(1, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn succeeded(succeeded: u32) -> Counts {
        Counts { succeeded, ..Counts::default() }
    }

    #[test]
    fn failures_are_below_the_line_and_a_single_one_is_seen() {
        let mut slots = [Counts::default(); 60];
        slots[0] = Counts { succeeded: 600, failed: 1, retried: 1 };
        slots[1] = succeeded(400);
        slots[58] = Counts { failed: 500, ..Counts::default() };
        let plot = Plot::of_minutes(&slots);
        assert_eq!(plot.label(), "1000 succeeded, 501 failed and 1 were retried");
        assert_eq!(plot.good(), "M0 20v-19h3v19z");
        assert_eq!(plot.retried(), "M0 1v-1h1v1z");
        assert_eq!(plot.bad(), "M0 22v-1h3v1zM116 29v-8h3v8z");
        assert_eq!(Plot::of_minutes(&[Counts::default(); 60]).good(), "");
    }

    #[test]
    fn a_day_has_a_step_where_it_changes() {
        let mut minutes = [Counts::default(); 10];
        (minutes[3], minutes[4]) = (succeeded(10), succeeded(10));
        minutes[9].failed = 2;
        let plot = Plot::of_day(&minutes);
        assert_eq!(plot.day_above(), "M0 60H3V0H5V60H10V60z");
        assert_eq!(plot.day_below(), "M0 60H9V84H10V60z");
    }
}

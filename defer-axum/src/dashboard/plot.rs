//! A plot of the last minutes.

use super::{float::float, window::Counts};

/// A plot of the last minutes: a column for each slot, failed runs on top of the others.
pub(super) struct Plot<'a>(pub(super) &'a [Counts]);

/// How wide and high a plot is, in its own units.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;

impl Plot<'_> {
    pub(super) fn succeeded(&self) -> u64 {
        self.0.iter().map(|counts| u64::from(counts.succeeded)).sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.0.iter().map(|counts| u64::from(counts.failed)).sum()
    }

    /// Returns the outlines of the columns of runs that succeeded.
    pub(super) fn good(&self) -> String {
        self.outlines(|counts| (0, counts.succeeded))
    }

    /// Returns the outlines of the columns of failed runs, on top of those that succeeded.
    pub(super) fn bad(&self) -> String {
        self.outlines(|counts| (counts.succeeded, counts.failed))
    }

    fn outlines(&self, column: impl Fn(&Counts) -> (u32, u32)) -> String {
        use std::fmt::Write as _;
        let all = |counts: &Counts| f64::from(counts.succeeded) + f64::from(counts.failed);
        let highest = self.0.iter().map(all).fold(1.0, f64::max);
        let scale = HEIGHT / highest;
        let width = WIDTH / float(self.0.len() as u64);
        let mut outlines = String::new();
        for (n, counts) in (0..).zip(self.0) {
            let (below, count) = column(counts);
            if count > 0 {
                let left = float(n) * width;
                // A single run among many is still seen.
                let height = (f64::from(count) * scale).max(1.0);
                let base = (HEIGHT - f64::from(below) * scale).max(height);
                let _ = write!(outlines, "M{left:.1} {base:.1}v-{height:.1}h{:.1}v{height:.1}z", width - 0.4);
            }
        }
        outlines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_as_high_as_its_fullest_slot_and_shows_a_single_failure_among_many() {
        let mut slots = [Counts::default(); 60];
        slots[0] = Counts { succeeded: 1_000, failed: 1 };
        slots[59] = Counts { succeeded: 0, failed: 500 };
        let plot = Plot(&slots);
        assert_eq!((plot.succeeded(), plot.failed()), (1_000, 501));
        assert_eq!(plot.good(), "M0.0 24.0v-24.0h1.6v24.0z");
        assert_eq!(plot.bad(), "M0.0 1.0v-1.0h1.6v1.0zM118.0 24.0v-12.0h1.6v12.0z");
        assert_eq!(Plot(&[Counts::default(); 60]).good(), "");
    }
}

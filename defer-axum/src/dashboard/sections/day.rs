//! The last day, by the minute.

use askama::Template;
use serde::Serialize;

use super::{
    format::Formatted,
    moment::Moment,
    plot::Plot,
    section::{Row, Section},
};
use crate::dashboard::memory::window::Counts;

/// The attempts of each minute of the last day, from when the dashboard was created.
#[derive(Serialize)]
pub(crate) struct Day {
    since: Moment,
    #[serde(skip)]
    minutes: Vec<Counts>,
    succeeded: Vec<u32>,
    failed: Vec<u32>,
    retried: Vec<u32>,
}

#[derive(Template)]
#[template(path = "dashboard/day.html")]
struct Frame;

#[derive(Template)]
#[template(path = "dashboard/day_row.html")]
struct Html<'a> {
    day: &'a Day,
    plot: Plot,
}

impl Day {
    /// `minutes` are those of a day, up to the current one. `known` is the number of minutes since the dashboard was created.
    pub(super) fn new(since: Moment, minutes: Vec<Counts>, known: usize) -> Self {
        let known = &minutes[minutes.len() - known.min(minutes.len())..];
        let of = |of: fn(&Counts) -> u32| known.iter().map(of).collect();
        Self {
            since,
            succeeded: of(|counts| counts.succeeded),
            failed: of(|counts| counts.failed),
            retried: of(|counts| counts.retried),
            minutes,
        }
    }

    pub(super) fn section(&self) -> askama::Result<Section> {
        // The current minute is left out: it would change every second.
        let over = &self.minutes[..self.minutes.len() - 1];
        let html = Html { day: self, plot: Plot::of_day(over) };
        Section::new("day", &Frame, [Row::new("plot", &html)])
    }
}

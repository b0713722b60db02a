//! How the figures look.

use std::{borrow::Borrow, fmt};

use askama::Template;

use super::{
    float::float,
    journal::Outcome,
    snapshot::{Column, Now, Order, QueueState, RunRow, RunningRow, Shown, Snapshot, TypeRow, View},
    window::{Counts, Percentiles},
};

/// The page at one moment. Its sections are sent again when they have changed.
pub(super) struct Page {
    pub(super) snapshot: Snapshot,
    pub(super) view: View,
    pub(super) has_actions: bool,
    pub(super) hides_errors: bool,
}

/// The sections, by the ids of their elements.
pub(super) const SECTIONS: [&str; 5] = ["now", "types", "running", "queue", "runs"];

impl Page {
    /// Writes the whole page. `root` leads from it to what is under its path.
    pub(super) fn whole(&self, root: &str) -> askama::Result<String> {
        let sections: Result<Vec<_>, _> = SECTIONS
            .iter()
            .map(|section| Ok::<_, askama::Error>((*section, self.section(section)?)))
            .collect();
        Document { root, sections: sections? }.render()
    }

    /// Writes the contents of a section.
    pub(super) fn section(&self, section: &str) -> askama::Result<String> {
        let Self { snapshot, view, has_actions, hides_errors } = self;
        match section {
            "now" => NowSection { now: &snapshot.now }.render(),
            "types" => TypesSection { types: &snapshot.types, view, columns: columns(snapshot) }.render(),
            "running" => RunningSection { rows: &snapshot.running, all: snapshot.now.running }.render(),
            "queue" => QueueSection { queue: snapshot.queue.as_ref(), has_actions: *has_actions }.render(),
            _ => RunsSection { rows: &snapshot.runs, view, hides_errors: *hides_errors }.render(),
        }
    }
}

#[derive(Template)]
#[template(path = "dashboard/page.html")]
struct Document<'a> {
    root: &'a str,
    sections: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "dashboard/now.html")]
struct NowSection<'a> {
    now: &'a Now,
}

#[derive(Template)]
#[template(path = "dashboard/types.html")]
struct TypesSection<'a> {
    types: &'a [TypeRow],
    view: &'a View,
    columns: Vec<(Column, &'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "dashboard/running.html")]
struct RunningSection<'a> {
    rows: &'a [RunningRow],
    all: usize,
}

#[derive(Template)]
#[template(path = "dashboard/queue.html")]
struct QueueSection<'a> {
    queue: Option<&'a QueueState>,
    has_actions: bool,
}

#[derive(Template)]
#[template(path = "dashboard/runs.html")]
struct RunsSection<'a> {
    rows: &'a [RunRow],
    view: &'a View,
    hides_errors: bool,
}

/// Returns the columns of the types: name, heading, and what it means. Those that are rarely used are there if they are.
fn columns(snapshot: &Snapshot) -> Vec<(Column, &'static str, &'static str)> {
    let rare = [
        (Column::Skipped, "Skipped", "Their condition was false"),
        (Column::Cancelled, "Cancelled", "Cancelled, or replaced by a later job with the same key"),
        (Column::Shed, "Shed", "Dropped because too many were pending"),
        (Column::Queued, "Queued", "Given to the queue, or given back to it"),
        (Column::Abandoned, "Abandoned", "Stopped, or left with nothing to run them"),
    ];
    let mut columns = vec![
        (Column::Rate, "Rate", "Runs a second, of late"),
        (Column::Deferred, "Deferred", "All jobs of this type"),
        (Column::Unfinished, "Open", "Wait, run, or are on their way to the queue"),
        (Column::Succeeded, "Succeeded", "Returned without an error"),
        (Column::Failed, "Failed", "Failed for good: out of attempts, or the error was fatal"),
        (Column::Retried, "Retried", "Failed attempts that were followed by another"),
    ];
    let is_used = |column: Column| snapshot.types.iter().any(|row| column.count(row) > 0);
    columns.extend(rare.into_iter().filter(|(column, ..)| {
        matches!(column, Column::Skipped | Column::Shed | Column::Queued) || is_used(*column)
    }));
    columns.push((
        Column::Ran,
        "Ran",
        "How long attempts of the last five minutes took: half, 95 and 99 of 100 at most",
    ));
    columns.push((
        Column::Waited,
        "Waited",
        "How long they had waited since they could start: half, 95 and 99 of 100 at most",
    ));
    columns
}

impl Column {
    fn count(self, row: &TypeRow) -> u64 {
        let totals = &row.totals;
        match self {
            Self::Deferred => totals.deferred,
            Self::Unfinished => row.unfinished,
            Self::Succeeded => totals.succeeded,
            Self::Failed => totals.failed,
            Self::Retried => totals.retried,
            Self::Skipped => totals.skipped,
            Self::Cancelled => totals.cancelled,
            Self::Shed => totals.shed,
            Self::Queued => totals.queued,
            Self::Abandoned => totals.abandoned,
            Self::Name | Self::Rate | Self::Ran | Self::Waited => 0,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Deferred => "deferred",
            Self::Unfinished => "unfinished",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Shed => "shed",
            Self::Queued => "queued",
            Self::Abandoned => "abandoned",
            Self::Ran => "ran",
            Self::Waited => "waited",
        }
    }
}

impl View {
    /// Returns the query of the same view with the types sorted by this column, in the other order if they are already.
    fn sorted_by(&self, column: impl Borrow<Column>) -> String {
        let sort = *column.borrow();
        let order = match (self.sort == sort, self.order()) {
            (true, Order::Ascending) => Some(Order::Descending),
            (true, Order::Descending) => Some(Order::Ascending),
            (false, _) => None,
        };
        Self { sort, order, ..self.clone() }.query()
    }

    /// Returns the query of the same view with the runs of this type.
    fn of_type(&self, name: &str) -> String {
        Self { name: name.to_owned(), ..self.clone() }.query()
    }

    /// Returns the query of the same view with the runs of this group.
    fn showing(&self, outcome: impl Borrow<Shown>) -> String {
        Self { outcome: *outcome.borrow(), ..self.clone() }.query()
    }

    fn shows(&self, outcome: impl Borrow<Shown>) -> bool {
        self.outcome == *outcome.borrow()
    }

    /// For `aria-sort`.
    fn sorting(&self, column: impl Borrow<Column>) -> &'static str {
        match (self.sort == *column.borrow(), self.order()) {
            (false, _) => "none",
            (true, Order::Ascending) => "ascending",
            (true, Order::Descending) => "descending",
        }
    }

    fn query(&self) -> String {
        let mut query = String::from("?");
        let mut add = |key: &str, value: &str| {
            if query.len() > 1 {
                query.push('&');
            }
            query.push_str(key);
            query.push('=');
            query.push_str(value);
        };
        if !self.name.is_empty() {
            add("name", &encoded(&self.name));
        }
        if self.outcome != Shown::All {
            add("outcome", self.outcome.as_str());
        }
        if self.sort != Column::Name {
            add("sort", self.sort.as_str());
        }
        match self.order {
            None => {}
            Some(Order::Ascending) => add("order", "ascending"),
            Some(Order::Descending) => add("order", "descending"),
        }
        query
    }
}

/// Encodes a value of a query.
fn encoded(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

impl Shown {
    const ALL: [Self; 4] = [Self::All, Self::Succeeded, Self::Failed, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Other => "other",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Other => "Other",
        }
    }
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Retrying => "failed, trying again",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed out",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Shed => "shed",
            Self::Queued => "queued",
            Self::QueueFailed => "not queued",
            Self::Abandoned => "abandoned",
        }
    }

    /// How it looks.
    fn kind(self) -> &'static str {
        match self {
            Self::Succeeded => "good",
            Self::Retrying | Self::QueueFailed => "warning",
            Self::Failed | Self::Panicked | Self::TimedOut | Self::Abandoned => "bad",
            Self::Skipped | Self::Cancelled | Self::Shed | Self::Queued => "other",
        }
    }
}

impl TypeRow {
    fn plot(&self) -> Plot<'_> {
        Plot(&self.last_minutes)
    }

    /// Returns what stands in a column.
    fn cell(&self, column: impl Borrow<Column>) -> String {
        match column.borrow() {
            Column::Rate => format!("{}/s", self.runs_per_second.rate()),
            Column::Ran => times(self.run_seconds),
            Column::Waited => times(self.wait_seconds),
            column => column.count(self).whole().to_string(),
        }
    }

    /// How it looks.
    fn class(&self, column: impl Borrow<Column>) -> &'static str {
        match column.borrow() {
            Column::Rate => "",
            Column::Ran | Column::Waited => "times",
            column if column.count(self) == 0 => "none",
            Column::Failed | Column::Abandoned | Column::Shed => "bad",
            _ => "",
        }
    }
}

/// A plot of the last minutes: a column for each slot, failed runs on top of the others.
struct Plot<'a>(&'a [Counts]);

/// How wide and high a plot is, in its own units.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;

impl Plot<'_> {
    fn succeeded(&self) -> u64 {
        self.0.iter().map(|counts| u64::from(counts.succeeded)).sum()
    }

    fn failed(&self) -> u64 {
        self.0.iter().map(|counts| u64::from(counts.failed)).sum()
    }

    /// Returns the outlines of the columns of runs that succeeded.
    fn good(&self) -> String {
        self.outlines(|counts| (0, counts.succeeded))
    }

    /// Returns the outlines of the columns of failed runs, on top of those that succeeded.
    fn bad(&self) -> String {
        self.outlines(|counts| (counts.succeeded, counts.failed))
    }

    fn outlines(&self, column: impl Fn(&Counts) -> (u32, u32)) -> String {
        use fmt::Write as _;
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

/// Formats a duration in seconds for people: 0.8 ms, 43 ms, 1.5 s, 62 s, 12 min.
struct Span(f64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        match seconds {
            ..0.000_005 => f.write_str("0 ms"),
            ..0.000_995 => write!(f, "{:.2} ms", seconds * 1e3),
            ..0.009_95 => write!(f, "{:.1} ms", seconds * 1e3),
            ..0.999_5 => write!(f, "{:.0} ms", seconds * 1e3),
            ..9.95 => write!(f, "{seconds:.1} s"),
            ..119.5 => write!(f, "{seconds:.0} s"),
            ..7_170.0 => write!(f, "{:.0} min", seconds / 60.0),
            _ => write!(f, "{:.0} h", seconds / 3_600.0),
        }
    }
}

/// Formats percentiles: 12 / 43 ms / 1.5 s. A unit that follows anyway is left out.
fn times(times: Option<Percentiles>) -> String {
    let Some(Percentiles { p50, p95, p99 }) = times else { return "–".to_owned() };
    let [p50, p95, p99] = [p50, p95, p99].map(|seconds| Span(seconds).to_string());
    let short = |span: &str, next: &str| match (span.split_once(' '), next.split_once(' ')) {
        (Some((number, unit)), Some((_, next))) if unit == next => number.to_owned(),
        _ => span.to_owned(),
    };
    format!("{} / {} / {p99}", short(&p50, &p95), short(&p95, &p99))
}

/// Formats a whole number with its thousands apart: 1 234 567, with narrow spaces that do not break.
struct Whole(u64);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_apart(f, &self.0.to_string())
    }
}

/// Writes digits with the thousands apart.
fn write_apart(f: &mut fmt::Formatter<'_>, digits: &str) -> fmt::Result {
    for (n, digit) in digits.char_indices() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            f.write_str("\u{202f}")?;
        }
        write!(f, "{digit}")?;
    }
    Ok(())
}

/// Formats a rate: 0, 0.3, 12, 98 765.
struct Rate(f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0.0 => f.write_str("0"),
            ..9.95 => write!(f, "{:.1}", self.0),
            _ => write_apart(f, &format!("{:.0}", self.0)),
        }
    }
}

/// Formats a part of a whole: 0 %, 0.3 %, 12 %.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        match percent {
            0.0 => f.write_str("0 %"),
            ..0.1 => f.write_str("< 0.1 %"),
            ..9.95 => write!(f, "{percent:.1} %"),
            _ => write!(f, "{percent:.0} %"),
        }
    }
}

/// How a template formats a number.
trait Formatted {
    fn whole(&self) -> Whole;
}

impl Formatted for u64 {
    fn whole(&self) -> Whole {
        Whole(*self)
    }
}

impl Formatted for usize {
    fn whole(&self) -> Whole {
        Whole(*self as u64)
    }
}

/// How a template formats a measure.
trait Measured {
    fn span(&self) -> Span;
    fn rate(&self) -> Rate;
    fn percent(&self) -> Percent;
}

impl Measured for f64 {
    fn span(&self) -> Span {
        Span(*self)
    }

    fn rate(&self) -> Rate {
        Rate(*self)
    }

    fn percent(&self) -> Percent {
        Percent(*self)
    }
}

impl Now {
    /// Returns how much of `max_running` is used, from 0 to 100.
    fn running_share(&self) -> f64 {
        share(self.running, self.max_running)
    }

    /// Returns how much of `max_pending` is used, from 0 to 100.
    fn waiting_share(&self) -> f64 {
        share(self.waiting, self.max_pending)
    }

    fn has_failures(&self) -> bool {
        self.failed_ratio.is_some_and(|ratio| ratio > 0.0)
    }
}

fn share(used: usize, bound: usize) -> f64 {
    (float(used as u64) * 100.0 / float(bound.max(1) as u64)).min(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (seconds, expected) in [
            (0.0, "0 ms"),
            (0.000_15, "0.15 ms"),
            (0.009_4, "9.4 ms"),
            (0.043, "43 ms"),
            (0.999_6, "1.0 s"),
            (1.54, "1.5 s"),
            (62.0, "62 s"),
            (600.0, "10 min"),
            (7_200.0, "2 h"),
        ] {
            assert_eq!(Span(seconds).to_string(), expected);
        }
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(|n| Whole(n).to_string()).join(" "),
            "0 999 1\u{202f}000 1\u{202f}234\u{202f}567"
        );
        assert_eq!(
            [0.0, 0.25, 12.4, 98_765.4].map(|rate| Rate(rate).to_string()).join(" "),
            "0 0.2 12 98\u{202f}765"
        );
        assert_eq!(
            [0.0, 0.000_1, 0.036, 0.5, 1.0].map(|part| Percent(part).to_string()).join(", "),
            "0 %, < 0.1 %, 3.6 %, 50 %, 100 %"
        );
        let of = |p50, p95, p99| times(Some(Percentiles { p50, p95, p99 }));
        assert_eq!(of(0.001, 0.02, 0.3), "1.0 / 20 / 300 ms");
        assert_eq!(of(0.02, 0.3, 10.0), "20 / 300 ms / 10 s");
        assert_eq!(of(0.02, 3.0, 10.0), "20 ms / 3.0 / 10 s");
    }

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

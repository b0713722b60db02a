//! The page and its sections.

use std::{borrow::Borrow, fmt};

use askama::Template;

use super::{
    figures::{Formatted, Measured, times},
    float::float,
    outcome::Outcome,
    plot::Plot,
    snapshot::{Column, Now, Order, QueueState, RunRow, RunningRow, Shown, Snapshot, TypeRow, View},
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
        (Column::Taken, "Taken", "Taken from the queue by a worker: once for each attempt there"),
        (Column::Skipped, "Skipped", "Their condition was false"),
        (Column::Cancelled, "Cancelled", "Cancelled, or replaced by a later job with the same key"),
        (Column::Shed, "Shed", "Dropped because too many were pending"),
        (Column::Queued, "Queued", "Went to the queue, to run elsewhere or later"),
        (Column::Abandoned, "Abandoned", "Stopped, or left with nothing to run them"),
    ];
    let mut columns = vec![
        (Column::Rate, "Rate", "Runs a second, of late"),
        (Column::Deferred, "Deferred", "Deferred in this process"),
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
            Self::Taken => totals.taken,
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
            Self::Taken => "taken",
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
            Self::QueueFailed => "not stored",
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

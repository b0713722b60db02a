//! The figures of each job type.

use askama::Template;
use serde::Serialize;

use super::{
    column::Column,
    format::{Formatted, Measured, Span, times},
    plot::Plot,
    section::{Row, Section},
    view::{Order, View},
};
use crate::dashboard::memory::{
    float::float,
    journal::Figures,
    outcome::Totals,
    window::{Counts, Percentiles},
};

/// The number of types to show unless all are requested.
const FIRST: usize = 50;

#[derive(Serialize)]
pub(crate) struct TypeRow {
    pub(crate) name: &'static str,
    /// Jobs that are waiting or running.
    pub(crate) unfinished: u64,
    #[serde(flatten)]
    pub(crate) totals: Totals,
    pub(crate) runs_per_second: f64,
    pub(crate) run_seconds: Option<Percentiles>,
    pub(crate) wait_seconds: Option<Percentiles>,
    /// The attempts of the last five minutes, in slots of five seconds.
    pub(crate) last_minutes: Vec<Counts>,
}

/// The columns: heading and explanation.
const COLUMNS: [(Column, &str, &str); 14] = [
    (Column::Rate, "Rate", "Attempts a second, of late"),
    (Column::Failed, "Failed", "Failed for good: out of attempts, or the error was fatal"),
    (Column::Retried, "Retried", "Failed attempts that were followed by another"),
    (Column::Unfinished, "Open", "Wait, run, or are on their way to the queue"),
    (Column::Deferred, "Deferred", "Deferred in this process"),
    (Column::Taken, "Taken", "Taken from the queue by a worker: once for each attempt there"),
    (Column::Succeeded, "Succeeded", "Returned without an error"),
    (Column::Skipped, "Skipped", "Their condition was false"),
    (Column::Cancelled, "Cancelled", "Cancelled, or replaced by a later job with the same key"),
    (Column::Shed, "Shed", "Dropped because too many were pending"),
    (Column::Queued, "Queued", "Went to the queue, to run elsewhere or later"),
    (Column::Abandoned, "Abandoned", "Stopped, or left with nothing to run them"),
    (Column::Ran, "Ran", "How long attempts of the last five minutes took: p50, p95, p99"),
    (Column::Waited, "Waited", "How long they had waited since they could start: p50, p95, p99"),
];

#[derive(Template)]
#[template(path = "dashboard/types.html")]
struct Frame<'a> {
    view: &'a View,
    columns: &'a [(Column, &'static str, &'static str)],
    /// The number of types, shown or not.
    all: usize,
    shown: usize,
    /// The number of types that match the filter.
    found: usize,
}

#[derive(Template)]
#[template(path = "dashboard/types_row.html")]
struct RowHtml<'a> {
    row: &'a TypeRow,
    view: &'a View,
    plot: Plot,
    cells: Vec<Cell>,
}

/// The contents of a row's column.
struct Cell {
    class: String,
    text: String,
    /// The short form for a narrow page.
    short: Option<String>,
}

/// Returns the rows in the view's order.
pub(super) fn rows(figures: Vec<Figures>, view: &View) -> Vec<TypeRow> {
    let mut rows: Vec<_> = figures.into_iter().map(TypeRow::from).collect();
    rows.sort_by_key(|row| row.name);
    match view.sort {
        Column::Name => {}
        Column::Failing => rows.sort_by_key(|row| !row.fails()),
        sort => rows.sort_by(|a, b| sort.number(a).total_cmp(&sort.number(b))),
    }
    if view.order() == Order::Descending {
        rows.reverse();
    }
    rows
}

pub(super) fn section(rows: &[TypeRow], view: &View) -> askama::Result<Section> {
    // A column without any values is hidden.
    let is_used = |column: Column| column.is_always_there() || rows.iter().any(|row| column.count(row) > 0);
    let columns: Vec<_> = COLUMNS.into_iter().filter(|(column, ..)| is_used(*column)).collect();
    let mut shown: Vec<_> = rows.iter().filter(|row| view.has(row.name)).collect();
    let found = shown.len();
    shown.truncate(if view.all { found } else { FIRST });
    let frame = Frame { view, columns: &columns, all: rows.len(), shown: shown.len(), found };
    let rows = shown.into_iter().map(|row| {
        let cells = columns.iter().map(|(column, ..)| column.cell(row)).collect();
        Row::new(row.name, &RowHtml { row, view, plot: Plot::of_minutes(&row.last_minutes), cells })
    });
    Section::new("types", &frame, rows)
}

impl From<Figures> for TypeRow {
    fn from(figures: Figures) -> Self {
        Self {
            name: figures.name,
            unfinished: figures.unfinished,
            totals: figures.totals,
            runs_per_second: figures.rate,
            run_seconds: figures.ran,
            wait_seconds: figures.waited,
            last_minutes: figures.counts,
        }
    }
}

impl TypeRow {
    /// Returns whether jobs have failed permanently in the last minutes.
    pub(super) fn fails(&self) -> bool {
        self.last_minutes.iter().any(|counts| counts.failed > 0)
    }
}

impl Column {
    /// Returns whether the column is never hidden: the usual ones, and the one that would come and go. Other counts only grow.
    fn is_always_there(self) -> bool {
        matches!(
            self,
            Self::Rate
                | Self::Failed
                | Self::Unfinished
                | Self::Deferred
                | Self::Succeeded
                | Self::Ran
                | Self::Waited
        )
    }

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
            Self::Failing | Self::Name | Self::Rate | Self::Ran | Self::Waited => 0,
        }
    }

    /// Returns the number to sort rows by. Rows without a figure sort lowest.
    fn number(self, row: &TypeRow) -> f64 {
        let p95 = |times: Option<Percentiles>| times.map_or(-1.0, |times| times.p95);
        match self {
            Self::Rate => row.runs_per_second,
            Self::Ran => p95(row.run_seconds),
            Self::Waited => p95(row.wait_seconds),
            column => float(column.count(row)),
        }
    }

    fn cell(self, row: &TypeRow) -> Cell {
        let times = |of: Option<Percentiles>| Cell {
            class: format!("{} times", self.as_str()),
            text: times(of),
            short: Some(of.map_or_else(|| "–".to_owned(), |times| Span(times.p95).to_string())),
        };
        match self {
            Self::Ran => times(row.run_seconds),
            Self::Waited => times(row.wait_seconds),
            Self::Rate => Cell {
                class: self.as_str().to_owned(),
                text: format!("{}/s", row.runs_per_second.rate()),
                short: None,
            },
            column => {
                let count = column.count(row);
                let looks = match column {
                    _ if count == 0 => " none",
                    Self::Failed | Self::Abandoned | Self::Shed => " bad",
                    _ => "",
                };
                Cell {
                    class: format!("{}{looks}", self.as_str()),
                    text: count.whole().to_string(),
                    short: None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str) -> TypeRow {
        TypeRow {
            name,
            unfinished: 0,
            totals: Totals::default(),
            runs_per_second: 0.0,
            run_seconds: None,
            wait_seconds: None,
            last_minutes: vec![Counts::default(); 60],
        }
    }

    #[test]
    fn of_many_types_the_first_are_shown_until_somebody_asks_for_all() {
        let rows: Vec<_> = (0..300).map(|_| row("SyncCart")).collect();
        let few = section(&rows, &View::default()).unwrap();
        assert_eq!(few.rows.len(), FIRST);
        assert!(
            few.frame[0].contains("50 of 300") && few.frame[0].contains("<a href=\"?all=true\">Show 300</a>")
        );
        let all = section(&rows, &View { all: true, ..View::default() }).unwrap();
        assert_eq!(all.rows.len(), 300);
        assert!(!all.frame[0].contains("Show"));
    }

    #[test]
    fn columns_that_are_nothing_everywhere_take_no_room() {
        let has_shed =
            |rows: &[TypeRow]| section(rows, &View::default()).unwrap().frame[0].contains(">Shed</a>");
        let mut rows = [row("SyncCart"), row("SendWelcome")];
        assert!(!has_shed(&rows));
        rows[1].totals.shed = 1;
        assert!(has_shed(&rows));
    }
}

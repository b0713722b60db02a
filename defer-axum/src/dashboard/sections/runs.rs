//! The latest runs.

use askama::Template;
use serde::Serialize;

use super::{
    format::Measured,
    moment::Moment,
    section::{Row, Section},
    view::{Shown, View},
};
use crate::dashboard::memory::{
    outcome::Outcome,
    run::{AttemptError, Run},
};

/// The number of runs to look up, and the number to show.
pub(super) const RUNS: usize = 50;
const FIRST: usize = 25;

#[derive(Serialize)]
pub(crate) struct RunRow {
    pub(crate) name: &'static str,
    pub(crate) id: String,
    pub(crate) outcome: Outcome,
    pub(crate) attempt: u32,
    pub(crate) at: Moment,
    pub(crate) wait_seconds: Option<f64>,
    pub(crate) run_seconds: Option<f64>,
    pub(crate) route: Option<String>,
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) status: Option<u16>,
    pub(crate) delivery: Option<&'static str>,
    pub(crate) errors: Vec<AttemptError>,
}

#[derive(Template)]
#[template(path = "dashboard/runs.html")]
struct Frame<'a> {
    view: &'a View,
    is_empty: bool,
    /// More runs exist than are shown.
    has_more: bool,
    hides_errors: bool,
}

#[derive(Template)]
#[template(path = "dashboard/runs_row.html")]
struct RowHtml<'a> {
    row: &'a RunRow,
    key: &'a str,
}

impl RunRow {
    pub(super) fn new(run: Run, hides_errors: bool) -> Self {
        Self {
            name: run.name,
            id: run.id.to_string(),
            outcome: run.outcome,
            attempt: run.attempt,
            at: Moment(run.ended_at),
            wait_seconds: run.waited.map(f64::from),
            run_seconds: run.ran.map(f64::from),
            route: run.route.map(|route| route.to_string()),
            request_id: run.request_id,
            status: run.status.map(|status| status.as_u16()),
            delivery: run.delivery.map(|delivery| delivery.as_str()),
            errors: if hides_errors { Vec::new() } else { run.errors },
        }
    }

    /// Returns the query of the job's page.
    fn page(&self) -> String {
        View::finding(&self.id)
    }

    /// Returns whether each error needs the number of its attempt.
    fn numbers_errors(&self) -> bool {
        self.errors.len() > 1 || self.attempt > 1
    }

    fn has_request(&self) -> bool {
        self.route.is_some() || self.status.is_some() || self.delivery.is_some()
    }

    /// Returns how the response ended.
    fn delivered(&self) -> Option<&'static str> {
        self.delivery.map(|delivery| if delivery == "unknown" { "(its process died)" } else { delivery })
    }

    pub(super) fn html(&self) -> askama::Result<Row> {
        let key = format!("{}-{}-{}", self.id, self.attempt, self.outcome.kind());
        Row::new(&*key, &RowHtml { row: self, key: &key })
    }
}

pub(super) fn section(rows: &[RunRow], view: &View, hides_errors: bool) -> askama::Result<Section> {
    let frame = Frame { view, is_empty: rows.is_empty(), has_more: rows.len() > FIRST, hides_errors };
    Section::new("runs", &frame, rows.iter().take(FIRST).map(RunRow::html))
}

impl Outcome {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Retrying => "retrying",
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

    /// Returns the CSS class of the outcome.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Succeeded => "good",
            Self::Retrying | Self::QueueFailed => "warning",
            Self::Failed | Self::Panicked | Self::TimedOut | Self::Abandoned => "bad",
            Self::Skipped | Self::Cancelled | Self::Shed | Self::Queued => "other",
        }
    }
}

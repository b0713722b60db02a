//! The queue's contents: its job types, and the jobs that have failed permanently.

use askama::Template;
use defer_core::queue::{NameCounts, QueueCounts};
use serde::Serialize;

use super::{
    button::Button,
    format::{Formatted, Measured},
    moment::Moment,
    section::{Row, Section},
    view::View,
};
use crate::dashboard::queue::{action::Verb, inspected::Inspected};

#[derive(Serialize)]
pub(crate) struct QueueState {
    pending: u64,
    running: u64,
    done: u64,
    failed: u64,
    oldest_due_seconds: Option<f64>,
    types: Vec<NameRow>,
    failed_jobs: Vec<FailedRow>,
    /// The names of types with due jobs that no worker takes.
    unclaimed: Vec<String>,
    /// The reason why the figures are missing or old, and since when.
    error: Option<&'static str>,
    unreachable_since: Option<Moment>,
}

/// The queue's jobs with one name.
#[derive(Serialize)]
struct NameRow {
    name: String,
    ready: u64,
    delayed: u64,
    running: u64,
    failed: u64,
    oldest_due_seconds: Option<f64>,
    is_paused: bool,
}

#[derive(Serialize)]
struct FailedRow {
    id: String,
    name: String,
    attempts: u32,
    /// `None` if errors are hidden.
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "dashboard/queue.html")]
struct Frame<'a> {
    queue: &'a QueueState,
}

#[derive(Template)]
#[template(path = "dashboard/queue_row.html")]
struct NameHtml<'a> {
    row: &'a NameRow,
    button: Option<Button>,
}

#[derive(Template)]
#[template(path = "dashboard/failed.html")]
struct FailedFrame;

#[derive(Template)]
#[template(path = "dashboard/failed_row.html")]
struct FailedHtml<'a> {
    row: &'a FailedRow,
    page: String,
    buttons: Vec<Button>,
}

impl QueueState {
    pub(super) fn new(inspected: &Inspected, hides_errors: bool) -> Self {
        let QueueCounts { pending, running, done, failed, oldest_due, .. } = inspected.counts;
        let failed_jobs = inspected.failed.iter().map(|job| FailedRow {
            id: job.id.to_string(),
            name: job.name.clone(),
            attempts: job.attempts,
            error: (!hides_errors).then(|| job.error.clone()),
        });
        Self {
            pending,
            running,
            done,
            failed,
            oldest_due_seconds: oldest_due.map(|due| due.as_secs_f64()),
            types: names(inspected),
            failed_jobs: failed_jobs.collect(),
            unclaimed: inspected.unclaimed.clone(),
            error: inspected.unreachable.map(|(_, why)| why),
            unreachable_since: inspected.unreachable.map(|(since, _)| Moment(since)),
        }
    }

    /// Returns whether there are figures to show.
    fn is_known(&self) -> bool {
        self.error.is_none() || self.pending + self.running + self.done + self.failed > 0
    }

    pub(super) fn section(&self, has_actions: bool) -> askama::Result<Section> {
        let rows = self.types.iter().map(|row| {
            let verb = if row.is_paused { Verb::Resume } else { Verb::Pause };
            let button = has_actions.then(|| Button::of_type(verb, &row.name));
            Row::new(&*row.name, &NameHtml { row, button })
        });
        Section::new("queue", &Frame { queue: self }, rows)
    }

    pub(super) fn failed_section(&self, has_actions: bool) -> askama::Result<Section> {
        if self.failed_jobs.is_empty() {
            return Section::absent("failed", "No failed job");
        }
        let rows = self.failed_jobs.iter().map(|row| {
            let of = |verb| Button::of_job(verb, &row.name, &row.id);
            let buttons = if has_actions { vec![of(Verb::Retry), of(Verb::Discard)] } else { Vec::new() };
            Row::new(&*row.id, &FailedHtml { row, page: View::finding(&row.id), buttons })
        });
        Section::new("failed", &FailedFrame, rows)
    }
}

/// Returns the types of the queue's jobs, and paused types.
fn names(inspected: &Inspected) -> Vec<NameRow> {
    let is_paused = |name: &str| inspected.paused.iter().any(|paused| paused == name);
    let unknown = inspected.paused.iter().filter(|name| inspected.names.iter().all(|of| of.name != **name));
    let paused: Vec<_> = unknown.map(NameCounts::new).collect();
    let rows = inspected.names.iter().chain(&paused).map(|of_name| NameRow {
        name: of_name.name.clone(),
        ready: of_name.ready,
        delayed: of_name.delayed,
        running: of_name.running,
        failed: of_name.failed,
        oldest_due_seconds: of_name.oldest_due.map(|due| due.as_secs_f64()),
        is_paused: is_paused(&of_name.name),
    });
    rows.collect()
}

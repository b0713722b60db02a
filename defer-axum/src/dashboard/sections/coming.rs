//! Upcoming jobs: those that are delayed, or waiting for their next attempt.

use std::time::{Duration, SystemTime};

use askama::Template;
use defer_core::{OpenJob, OpenState, queue::QueuedJob};
use serde::Serialize;

use super::{
    button::Button,
    format::Measured,
    moment::Moment,
    section::{Row, Section},
    view::View,
};
use crate::dashboard::queue::action::Verb;

/// The number of jobs to show: those that come next.
pub(super) const COMING: usize = 15;

#[derive(Serialize)]
pub(crate) struct ComingRow {
    name: String,
    id: String,
    /// The next attempt, and the number of attempts if it is known.
    attempt: u32,
    tries: Option<u32>,
    in_seconds: f64,
    at: Moment,
    route: Option<String>,
    /// The queue stores it, so any process may run it.
    is_stored: bool,
}

#[derive(Template)]
#[template(path = "dashboard/coming.html")]
struct Frame {
    is_empty: bool,
}

#[derive(Template)]
#[template(path = "dashboard/coming_row.html")]
struct RowHtml<'a> {
    row: &'a ComingRow,
    page: String,
    button: Option<Button>,
}

/// Returns the upcoming jobs of this process and of the queue, the next first.
pub(super) fn rows(here: Vec<OpenJob>, stored: &[QueuedJob]) -> Vec<ComingRow> {
    let now = SystemTime::now();
    let here = here.into_iter().filter_map(|job| {
        let due_in = job.state.due_in()?;
        let is_retry = matches!(job.state, OpenState::Retrying { .. });
        Some(ComingRow {
            name: job.name.to_owned(),
            id: job.id.to_string(),
            attempt: job.attempts + 1,
            tries: Some(job.tries).filter(|_| is_retry),
            in_seconds: due_in.as_secs_f64(),
            at: Moment(after(now, due_in)),
            route: job.route,
            is_stored: false,
        })
    });
    let stored = stored.iter().filter_map(|job| {
        let due_in = job.due_in?;
        Some(ComingRow {
            name: job.name.clone(),
            id: job.id.to_string(),
            attempt: job.attempts + 1,
            tries: None,
            in_seconds: due_in.as_secs_f64(),
            at: Moment(after(now, due_in)),
            route: job.route.clone(),
            is_stored: true,
        })
    });
    let mut rows: Vec<_> = here.chain(stored).collect();
    rows.sort_by(|a, b| a.in_seconds.total_cmp(&b.in_seconds));
    // A job that is held for this process is both here and in the queue.
    let mut known = std::collections::HashSet::new();
    rows.retain(|row| known.insert(row.id.clone()));
    rows.truncate(COMING);
    rows
}

fn after(now: SystemTime, due_in: Duration) -> SystemTime {
    now.checked_add(due_in).unwrap_or(now)
}

pub(super) fn section(rows: &[ComingRow], has_actions: bool) -> askama::Result<Section> {
    let html = rows.iter().map(|row| {
        let button = has_actions.then(|| Button::of_job(Verb::Cancel, &row.name, &row.id));
        Row::new(&*row.id, &RowHtml { row, page: View::finding(&row.id), button })
    });
    Section::new("coming", &Frame { is_empty: rows.is_empty() }, html)
}

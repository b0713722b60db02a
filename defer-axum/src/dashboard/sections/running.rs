//! The jobs that are running, here and in other processes.

use std::time::Duration;

use askama::Template;
use defer_core::{JobId, RunningJob, queue::QueuedJob};
use serde::Serialize;

use super::{
    button::Button,
    format::{Formatted, Measured},
    process::is_this,
    section::{Row, Section},
    view::View,
};
use crate::dashboard::{memory::journal::Figures, queue::action::Verb};

/// The number of running jobs to show: those that have run longest.
const RUNNING: usize = 50;

#[derive(Serialize)]
pub(crate) struct RunningRow {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) seconds: Option<f64>,
    pub(crate) route: Option<String>,
    /// It has run much longer than most jobs of its type.
    pub(crate) is_long: bool,
    /// The process that runs it, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<String>,
}

#[derive(Template)]
#[template(path = "dashboard/running.html")]
struct Frame {
    shown: usize,
    all: usize,
}

#[derive(Template)]
#[template(path = "dashboard/running_row.html")]
struct RowHtml<'a> {
    row: &'a RunningRow,
    page: String,
    button: Option<Button>,
}

/// Returns the running jobs of this process, the longest first, and then those of other processes.
pub(super) fn rows(
    mut jobs: Vec<RunningJob>,
    figures: &[Figures],
    elsewhere: &[QueuedJob],
) -> Vec<RunningRow> {
    jobs.sort_by_key(|job| std::cmp::Reverse(job.elapsed));
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let here = jobs.into_iter().take(RUNNING).map(|job| {
        let of_type = figures.iter().find(|figures| figures.name == job.name);
        let usual = of_type.and_then(|figures| figures.ran).map(|ran| ran.p99);
        RunningRow {
            name: job.name.to_owned(),
            id: job.id.to_string(),
            attempt: job.attempt,
            seconds: job.elapsed.map(|elapsed| elapsed.as_secs_f64()),
            route: job.route,
            is_long: job.elapsed.is_some_and(|elapsed| is_long(elapsed, usual)),
            process: None,
        }
    });
    let elsewhere = elsewhere.iter().filter(|job| !ids.contains(&job.id)).filter_map(|job| {
        let process = job.process.as_ref().filter(|process| !is_this(process))?;
        Some(RunningRow {
            name: job.name.clone(),
            id: job.id.to_string(),
            attempt: job.attempts + 1,
            seconds: None,
            route: job.route.clone(),
            is_long: false,
            process: Some(format!("{}, process {}", process.host, process.pid)),
        })
    });
    here.chain(elsewhere).collect()
}

pub(super) fn section(rows: &[RunningRow], running: usize, has_actions: bool) -> askama::Result<Section> {
    let here = rows.iter().filter(|row| row.process.is_none()).count();
    let all = running + rows.len() - here;
    Section::new(
        "running",
        &Frame { shown: rows.len(), all },
        rows.iter().map(|row| {
            let button = has_actions.then(|| Button::of_job(Verb::Cancel, &row.name, &row.id));
            Row::new(&*row.id, &RowHtml { row, page: View::finding(&row.id), button })
        }),
    )
}

/// Returns whether a job has run long. `usual` is the time in seconds that 99% of its type's runs take at most.
fn is_long(elapsed: Duration, usual: Option<f64>) -> bool {
    let seconds = elapsed.as_secs_f64();
    match usual {
        Some(usual) => seconds > (2.0 * usual).max(1.0),
        // Its type has no recent runs to compare with.
        None => seconds > 60.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_long_if_it_takes_twice_what_others_take_and_a_second_at_least() {
        let ms = Duration::from_millis;
        for (elapsed, usual, expected) in [
            (ms(900), Some(0.01), false),
            (ms(1_100), Some(0.01), true),
            (ms(5_900), Some(3.0), false),
            (ms(6_100), Some(3.0), true),
            (ms(59_000), None, false),
            (ms(61_000), None, true),
        ] {
            assert_eq!(is_long(elapsed, usual), expected, "{elapsed:?} {usual:?}");
        }
    }
}

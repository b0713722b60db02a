//! The load of the runner, and its totals.

use std::time::SystemTime;

use askama::Template;
use defer_core::{Runner, Stats};
use serde::Serialize;

use super::{
    format::{Formatted, Measured},
    moment::Moment,
    section::Section,
    types::TypeRow,
};
use crate::dashboard::memory::{float::float, outcome::Totals, window::Counts};

#[derive(Serialize)]
pub(crate) struct Now {
    pub(crate) at: Moment,
    /// The time at which the counts of types and runs began.
    pub(crate) since: Moment,
    pub(crate) running: usize,
    pub(crate) max_running: usize,
    pub(crate) pending: u64,
    pub(crate) waiting: usize,
    pub(crate) max_pending: usize,
    pub(crate) held_responses: usize,
    pub(crate) oldest_pending_seconds: Option<f64>,
    /// The recent number of ended attempts per second.
    pub(crate) runs_per_second: f64,
    /// The share of jobs that failed permanently in the last five minutes, among those that succeeded or failed.
    pub(crate) failed_ratio: Option<f64>,
    pub(crate) shutdown_announced: bool,
    /// The totals of all of the runner's jobs.
    pub(crate) totals: Totals,
}

#[derive(Template)]
#[template(path = "dashboard/now.html")]
struct Html<'a> {
    now: &'a Now,
    totals: Vec<(&'static str, u64)>,
}

impl Now {
    pub(super) fn new(runner: &Runner, since: SystemTime, types: &[TypeRow]) -> Self {
        let (load, stats) = (runner.load(), runner.stats());
        let mut last = Counts::default();
        types.iter().flat_map(|row| &row.last_minutes).for_each(|counts| last.add(*counts));
        let ended = u64::from(last.succeeded) + u64::from(last.failed);
        let ratio = float(last.failed.into()) / float(ended);
        Self {
            at: Moment(SystemTime::now()),
            since: Moment(since),
            running: load.running,
            max_running: load.max_running,
            pending: stats.pending,
            waiting: load.waiting,
            max_pending: load.max_pending,
            held_responses: load.held_responses,
            oldest_pending_seconds: runner.oldest_pending().map(|oldest| oldest.as_secs_f64()),
            runs_per_second: types.iter().map(|row| row.runs_per_second).sum(),
            failed_ratio: (ended > 0).then_some(ratio),
            shutdown_announced: load.shutdown_announced,
            totals: stats.into(),
        }
    }

    pub(super) fn section(&self) -> askama::Result<Section> {
        let Totals { taken, retried, skipped, cancelled, shed, queued, abandoned, .. } = self.totals;
        let rare = [
            ("taken", taken),
            ("retried", retried),
            ("skipped", skipped),
            ("cancelled", cancelled),
            ("shed", shed),
            ("queued", queued),
            ("abandoned", abandoned),
        ];
        let always = [
            ("deferred", self.totals.deferred),
            ("pending", self.pending),
            ("succeeded", self.totals.succeeded),
            ("failed", self.totals.failed),
        ];
        let totals = always.into_iter().chain(rare.into_iter().filter(|(_, count)| *count > 0)).collect();
        Section::new("now", &Html { now: self, totals }, [])
    }

    /// Returns the share of `max_running` in use, from 0 to 100.
    fn running_share(&self) -> f64 {
        share(self.running, self.max_running)
    }

    /// Returns the share of `max_pending` in use, from 0 to 100.
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

impl From<Stats> for Totals {
    fn from(stats: Stats) -> Self {
        Self {
            deferred: stats.deferred,
            taken: stats.taken,
            succeeded: stats.succeeded,
            failed: stats.failed,
            retried: stats.retried,
            skipped: stats.skipped,
            cancelled: stats.cancelled,
            shed: stats.shed,
            queued: stats.queued,
            abandoned: stats.abandoned,
        }
    }
}

//! The figures at one moment: what `/data` answers, and what the page is written from.

use std::time::{Duration, SystemTime};

use defer_core::{
    Runner, RunningJob, Stats,
    queue::{FailedJob, QueueCounts},
};
use serde::{Deserialize, Serialize};

use super::{
    float::float,
    journal::{AttemptError, Figures, Journal, Run},
    outcome::{Group, Outcome, Totals},
    queue::Inspected,
    window::{Counts, Percentiles},
};

/// How many runs are shown.
const RUNS: usize = 50;
/// How many running jobs are shown: those that have run longest.
const RUNNING: usize = 50;

/// What is asked for: which runs, and in which order the types come. From the query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct View {
    /// Only runs of jobs with this name; empty for all.
    pub(super) name: String,
    pub(super) outcome: Shown,
    pub(super) sort: Column,
    pub(super) order: Option<Order>,
}

/// Which runs are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shown {
    #[default]
    #[serde(alias = "")]
    All,
    Succeeded,
    Failed,
    Other,
}

/// What the types are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Column {
    #[default]
    #[serde(alias = "")]
    Name,
    Rate,
    Deferred,
    Taken,
    Unfinished,
    Succeeded,
    Failed,
    Retried,
    Skipped,
    Cancelled,
    Shed,
    Queued,
    Abandoned,
    Ran,
    Waited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    Ascending,
    Descending,
}

#[derive(Serialize)]
pub(super) struct Snapshot {
    pub(super) now: Now,
    pub(super) types: Vec<TypeRow>,
    pub(super) running: Vec<RunningRow>,
    pub(super) runs: Vec<RunRow>,
    /// `None` if the runner's queue cannot be looked into, or if it has none.
    pub(super) queue: Option<QueueState>,
}

#[derive(Serialize)]
pub(super) struct Now {
    pub(super) at: Moment,
    /// Since when the types and runs are counted.
    pub(super) since: Moment,
    pub(super) running: usize,
    pub(super) max_running: usize,
    pub(super) pending: u64,
    pub(super) waiting: usize,
    pub(super) max_pending: usize,
    pub(super) held_responses: usize,
    pub(super) oldest_pending_seconds: Option<f64>,
    /// Attempts that ended, of late.
    pub(super) runs_per_second: f64,
    /// Of the attempts of the last five minutes.
    pub(super) failed_ratio: Option<f64>,
    pub(super) shutdown_announced: bool,
    /// Of all jobs of the runner.
    pub(super) totals: Totals,
}

#[derive(Serialize)]
pub(super) struct TypeRow {
    pub(super) name: &'static str,
    /// Those that wait and those that run.
    pub(super) unfinished: u64,
    #[serde(flatten)]
    pub(super) totals: Totals,
    pub(super) runs_per_second: f64,
    pub(super) run_seconds: Option<Percentiles>,
    pub(super) wait_seconds: Option<Percentiles>,
    /// The attempts of the last five minutes, by five seconds.
    pub(super) last_minutes: Vec<Counts>,
}

#[derive(Serialize)]
pub(super) struct RunningRow {
    pub(super) name: &'static str,
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) seconds: Option<f64>,
    pub(super) route: Option<String>,
    /// It has run for much longer than most of its type do.
    pub(super) is_long: bool,
}

#[derive(Serialize)]
pub(super) struct RunRow {
    pub(super) name: &'static str,
    pub(super) id: String,
    pub(super) outcome: Outcome,
    pub(super) attempt: u32,
    pub(super) at: Moment,
    pub(super) wait_seconds: Option<f64>,
    pub(super) run_seconds: Option<f64>,
    pub(super) route: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) delivery: Option<&'static str>,
    pub(super) errors: Vec<AttemptError>,
}

#[derive(Clone, Default, Serialize)]
pub(super) struct QueueState {
    pub(super) pending: u64,
    pub(super) running: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) oldest_due_seconds: Option<f64>,
    pub(super) failed_jobs: Vec<FailedRow>,
    /// Names of types that are due, and that no worker takes.
    pub(super) unclaimed: Vec<String>,
    /// Why there are no figures, or old ones.
    pub(super) error: Option<&'static str>,
}

#[derive(Clone, Serialize)]
pub(super) struct FailedRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) attempts: u32,
    /// `None` if errors are hidden.
    pub(super) error: Option<String>,
}

/// A point in time, written as RFC 3339 has it, in UTC.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub(super) SystemTime);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        humantime::format_rfc3339_millis(self.0).fmt(f)
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Snapshot {
    pub(super) fn take(runner: &Runner, journal: &Journal, queue: Option<Inspected>, view: &View) -> Self {
        let now = journal.now();
        let figures = journal.figures(now, runner);
        let running = running(runner.running(), &figures);
        let mut types: Vec<_> = figures.into_iter().map(TypeRow::from).collect();
        view.sort(&mut types);
        let name = Some(&*view.name).filter(|name| !name.is_empty());
        let runs = journal.runs(name, view.outcome.group(), RUNS);
        let runs = runs.into_iter().map(|run| RunRow::new(run, journal.hides_errors())).collect();
        Self {
            now: Now::new(runner, journal.begun_at(), &types),
            types,
            running,
            runs,
            queue: queue.map(|inspected| QueueState::new(inspected, journal.hides_errors())),
        }
    }
}

impl Now {
    fn new(runner: &Runner, since: SystemTime, types: &[TypeRow]) -> Self {
        let (load, stats) = (runner.load(), runner.stats());
        let last_minutes = types.iter().flat_map(|row| &row.last_minutes);
        let (succeeded, failed) = last_minutes.fold((0_u64, 0_u64), |(succeeded, failed), counts| {
            (succeeded + u64::from(counts.succeeded), failed + u64::from(counts.failed))
        });
        let ratio = float(failed) / float(succeeded + failed);
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
            failed_ratio: (succeeded + failed > 0).then_some(ratio),
            shutdown_announced: load.shutdown_announced,
            totals: stats.into(),
        }
    }
}

/// Returns the jobs that have run longest, the longest first.
fn running(mut jobs: Vec<RunningJob>, figures: &[Figures]) -> Vec<RunningRow> {
    jobs.sort_by_key(|job| std::cmp::Reverse(job.elapsed));
    let rows = jobs.into_iter().take(RUNNING).map(|job| {
        let of_type = figures.iter().find(|figures| figures.name == job.name);
        let usual = of_type.and_then(|figures| figures.ran).map(|ran| ran.p99);
        RunningRow {
            name: job.name,
            id: job.id.to_string(),
            attempt: job.attempt,
            seconds: job.elapsed.map(|elapsed| elapsed.as_secs_f64()),
            route: job.route,
            is_long: job.elapsed.is_some_and(|elapsed| is_long(elapsed, usual)),
        }
    });
    rows.collect()
}

/// Returns whether a job has run for long, where 99 of 100 of its type take so many seconds.
fn is_long(elapsed: Duration, usual: Option<f64>) -> bool {
    let seconds = elapsed.as_secs_f64();
    match usual {
        Some(usual) => seconds > (2.0 * usual).max(1.0),
        // Nothing is known: no run of it ended of late.
        None => seconds > 60.0,
    }
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

impl RunRow {
    fn new(run: Run, hides_errors: bool) -> Self {
        let route = match (run.method, run.matched_path) {
            (Some(method), Some(path)) => Some(format!("{method} {path}")),
            (Some(method), None) => Some(method.to_string()),
            (None, _) => None,
        };
        Self {
            name: run.name,
            id: run.id.to_string(),
            outcome: run.outcome,
            attempt: run.attempt,
            at: Moment(run.ended_at),
            wait_seconds: run.waited.map(|waited| waited.as_secs_f64()),
            run_seconds: run.ran.map(|ran| ran.as_secs_f64()),
            route,
            status: run.status.map(|status| status.as_u16()),
            delivery: run.delivery.map(|delivery| delivery.as_str()),
            errors: if hides_errors { Vec::new() } else { run.errors },
        }
    }
}

impl QueueState {
    fn new(Inspected { counts, failed, unclaimed, error }: Inspected, hides_errors: bool) -> Self {
        let QueueCounts { pending, running, done, failed: failures, oldest_due, .. } = counts;
        let row = |job: FailedJob| FailedRow {
            id: job.id.to_string(),
            name: job.name,
            attempts: job.attempts,
            error: (!hides_errors).then_some(job.error),
        };
        Self {
            pending,
            running,
            done,
            failed: failures,
            oldest_due_seconds: oldest_due.map(|due| due.as_secs_f64()),
            failed_jobs: failed.into_iter().map(row).collect(),
            unclaimed,
            error,
        }
    }
}

impl View {
    /// Sorts by the column, and by the name where that is the same. Numbers begin with the greatest, unless asked otherwise.
    fn sort(&self, types: &mut [TypeRow]) {
        types.sort_by_key(|row| row.name);
        if self.sort != Column::Name {
            let key = |row: &TypeRow| self.sort.number(row);
            types.sort_by(|a, b| key(a).total_cmp(&key(b)));
        }
        if self.order() == Order::Descending {
            types.reverse();
        }
    }

    pub(super) fn order(&self) -> Order {
        self.order.unwrap_or(if self.sort == Column::Name { Order::Ascending } else { Order::Descending })
    }
}

impl Column {
    /// Returns what rows are sorted by; without a figure they are less than any other.
    fn number(self, row: &TypeRow) -> f64 {
        let p95 = |times: Option<Percentiles>| times.map_or(-1.0, |times| times.p95);
        match self {
            Self::Name => 0.0,
            Self::Rate => row.runs_per_second,
            Self::Deferred => float(row.totals.deferred),
            Self::Taken => float(row.totals.taken),
            Self::Unfinished => float(row.unfinished),
            Self::Succeeded => float(row.totals.succeeded),
            Self::Failed => float(row.totals.failed),
            Self::Retried => float(row.totals.retried),
            Self::Skipped => float(row.totals.skipped),
            Self::Cancelled => float(row.totals.cancelled),
            Self::Shed => float(row.totals.shed),
            Self::Queued => float(row.totals.queued),
            Self::Abandoned => float(row.totals.abandoned),
            Self::Ran => p95(row.run_seconds),
            Self::Waited => p95(row.wait_seconds),
        }
    }
}

impl Shown {
    fn group(self) -> Option<Group> {
        match self {
            Self::All => None,
            Self::Succeeded => Some(Group::Succeeded),
            Self::Failed => Some(Group::Failed),
            Self::Other => Some(Group::Other),
        }
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

//! The figures at one moment: the reply of `/data`, and the data of the page.

use defer_core::{JobId, Runner};
use serde::Serialize;

use super::{
    coming::{self, COMING, ComingRow},
    day::Day,
    failures::{self, FailureRow},
    found::{Found, Sources},
    health::Health,
    now::Now,
    process::Process,
    processes::ProcessRow,
    queue::QueueState,
    running::{self, RunningRow},
    runs::{RUNS, RunRow},
    types::{self, TypeRow},
    view::View,
};
use crate::dashboard::{
    memory::journal::Journal,
    queue::{cache::Cache, inspected::Inspected},
};

#[derive(Serialize)]
pub(crate) struct Snapshot {
    pub(crate) process: Process,
    pub(crate) health: Health,
    pub(crate) now: Now,
    pub(crate) failures: Vec<FailureRow>,
    pub(crate) types: Vec<TypeRow>,
    pub(crate) day: Day,
    pub(crate) running: Vec<RunningRow>,
    pub(crate) coming: Vec<ComingRow>,
    pub(crate) runs: Vec<RunRow>,
    /// `None` if the runner has no queue that can be inspected.
    pub(crate) queue: Option<QueueState>,
    /// The processes that share the queue.
    pub(crate) processes: Vec<ProcessRow>,
    /// The result of a search, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) found: Option<Found>,
}

/// The sources of the figures.
pub(crate) struct Facts<'a> {
    pub(crate) process: Process,
    pub(crate) runner: &'a Runner,
    pub(crate) journal: &'a Journal,
    pub(crate) queue: &'a Cache,
}

impl Facts<'_> {
    pub(crate) fn snapshot(self, view: &View) -> Snapshot {
        let Self { process, runner, journal, queue } = &self;
        let hides_errors = journal.hides_errors();
        let inspected = queue.get(runner);
        let none = Inspected::default();
        let stored = inspected.as_ref().unwrap_or(&none);

        let now = journal.now();
        let figures = journal.figures(now, runner);
        let running = running::rows(runner.running(), &figures, &stored.running);
        let types = types::rows(figures, view);
        let failing: Vec<_> = types.iter().filter(|row| row.fails()).map(|row| row.name).collect();
        let in_all = Now::new(runner, journal.begun_at(), &types);
        let name = Some(&*view.name).filter(|name| !name.is_empty());
        let runs = journal.runs(name, view.outcome.group(), RUNS).into_iter();
        let known_minutes = usize::try_from(now.as_secs() / 60 + 1).unwrap_or(usize::MAX);
        Snapshot {
            process: process.clone(),
            health: Health::new(&in_all, inspected.as_ref(), journal.refused(), &failing),
            failures: failures::rows(journal.failures(), &stored.failures, hides_errors),
            types,
            day: Day::new(process.since, journal.day(now), known_minutes),
            running,
            coming: coming::rows(runner.delayed(COMING), &stored.delayed),
            runs: runs.map(|run| RunRow::new(run, hides_errors)).collect(),
            processes: stored.holders.iter().map(ProcessRow::new).collect(),
            queue: inspected.as_ref().map(|inspected| QueueState::new(inspected, hides_errors)),
            found: view.find().map(|id| self.find(id)),
            now: in_all,
        }
    }

    /// Returns the facts about a job, or about a request's jobs.
    fn find(&self, id: &str) -> Found {
        let Self { runner, journal, queue, .. } = self;
        let hides_errors = journal.hides_errors();
        let (open, stored, runs) = match id.parse::<JobId>() {
            Ok(id) => {
                let open = runner.open_job(id).into_iter().collect();
                (open, queue.job(id), journal.runs_of(id, RUNS))
            }
            Err(_) => {
                let mut open = runner.open_jobs_of_request(id);
                open.truncate(RUNS);
                (open, None, journal.runs_of_request(id, RUNS))
            }
        };
        let runs = runs.into_iter().map(|run| RunRow::new(run, hides_errors)).collect();
        Found::new(id, Sources { open, stored, runs }, hides_errors)
    }
}

//! A record of the jobs' events: the figures of each type, and its latest runs.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use defer_core::{
    __private::{Observer, Report, Timestamp},
    JobId, Runner,
    event::{JobEvent, JobEventKind},
};
use rustc_hash::FxHashMap;

use super::{
    bounded::bounded,
    day::Day,
    failures::{Failure, Failures},
    job_type::JobType,
    outcome::{Group, Outcome, Totals},
    refused::Refused,
    run::{Ended, Run},
    window::{Counts, Percentiles},
};

/// Records the events of one runner since this was created.
pub(crate) struct Journal {
    begun: Timestamp,
    begun_at: SystemTime,
    hides_errors: AtomicBool,
    types: Mutex<Types>,
}

struct Types {
    /// Keyed by the address of a name, which is faster to look up than its text. Two types may have the same name.
    by_address: FxHashMap<(usize, usize), usize>,
    /// The last lookup. Often the next one is the same.
    latest: ((usize, usize), usize),
    types: Vec<JobType>,
    /// The number of runs kept so far.
    runs: u64,
    /// The minutes before the types' windows.
    day: Day,
    failures: Failures,
    refused: Option<Refused>,
}

/// The figures of a job type.
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    pub(crate) totals: Totals,
    pub(crate) unfinished: u64,
    pub(crate) ran: Option<Percentiles>,
    pub(crate) waited: Option<Percentiles>,
    pub(crate) rate: f64,
    pub(crate) counts: Vec<Counts>,
}

/// Records events as long as the dashboard exists: a runner keeps its hooks forever.
pub(crate) struct Noting(pub(crate) Weak<Journal>);

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            begun: Timestamp::now(),
            begun_at: SystemTime::now(),
            hides_errors: AtomicBool::new(false),
            types: Mutex::new(Types::new()),
        }
    }

    /// Forgets all errors so far, and keeps none from now on.
    pub(crate) fn hide_errors(&self) {
        self.hides_errors.store(true, Ordering::Relaxed);
        let mut types = self.lock();
        for job_type in &mut types.types {
            job_type.runs.iter_mut().flatten().for_each(|run| run.errors.clear());
        }
        types.failures.clear();
    }

    pub(crate) fn hides_errors(&self) -> bool {
        self.hides_errors.load(Ordering::Relaxed)
    }

    /// Returns the time at which it was created.
    pub(crate) fn begun_at(&self) -> SystemTime {
        self.begun_at
    }

    /// Returns the time since it was created.
    pub(crate) fn now(&self) -> Duration {
        Timestamp::now().since(self.begun)
    }

    /// Records how an attempt or a job ended, and counts a job that was taken from a queue.
    pub(crate) fn note(&self, report: &Report<'_>) {
        match report.kind() {
            // Most events are these: with a known outcome, most of the work is decided when this is compiled.
            JobEventKind::Succeeded { elapsed, .. } => {
                self.count(report, Outcome::Succeeded, Some(*elapsed), None);
            }
            _ => self.note_other(report),
        }
    }

    #[cold]
    fn note_other(&self, report: &Report<'_>) {
        let (outcome, elapsed, error) = match report.kind() {
            JobEventKind::Taken => {
                self.lock().of(report.name()).totals.taken += 1;
                return;
            }
            JobEventKind::Retrying { error, elapsed, .. } => (Outcome::Retrying, Some(*elapsed), Some(error)),
            JobEventKind::Failed { error, elapsed, .. } => (Outcome::Failed, Some(*elapsed), Some(error)),
            JobEventKind::Panicked { error, elapsed, .. } => (Outcome::Panicked, Some(*elapsed), Some(error)),
            JobEventKind::TimedOut { error, elapsed, .. } => (Outcome::TimedOut, Some(*elapsed), Some(error)),
            JobEventKind::QueueFailed { error, .. } => (Outcome::QueueFailed, None, Some(error)),
            JobEventKind::Skipped => (Outcome::Skipped, None, None),
            JobEventKind::Cancelled | JobEventKind::Duplicate { .. } => (Outcome::Cancelled, None, None),
            JobEventKind::Shed => (Outcome::Shed, None, None),
            JobEventKind::Queued => (Outcome::Queued, None, None),
            JobEventKind::Abandoned => (Outcome::Abandoned, None, None),
            _ => return,
        };
        // Before the lock, because user code formats it.
        let error = error.filter(|_| !self.hides_errors()).map(bounded);
        self.count(report, outcome, elapsed, error);
    }

    #[inline(always)]
    fn count(&self, report: &Report<'_>, outcome: Outcome, elapsed: Option<Duration>, error: Option<String>) {
        let at = report.at().unwrap_or_else(Timestamp::now).since(self.begun);
        // A job can fail without an attempt, because of its condition or without a timer. A job that started before the dashboard
        // was created may have no run time.
        let ran = elapsed.filter(|_| report.attempt() > 0 && report.at().is_some());
        let mut types = self.lock();
        let index = types.index(report.name());
        let Types { types: all, day, .. } = &mut *types;
        let job_type = &mut all[index];
        job_type.totals.add(outcome);
        if let Some(replaced) = job_type.window.count(at, outcome.group()) {
            day.add(replaced);
        }
        if let Some(ran) = ran {
            job_type.window.time(at, ran, report.wait());
        }
        let keeps = job_type.keeps(outcome, report.attempt(), at);
        if !keeps && !outcome.is_failure() {
            return;
        }
        let event = report.event();
        // Errors may have been hidden meanwhile.
        let error = error.filter(|_| !self.hides_errors());
        if outcome.is_failure() {
            types.note_failure(&event, outcome, error.as_deref());
        }
        if keeps {
            types.keep(index, &event, &Ended { outcome, at, ran }, error.as_deref());
        }
    }

    /// Returns the figures of every type of which the runner had a job.
    pub(crate) fn figures(&self, now: Duration, runner: &Runner) -> Vec<Figures> {
        let ended: Vec<u64> = self.lock().types.iter().map(|job_type| job_type.totals.ended()).collect();
        // After those that ended, so that no job is counted twice. Outside the lock, because this takes the runner's.
        let unfinished = runner.count_by_name();
        let mut types = self.lock();
        for (name, unfinished) in unfinished {
            let index = types.index(name);
            let ended = ended.get(index).copied().unwrap_or_default();
            let job_type = &mut types.types[index];
            job_type.unfinished = unfinished;
            job_type.totals.count(ended + unfinished);
        }
        let figures = types.types.iter_mut().map(|job_type| {
            job_type.totals.count(job_type.totals.ended());
            Figures {
                name: job_type.name,
                totals: job_type.totals,
                unfinished: mem::take(&mut job_type.unfinished),
                ran: job_type.window.ran(now),
                waited: job_type.window.waited(now),
                rate: job_type.window.rate(now),
                counts: job_type.window.counts(now),
            }
        });
        figures.collect()
    }

    /// Returns the latest runs, of one type or all, and of one group of outcomes or all. The newest comes first.
    pub(crate) fn runs(&self, name: Option<&str>, group: Option<Group>, limit: usize) -> Vec<Run> {
        let types = self.lock();
        let of_types = types.types.iter().filter(|job_type| name.is_none_or(|name| name == job_type.name));
        let groups = of_types.flat_map(|job_type| job_type.runs.iter().enumerate());
        let chosen = groups.filter(|(index, _)| group.is_none_or(|group| group as usize == *index));
        newest(chosen.flat_map(|(_, runs)| runs.iter().rev().take(limit)), limit)
    }

    /// Returns the runs of a job. The newest comes first.
    pub(crate) fn runs_of(&self, id: JobId, limit: usize) -> Vec<Run> {
        newest(self.lock().all_runs().filter(|run| run.id == id), limit)
    }

    /// Returns the runs of a request's jobs. The newest comes first.
    pub(crate) fn runs_of_request(&self, request_id: &str, limit: usize) -> Vec<Run> {
        newest(self.lock().all_runs().filter(|run| run.request_id.as_deref() == Some(request_id)), limit)
    }

    /// Returns the failures, by type and error.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        self.lock().failures.latest()
    }

    /// Returns the number of attempts in each minute of the last day, the latest last.
    pub(crate) fn day(&self, now: Duration) -> Vec<Counts> {
        let types = self.lock();
        let latest = types.types.iter().flat_map(|job_type| job_type.window.known());
        types.day.minutes(now, latest)
    }

    /// Returns the latest outage of the queue, as seen by its jobs.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, Types> {
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Noting {
    fn observe(&self, report: &Report<'_>) {
        if let Some(journal) = self.0.upgrade() {
            journal.note(report);
        }
    }
}

impl Types {
    fn new() -> Self {
        Self {
            by_address: FxHashMap::default(),
            latest: Default::default(),
            types: Vec::new(),
            runs: 0,
            day: Day::new(),
            failures: Failures::default(),
            refused: None,
        }
    }

    /// Returns the type with this name. Creates it if it is new.
    fn of(&mut self, name: &'static str) -> &mut JobType {
        let index = self.index(name);
        &mut self.types[index]
    }

    fn index(&mut self, name: &'static str) -> usize {
        let address = (name.as_ptr().addr(), name.len());
        if self.latest.0 != address {
            let known = self.by_address.get(&address).copied();
            self.latest = (address, known.unwrap_or_else(|| self.insert(name, address)));
        }
        self.latest.1
    }

    #[cold]
    fn insert(&mut self, name: &'static str, address: (usize, usize)) -> usize {
        let known = self.types.iter().position(|job_type| job_type.name == name);
        let index = known.unwrap_or_else(|| {
            self.types.push(JobType::new(name));
            self.types.len() - 1
        });
        self.by_address.insert(address, index);
        index
    }

    #[cold]
    fn note_failure(&mut self, event: &JobEvent, outcome: Outcome, error: Option<&str>) {
        self.failures.add(event.name(), event.id(), outcome, error);
        if outcome == Outcome::QueueFailed {
            Refused::count(&mut self.refused, SystemTime::now());
        }
    }

    #[cold]
    fn keep(&mut self, index: usize, event: &JobEvent, ended: &Ended, error: Option<&str>) {
        self.runs += 1;
        self.types[index].keep(self.runs, event, ended, error);
    }

    fn all_runs(&self) -> impl Iterator<Item = &Run> {
        self.types.iter().flat_map(|job_type| job_type.runs.iter().flatten())
    }
}

fn newest<'a>(runs: impl Iterator<Item = &'a Run>, limit: usize) -> Vec<Run> {
    let mut runs: Vec<&Run> = runs.collect();
    runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.number));
    runs.into_iter().take(limit).cloned().collect()
}

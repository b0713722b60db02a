//! What is remembered of the jobs' events: figures of each type, and its latest runs.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use defer_core::{
    __private::{Observer, Report, Timestamp},
    Delivery, JobId, Runner,
    event::JobEventKind,
};
use http::{Method, StatusCode};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{
    bounded::bounded,
    outcome::{Group, Outcome, Totals},
    window::{Counts, Percentiles, Window},
};

/// How many runs of each type are kept that succeeded, that failed, and that ended otherwise.
const KEPT: [usize; 3] = [50, 50, 20];
/// Of those that did not fail no more are kept within this time: they would only push each other out.
const KEPT_WITHIN: Duration = Duration::from_secs(1);
/// How many errors of a run are kept: those of its latest attempts.
const ERRORS: usize = 5;

/// Remembers the events of one runner since it was created.
pub(super) struct Journal {
    begun: Timestamp,
    begun_at: SystemTime,
    hides_errors: AtomicBool,
    types: Mutex<Types>,
}

#[derive(Default)]
struct Types {
    /// By where a name is in memory, which is faster to look up than what it says. Two types may have the same name.
    by_address: FxHashMap<(usize, usize), usize>,
    /// The one that was looked up last: often the next one too.
    latest: ((usize, usize), usize),
    types: Vec<JobType>,
    /// How many runs were noted.
    runs: u64,
}

struct JobType {
    name: &'static str,
    /// `deferred` is as it was when somebody last looked. A job that is deferred is not noted: what has not ended is counted
    /// then.
    totals: Totals,
    /// How many had not ended then.
    unfinished: u64,
    window: Window,
    /// The latest runs of each [`Group`], the newest last.
    runs: [VecDeque<Run>; 3],
}

/// The figures of a job type.
pub(super) struct Figures {
    pub(super) name: &'static str,
    pub(super) totals: Totals,
    pub(super) unfinished: u64,
    pub(super) ran: Option<Percentiles>,
    pub(super) waited: Option<Percentiles>,
    pub(super) rate: f64,
    pub(super) counts: Vec<Counts>,
}

/// A job's latest attempt, or how it ended without one.
#[derive(Clone)]
pub(super) struct Run {
    /// Later runs have higher numbers.
    number: u64,
    pub(super) name: &'static str,
    pub(super) id: JobId,
    pub(super) outcome: Outcome,
    /// 0 if it ended without an attempt.
    pub(super) attempt: u32,
    /// Since the journal was created.
    at: Duration,
    pub(super) ended_at: SystemTime,
    pub(super) waited: Option<Duration>,
    pub(super) ran: Option<Duration>,
    pub(super) method: Option<Method>,
    pub(super) matched_path: Option<Arc<str>>,
    pub(super) status: Option<StatusCode>,
    pub(super) delivery: Option<Delivery>,
    pub(super) errors: Vec<AttemptError>,
}

/// The error of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AttemptError {
    pub(super) attempt: u32,
    pub(super) error: String,
}

/// The end of an attempt, or of a job without one.
struct Ended {
    outcome: Outcome,
    at: Duration,
    ran: Option<Duration>,
}

/// Notes events for as long as there is a dashboard: the runner keeps its hooks for ever.
pub(super) struct Noting(pub(super) Weak<Journal>);

impl Journal {
    pub(super) fn new() -> Self {
        Self {
            begun: Timestamp::now(),
            begun_at: SystemTime::now(),
            hides_errors: AtomicBool::new(false),
            types: Mutex::default(),
        }
    }

    /// Forgets the errors so far, and keeps none from now on.
    pub(super) fn hide_errors(&self) {
        self.hides_errors.store(true, Ordering::Relaxed);
        for job_type in &mut self.lock().types {
            job_type.runs.iter_mut().flatten().for_each(|run| run.errors.clear());
        }
    }

    pub(super) fn hides_errors(&self) -> bool {
        self.hides_errors.load(Ordering::Relaxed)
    }

    /// Returns when it was created.
    pub(super) fn begun_at(&self) -> SystemTime {
        self.begun_at
    }

    /// Returns for how long it has existed.
    pub(super) fn now(&self) -> Duration {
        Timestamp::now().since(self.begun)
    }

    /// Remembers how an attempt or a job has ended, and counts a job that was taken from a queue.
    pub(super) fn note(&self, report: &Report<'_>) {
        if let JobEventKind::Taken = report.kind() {
            self.lock().of(report.name()).totals.taken += 1;
            return;
        }
        let (outcome, elapsed, error) = match report.kind() {
            JobEventKind::Succeeded { elapsed, .. } => (Outcome::Succeeded, Some(*elapsed), None),
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
        let at = report.at().unwrap_or_else(Timestamp::now).since(self.begun);
        // Before the lock: a user's code writes it.
        let error = error.filter(|_| !self.hides_errors()).map(bounded);
        // A job can fail without an attempt, by its condition or for want of a timer. One that had started before there was a
        // dashboard may not know for how long it ran.
        let ran = elapsed.filter(|_| report.attempt() > 0 && report.at().is_some());
        let mut types = self.lock();
        let job_type = types.of(report.name());
        job_type.totals.add(outcome);
        if let Some(ran) = ran {
            job_type.window.add(at, outcome == Outcome::Succeeded, ran, report.wait());
        }
        // A job that its queue has is not over.
        if outcome != Outcome::Queued && (report.attempt() > 1 || job_type.keeps(outcome, at)) {
            // The errors may have been hidden meanwhile.
            let error = error.filter(|_| !self.hides_errors());
            types.keep(report, Ended { outcome, at, ran }, error);
        }
    }

    /// Returns the figures of every type that the runner had a job of.
    pub(super) fn figures(&self, now: Duration, runner: &Runner) -> Vec<Figures> {
        let ended: Vec<u64> = self.lock().types.iter().map(|job_type| job_type.totals.ended()).collect();
        // After those that have ended: so no job is counted twice. Not under the lock, because it takes the runner's.
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

    /// Returns the latest runs of a type, or of all, and of a group of outcomes, or of all. The newest comes first.
    pub(super) fn runs(&self, name: Option<&str>, group: Option<Group>, limit: usize) -> Vec<Run> {
        let types = self.lock();
        let of_types = types.types.iter().filter(|job_type| name.is_none_or(|name| name == job_type.name));
        let groups = of_types.flat_map(|job_type| job_type.runs.iter().enumerate());
        let chosen = groups.filter(|(index, _)| group.is_none_or(|group| group as usize == *index));
        let mut runs: Vec<&Run> = chosen.flat_map(|(_, runs)| runs.iter().rev().take(limit)).collect();
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.number));
        runs.into_iter().take(limit).cloned().collect()
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
    /// Returns the type of this name, which is new if none of its jobs had ended before.
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
            self.types.push(JobType {
                name,
                totals: Totals::default(),
                unfinished: 0,
                window: Window::new(),
                runs: KEPT.map(VecDeque::with_capacity),
            });
            self.types.len() - 1
        });
        self.by_address.insert(address, index);
        index
    }

    #[cold]
    fn keep(&mut self, report: &Report<'_>, Ended { outcome, at, ran }: Ended, error: Option<String>) {
        let event = report.event();
        self.runs += 1;
        let mut run = Run {
            number: self.runs,
            name: event.name(),
            id: event.id(),
            outcome,
            attempt: event.attempt(),
            at,
            // Not reckoned from when the journal was created: the clock may have been set since.
            ended_at: SystemTime::now(),
            waited: event.wait(),
            ran,
            method: event.method().cloned(),
            matched_path: event.shared_path(),
            status: event.status(),
            delivery: event.delivery(),
            errors: Vec::new(),
        };
        let job_type = self.of(run.name);
        if run.attempt > 1 {
            job_type.take_over(&mut run);
        }
        if let Some(error) = error {
            if run.errors.len() == ERRORS {
                run.errors.remove(0);
            }
            run.errors.push(AttemptError { attempt: run.attempt, error });
        }
        job_type.keep(run);
    }
}

impl JobType {
    /// Returns whether a run is kept that ended like this in its first attempt or without one.
    fn keeps(&self, outcome: Outcome, at: Duration) -> bool {
        let group = outcome.group();
        let runs = &self.runs[group as usize];
        let is_full = runs.len() == KEPT[group as usize];
        group == Group::Failed || !is_full || runs.front().is_none_or(|oldest| oldest.at + KEPT_WITHIN < at)
    }

    /// Takes the errors of the job's earlier attempts, if they are still there, so that it has one run.
    fn take_over(&mut self, run: &mut Run) {
        let failed = &mut self.runs[Group::Failed as usize];
        let earlier =
            failed.iter().rposition(|earlier| earlier.id == run.id && earlier.outcome == Outcome::Retrying);
        if let Some(earlier) = earlier.and_then(|at| failed.remove(at)) {
            run.errors = earlier.errors;
        }
    }

    fn keep(&mut self, run: Run) {
        let group = run.outcome.group() as usize;
        let runs = &mut self.runs[group];
        if runs.len() == KEPT[group] {
            runs.pop_front();
        }
        runs.push_back(run);
    }
}

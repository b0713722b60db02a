//! The table with all jobs.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    limits::throttle::{AtMost, Throttle},
    model::{id::JobId, response::ResponseInfo, status::JobStatus},
    primitives::sync::lock,
    runner::Resume,
    store::{AtMostEvery, End, Envelope, Ready, Replace, Settled},
};

/// Faults of a queue, for the tests of `check_queue`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    StartsAtOnce,
    LosesDroppedLeases,
    LosesChildren,
    ForgetsEnds,
    LastEndCounts,
    ForgetsAttempts,
    ForgetsResponses,
    RunsDuplicates,
    RunsSerialOnesBackwards,
    RunsWhatIsPaused,
    RunsWhatIsCancelled,
    CountsNothing,
    MixesFailures,
    NeverReplaces,
    StartsTooOften,
}

/// All jobs of a queue. Rows that are ready are in the order in which they became ready.
pub(super) struct Table {
    rows: Mutex<Vec<Row>>,
    /// The names of the types that are paused.
    paused: Mutex<Vec<String>>,
    /// The names of the types that a worker takes, and the key of its runner.
    taken: Mutex<Vec<(usize, &'static str)>>,
    /// Wakes the task that has to stop when its job is cancelled.
    stopped: Mutex<HashMap<JobId, Waker>>,
    changed: watch::Sender<()>,
    is_away: AtomicBool,
    skips_waits: AtomicBool,
    throttle: Throttle,
    fault: Option<Fault>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            rows: Mutex::default(),
            paused: Mutex::default(),
            taken: Mutex::default(),
            stopped: Mutex::default(),
            changed: watch::Sender::new(()),
            is_away: AtomicBool::new(false),
            skips_waits: AtomicBool::new(false),
            throttle: Throttle::default(),
            fault: None,
        }
    }
}

pub(super) struct Row {
    pub(super) job: Envelope,
    pub(super) attempts: u32,
    pub(super) state: RowState,
    pub(super) response: Option<ResponseInfo>,
    pub(super) created: Instant,
    /// When it got its state.
    pub(super) since: Instant,
    /// When the first job in its chain of replacements became ready.
    began: Option<Instant>,
    /// Whether it may start no matter what else has started, because it started before.
    has_started: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowState {
    Held,
    /// Ready from this moment on.
    Ready(Instant),
    Taken,
    Ended(JobStatus),
}

impl Row {
    pub(super) fn status(&self) -> JobStatus {
        match &self.state {
            RowState::Held | RowState::Ready(_) => JobStatus::Pending,
            RowState::Taken => JobStatus::Running,
            RowState::Ended(status) => status.clone(),
        }
    }
}

/// The result of a worker's search.
pub(super) enum Found {
    Due(Box<Envelope>, Resume),
    /// No job is due before this moment, or before something changes.
    At(Option<Instant>),
    /// No job of its types waits or runs.
    Nothing,
}

impl Table {
    pub(super) fn with_fault(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub(super) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    pub(super) fn skip_waits(&self) {
        self.skips_waits.store(true, Ordering::Relaxed);
        for row in &mut *self.rows() {
            if let RowState::Ready(_) = row.state {
                row.state = self.ready_after(Duration::ZERO);
            }
        }
        self.changed.send_replace(());
    }

    /// Returns a receiver that reports every change from here on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        lock(&self.rows)
    }

    pub(super) fn all(&self) -> Vec<(Envelope, JobStatus)> {
        self.rows().iter().map(|row| (row.job.clone(), row.status())).collect()
    }

    pub(super) fn ready_after(&self, delay: Duration) -> RowState {
        let delay = if self.skips_waits.load(Ordering::Relaxed) { Duration::ZERO } else { delay };
        let now = Instant::now();
        // If a delay is too long for the clock, it becomes a year.
        RowState::Ready(now.checked_add(delay).unwrap_or(now + Duration::from_secs(365 * 86_400)))
    }

    /// Stores jobs whose ids are new.
    pub(super) fn insert(&self, jobs: Vec<Envelope>, state: impl Fn(&Envelope) -> RowState) {
        let mut rows = self.rows();
        for job in jobs {
            if rows.iter().all(|row| row.job.id != job.id) {
                let state = state(&job);
                let now = Instant::now();
                rows.push(Row {
                    job,
                    attempts: 0,
                    state,
                    response: None,
                    created: now,
                    since: now,
                    began: None,
                    has_started: false,
                });
            }
        }
        drop(rows);
        self.changed.send_replace(());
    }

    /// Changes a row, if it is in this state.
    pub(super) fn end(&self, id: JobId, from: &RowState, end: End) -> Settled {
        let settled = self.end_row(&mut self.rows(), id, from, end);
        self.changed.send_replace(());
        settled
    }

    fn end_row(&self, rows: &mut Vec<Row>, id: JobId, from: &RowState, end: End) -> Settled {
        let Some(at) = rows.iter().position(|row| row.job.id == id) else {
            // Its write failed, but it ran anyway.
            return Settled::Done;
        };
        let is_cancelled = rows[at].state == RowState::Ended(JobStatus::Cancelled);
        if is_cancelled && matches!(end, End::Cancelled) {
            return Settled::Done;
        }
        if rows[at].state != *from {
            return Settled::Refused;
        }
        let mut row = rows.remove(at);
        let mut settled = Settled::Done;
        row.since = Instant::now();
        row.state = match end {
            End::Succeeded => RowState::Ended(JobStatus::Succeeded),
            End::Skipped => RowState::Ended(JobStatus::Skipped),
            End::Cancelled => RowState::Ended(JobStatus::Cancelled),
            End::Failed { error } => {
                row.attempts += 1;
                RowState::Ended(JobStatus::failed(&error))
            }
            End::Retry { delay, .. } => {
                let is_forgotten = self.has(Fault::ForgetsAttempts) && *from == RowState::Held;
                row.attempts += u32::from(!is_forgotten);
                self.ready_after(delay)
            }
            End::Snoozed { delay } => self.ready_after(delay),
            End::Ready(Ready { delay, serial, unique, replace, at_most, response }) => {
                row.response = response.filter(|_| !self.has(Fault::ForgetsResponses)).or(row.response);
                (row.job.serial, row.job.unique) = (serial, unique);
                (row.job.replace, row.job.at_most) = (replace, at_most);
                match self.claim(rows, &mut row, delay) {
                    Ok(due) => due,
                    Err(other) => {
                        settled = Settled::Duplicate(other);
                        RowState::Ended(JobStatus::duplicate(other))
                    }
                }
            }
        };
        // A row that became ready later is behind those that were ready before.
        let at = if matches!(from, RowState::Held) { rows.len() } else { at };
        rows.insert(at, row);
        settled
    }

    /// Returns the state in which a row becomes ready, after claiming its unique key if it has one. Otherwise returns the job
    /// that it duplicates.
    fn claim(&self, rows: &mut [Row], row: &mut Row, delay: Duration) -> Result<RowState, JobId> {
        let is_other = |other: &&mut Row| {
            matches!(other.state, RowState::Ready(_)) && other.job.unique == row.job.unique
        };
        let looks = row.job.unique.is_some() && !self.has(Fault::RunsDuplicates);
        let other = rows.iter_mut().find(is_other).filter(|_| looks);
        let due = self.ready_after(delay);
        let replace = row.job.replace.filter(|_| !self.has(Fault::NeverReplaces));
        let (Some(replace), RowState::Ready(own)) = (replace, &due) else {
            return other.map_or(Ok(due), |other| Err(other.job.id));
        };
        let place = other.and_then(|other| {
            let RowState::Ready(due) = other.state else { return None };
            other.state = RowState::Ended(JobStatus::duplicate(row.job.id));
            Some((other.began.unwrap_or(other.since), due))
        });
        let began = place.map_or(row.since, |(began, _)| began);
        row.began = Some(began);
        Ok(match (replace, place) {
            (Replace::AtItsTime, Some((_, due))) => RowState::Ready(due),
            (Replace::Within(longest), _) => {
                RowState::Ready(began.checked_add(longest).map_or(*own, |end| end.min(*own)))
            }
            _ => due,
        })
    }

    /// Returns the job that started too recently for this one, which is about to start.
    fn too_soon(&self, row: &mut Row) -> Option<JobId> {
        if std::mem::replace(&mut row.has_started, true) || self.has(Fault::StartsTooOften) {
            return None;
        }
        let AtMostEvery { key, every } = row.job.at_most.as_ref()?;
        let at_most = AtMost { key: (**key).into(), every: *every, throttle: self.throttle.clone() };
        at_most.start(row.job.id)
    }

    /// Returns the status of a job. That of a duplicate names the last job in its chain of replacements.
    pub(super) fn status(&self, id: JobId) -> Option<JobStatus> {
        let rows = self.rows();
        let mut status = rows.iter().find(|row| row.job.id == id)?.status();
        for _ in 0..rows.len() {
            let JobStatus::Duplicate { of } = status else { break };
            match rows.iter().find(|row| row.job.id == of).map(Row::status) {
                Some(next @ JobStatus::Duplicate { .. }) => status = next,
                _ => break,
            }
        }
        Some(status)
    }

    /// Takes a due job of these types.
    pub(super) fn take(&self, takes: impl Fn(&str) -> bool) -> Found {
        loop {
            if let Some(found) = self.take_next(&takes) {
                return found;
            }
        }
    }

    /// Takes a due job of these types. `None` if that job was dropped instead.
    fn take_next(&self, takes: impl Fn(&str) -> bool) -> Option<Found> {
        let (mut rows, paused) = (self.rows(), lock(&self.paused));
        let now = Instant::now();
        let due = |row: &Row| match row.state {
            RowState::Ready(at) if takes(&row.job.name) => Some(at),
            _ => None,
        };
        let is_due = |row: &Row| due(row).is_some_and(|at| at <= now);
        let is_behind = |at: usize| {
            let serial = &rows[at].job.serial;
            let has_turn = |before: &Row| {
                before.job.serial == *serial && !matches!(before.state, RowState::Held | RowState::Ended(_))
            };
            serial.is_some() && rows[..at].iter().any(has_turn)
        };
        let may_run =
            |at: &usize| is_due(&rows[*at]) && !paused.contains(&rows[*at].job.name) && !is_behind(*at);
        let next = if self.has(Fault::RunsSerialOnesBackwards) {
            (0..rows.len()).rev().find(|at| is_due(&rows[*at]))
        } else {
            (0..rows.len()).find(may_run)
        };
        let Some(at) = next else {
            let is_open =
                |row: &Row| takes(&row.job.name) && matches!(row.state, RowState::Ready(_) | RowState::Taken);
            if rows.iter().any(is_open) {
                return Some(Found::At(rows.iter().filter_map(due).filter(|at| *at > now).min()));
            }
            return Some(Found::Nothing);
        };
        let row = &mut rows[at];
        if let Some(other) = self.too_soon(row) {
            (row.state, row.since) = (RowState::Ended(JobStatus::duplicate(other)), now);
            return None;
        }
        let mut resume = Resume::new(row.job.id, row.attempts, row.job.metadata.clone());
        resume.response = row.response.clone();
        if let RowState::Ready(since) = row.state {
            resume.waited = now.saturating_duration_since(since);
        }
        (row.state, row.since) = (RowState::Taken, now);
        Some(Found::Due(Box::new(row.job.clone()), resume))
    }

    /// Registers a type that a worker takes, with the key of the worker's runner.
    pub(super) fn add_type(&self, runner: usize, name: &'static str) {
        lock(&self.taken).push((runner, name));
    }

    pub(super) fn remove_type(&self, runner: usize, name: &'static str) {
        let mut taken = lock(&self.taken);
        if let Some(at) = taken.iter().position(|known| *known == (runner, name)) {
            taken.swap_remove(at);
        }
    }

    pub(super) fn runs_here(&self, runner: usize, name: &str) -> bool {
        let is_taken = lock(&self.taken).iter().any(|(by, taken)| *by == runner && *taken == name);
        is_taken && !lock(&self.paused).iter().any(|paused| paused == name)
    }

    /// Returns the names of the types that are paused.
    pub(super) fn paused_types(&self) -> Vec<String> {
        lock(&self.paused).clone()
    }

    /// Returns the names of the types that workers take.
    pub(super) fn taken_types(&self) -> Vec<&'static str> {
        lock(&self.taken).iter().map(|(_, name)| *name).collect()
    }

    pub(super) fn pause_type(&self, name: &str) {
        let mut paused = lock(&self.paused);
        if !self.has(Fault::RunsWhatIsPaused) && !paused.iter().any(|known| known == name) {
            paused.push(name.to_owned());
        }
    }

    pub(super) fn resume_type(&self, name: &str) {
        lock(&self.paused).retain(|paused| paused != name);
        self.changed.send_replace(());
    }

    /// Returns whether the row has left this state, and if so, whether it was cancelled. Otherwise the waker is woken when it is
    /// cancelled.
    pub(super) fn poll_cancelled(&self, id: JobId, from: &RowState, waker: &Waker) -> Option<bool> {
        let waker = waker.clone();
        let rows = self.rows();
        let left = rows.iter().find(|row| row.job.id == id).filter(|row| row.state != *from);
        let is_cancelled = left.map(|row| row.state == RowState::Ended(JobStatus::Cancelled));
        let unused = match is_cancelled {
            None => lock(&self.stopped).insert(id, waker),
            Some(_) => Some(waker),
        };
        drop(rows);
        drop(unused);
        is_cancelled
    }

    /// Wakes the task to stop, because the job was cancelled or its lease is gone.
    pub(super) fn wake_stopped(&self, id: JobId) {
        let waker = lock(&self.stopped).remove(&id);
        waker.into_iter().for_each(Waker::wake);
        self.changed.send_replace(());
    }
}

//! Where the queue that holds jobs keeps them.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use defer_core::{
    JobId, JobStatus, ResponseInfo,
    queue::{End, Envelope, Ready, Resume, Settled},
};
use tokio::time::Instant;

use crate::Broken;

/// All jobs of a queue. Rows that are ready are in the order in which they became so.
pub(crate) struct Table {
    rows: Mutex<Vec<Row>>,
    /// The names of the types that are paused.
    pub(crate) paused: Mutex<Vec<String>>,
    broken: Option<Broken>,
}

pub(crate) struct Row {
    pub(crate) job: Envelope,
    pub(crate) attempts: u32,
    pub(crate) state: State,
    response: Option<ResponseInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Held,
    /// From then on.
    Ready(Instant),
    Taken,
    Ended(JobStatus),
}

impl Table {
    pub(crate) fn new(broken: Option<Broken>) -> Self {
        Self { rows: Mutex::default(), paused: Mutex::default(), broken }
    }

    pub(crate) fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    pub(crate) fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap()
    }

    /// Stores jobs whose ids are new.
    pub(crate) fn insert(&self, jobs: Vec<Envelope>, state: impl Fn(&Envelope) -> State) {
        let mut rows = self.rows();
        for job in jobs {
            if rows.iter().all(|row| row.job.id != job.id) {
                let state = state(&job);
                rows.push(Row { job, attempts: 0, state, response: None });
            }
        }
    }

    /// Changes a row that is in this state.
    pub(crate) fn end(&self, id: JobId, from: &State, end: End) -> Settled {
        let mut rows = self.rows();
        let Some(at) = rows.iter().position(|row| row.job.id == id && row.state == *from) else {
            return Settled::Refused;
        };
        let after = |delay: Duration| State::Ready(Instant::now() + delay);
        let mut row = rows.remove(at);
        let mut settled = Settled::Done;
        row.state = match end {
            End::Succeeded => State::Ended(JobStatus::Succeeded),
            End::Skipped => State::Ended(JobStatus::Skipped),
            End::Cancelled => State::Ended(JobStatus::Cancelled),
            End::Failed { error } => {
                row.attempts += 1;
                State::Ended(JobStatus::failed(&error))
            }
            End::Retry { delay, .. } => {
                let is_forgotten = self.is(Broken::ForgetsAttempts) && *from == State::Held;
                row.attempts += u32::from(!is_forgotten);
                after(delay)
            }
            End::Snoozed { delay } => after(delay),
            End::Ready(Ready { delay, serial, unique, response }) => {
                row.response = response.filter(|_| !self.is(Broken::ForgetsResponses));
                (row.job.serial, row.job.unique) = (serial, unique);
                let is_other = |other: &&Row| {
                    matches!(other.state, State::Ready(_)) && other.job.unique == row.job.unique
                };
                let other = rows.iter().find(is_other).filter(|_| row.job.unique.is_some());
                match other.filter(|_| !self.is(Broken::RunsDuplicates)) {
                    Some(other) => {
                        settled = Settled::Duplicate(other.job.id);
                        State::Ended(JobStatus::duplicate(other.job.id))
                    }
                    None => after(delay),
                }
            }
        };
        // Rows that became ready later are behind those that did before.
        let at = if matches!(from, State::Held) { rows.len() } else { at };
        rows.insert(at, row);
        settled
    }

    /// Takes a job that is due. Returns none if there is none, with whether any waits or runs.
    pub(crate) fn take(&self) -> Result<(Envelope, Resume), bool> {
        let (mut rows, paused) = (self.rows(), self.paused.lock().unwrap());
        let is_due = |row: &Row| matches!(row.state, State::Ready(due) if due <= Instant::now());
        let may_run = |at: &usize| {
            let job = &rows[*at].job;
            let is_behind = |before: &Row| {
                before.job.serial == job.serial && !matches!(before.state, State::Held | State::Ended(_))
            };
            is_due(&rows[*at])
                && !paused.contains(&job.name)
                && (job.serial.is_none() || !rows[..*at].iter().any(is_behind))
        };
        let next = if self.is(Broken::RunsSerialOnesBackwards) {
            (0..rows.len()).rev().find(|at| is_due(&rows[*at]))
        } else {
            (0..rows.len()).find(may_run)
        };
        let Some(at) = next else {
            return Err(rows.iter().any(|row| matches!(row.state, State::Ready(_) | State::Taken)));
        };
        let row = &mut rows[at];
        row.state = State::Taken;
        let mut resume = Resume::new(row.job.id, row.attempts, row.job.metadata.clone());
        resume.response = row.response.clone();
        Ok((row.job.clone(), resume))
    }
}

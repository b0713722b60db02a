//! What became of jobs, by their ids.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Mutex,
};

use crate::{
    error::caught,
    event::{JobEvent, JobEventKind},
    id::JobId,
    sync::lock,
};

/// How far a job has got, or how it has ended.
///
/// `Display` writes it as a word, such as `running`, without the error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobStatus {
    /// It waits: for its response to be over, for its turn, for a delay, or for its next attempt.
    Pending,
    /// An attempt runs.
    Running,
    /// It has succeeded.
    Succeeded,
    /// It has failed for good.
    #[non_exhaustive]
    Failed {
        /// The error of its last attempt, cut after [`JobStatus::MAX_ERROR`] bytes. It may hold what is not for a client's eyes.
        error: String,
    },
    /// Its condition was false.
    Skipped,
    /// It was cancelled, replaced or superfluous.
    Cancelled,
    /// There was no room for it.
    Shed,
    /// The queue has it, which [knows more](crate::InspectQueue::status).
    Queued,
    /// It was stopped before it had ended.
    Abandoned,
}

impl JobStatus {
    /// How many bytes of an error are kept.
    pub const MAX_ERROR: usize = 1024;

    /// Creates the status of a job that failed for good.
    pub fn failed(error: &str) -> Self {
        let longest = error.len().min(Self::MAX_ERROR);
        let cut = (0..=longest).rev().find(|at| error.is_char_boundary(*at)).unwrap_or_default();
        Self::Failed { error: error[..cut].to_owned() }
    }

    /// Returns whether nothing more happens to the job, as far as is known here: a job that the queue has goes on there.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// Returns the status after this event, if it changes that.
    fn after(event: &JobEventKind) -> Option<Self> {
        Some(match event {
            JobEventKind::Deferred
            | JobEventKind::Retrying { .. }
            | JobEventKind::Snoozed { .. }
            | JobEventKind::QueueFailed { .. } => Self::Pending,
            JobEventKind::Started => Self::Running,
            JobEventKind::Stuck { .. } => return None,
            JobEventKind::Succeeded { .. } => Self::Succeeded,
            JobEventKind::Failed { error, .. }
            | JobEventKind::Panicked { error, .. }
            | JobEventKind::TimedOut { error, .. } => {
                // An error's `Display` is user code.
                Self::failed(&caught(|| error.to_string()).unwrap_or_default())
            }
            JobEventKind::Skipped => Self::Skipped,
            JobEventKind::Cancelled => Self::Cancelled,
            JobEventKind::Shed => Self::Shed,
            JobEventKind::Queued => Self::Queued,
            JobEventKind::Abandoned => Self::Abandoned,
        })
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Shed => "shed",
            Self::Queued => "queued",
            Self::Abandoned => "abandoned",
        })
    }
}

/// The status of each job that has not ended, and of the last that have.
pub(crate) struct Outcomes {
    max_ended: usize,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    by_id: HashMap<JobId, Known>,
    /// Those that have ended, the first of them first, and when.
    ended: VecDeque<(JobId, u64)>,
    /// Counts events.
    clock: u64,
}

struct Known {
    status: JobStatus,
    /// At which event it got that.
    since: u64,
}

impl Outcomes {
    pub(crate) fn new(max_ended: usize) -> Self {
        Self { max_ended, jobs: Mutex::default() }
    }

    pub(crate) fn get(&self, id: JobId) -> Option<JobStatus> {
        lock(&self.jobs).by_id.get(&id).map(|known| known.status.clone())
    }

    pub(crate) fn note(&self, event: &JobEvent) {
        let kind = event.kind();
        let Some(status) = JobStatus::after(&kind) else { return };
        let mut jobs = lock(&self.jobs);
        // Told late: a hook before this one, or a shutdown, was quicker. Only a job that comes back from the queue goes on.
        let has_ended = jobs.by_id.get(&event.id()).is_some_and(|known| known.status.is_final());
        if has_ended && !status.is_final() && !matches!(kind, JobEventKind::Deferred) {
            return;
        }
        jobs.clock += 1;
        let since = jobs.clock;
        if status.is_final() {
            jobs.ended.push_back((event.id(), since));
        }
        jobs.by_id.insert(event.id(), Known { status, since });
        if jobs.ended.len() > self.max_ended {
            let Some((oldest, then)) = jobs.ended.pop_front() else { return };
            // A job that came back from the queue has ended before.
            if jobs.by_id.get(&oldest).is_some_and(|known| known.since == then) {
                jobs.by_id.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_two_characters() {
        let JobStatus::Failed { error } = JobStatus::failed(&"ä".repeat(600)) else { panic!("it failed") };
        assert_eq!(error.len(), JobStatus::MAX_ERROR);
        let JobStatus::Failed { error } = JobStatus::failed(&format!("a{}", "ä".repeat(600))) else {
            panic!("it failed")
        };
        assert_eq!(error.len(), JobStatus::MAX_ERROR - 1);
        assert_eq!(JobStatus::failed("short"), JobStatus::Failed { error: "short".into() });
    }
}

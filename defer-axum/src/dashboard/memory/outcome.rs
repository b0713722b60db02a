//! The outcomes of runs, and their counts.

use serde::{Deserialize, Serialize};

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Succeeded,
    /// Another attempt follows.
    Retrying,
    Failed,
    Panicked,
    TimedOut,
    Skipped,
    Cancelled,
    Shed,
    Queued,
    QueueFailed,
    Abandoned,
}

/// Outcomes that are kept and searched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Group {
    Succeeded,
    /// Jobs that failed permanently.
    Failed,
    /// Failed attempts that were followed by another.
    Retrying,
    /// Jobs that ended in another way, and jobs that the queue did not accept.
    Other,
}

/// The number of a type's jobs, and their outcomes, as in [`Stats`](defer_core::Stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) deferred: u64,
    pub(crate) taken: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) skipped: u64,
    pub(crate) cancelled: u64,
    pub(crate) shed: u64,
    pub(crate) queued: u64,
    pub(crate) abandoned: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Succeeded => &mut self.succeeded,
            Outcome::Retrying => &mut self.retried,
            Outcome::Failed | Outcome::Panicked | Outcome::TimedOut => &mut self.failed,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Shed => &mut self.shed,
            Outcome::Queued => &mut self.queued,
            Outcome::Abandoned => &mut self.abandoned,
            Outcome::QueueFailed => return,
        };
        *count += 1;
    }

    /// Records that there were at least this many jobs. Those that were not taken from a queue were deferred.
    pub(crate) fn count(&mut self, all: u64) {
        self.deferred = self.deferred.max(all.saturating_sub(self.taken));
    }

    /// Returns the number of jobs that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.succeeded
            + self.failed
            + self.skipped
            + self.cancelled
            + self.shed
            + self.queued
            + self.abandoned
    }
}

impl Outcome {
    /// Returns whether there is an error to show.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self.group(), Group::Failed | Group::Retrying) || self == Self::QueueFailed
    }

    pub(crate) fn group(self) -> Group {
        match self {
            Self::Succeeded => Group::Succeeded,
            Self::Failed | Self::Panicked | Self::TimedOut => Group::Failed,
            Self::Retrying => Group::Retrying,
            Self::Skipped
            | Self::Cancelled
            | Self::Shed
            | Self::Queued
            | Self::QueueFailed
            | Self::Abandoned => Group::Other,
        }
    }
}

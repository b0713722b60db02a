//! How runs end, and how many did.

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
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

/// Outcomes that are kept and looked for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Group {
    Succeeded,
    /// Failed attempts, also those that are followed by another, what the queue did not take, and abandoned jobs.
    Failed,
    /// Jobs that ended without an attempt.
    Other,
}

/// How many jobs of a type there were, and how they ended, as in [`Stats`](defer_core::Stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) deferred: u64,
    pub(super) taken: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) skipped: u64,
    pub(super) cancelled: u64,
    pub(super) shed: u64,
    pub(super) queued: u64,
    pub(super) abandoned: u64,
}

impl Totals {
    pub(super) fn add(&mut self, outcome: Outcome) {
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

    /// Takes note that there were at least so many, of which some were taken from a queue, and the others deferred.
    pub(super) fn count(&mut self, all: u64) {
        self.deferred = self.deferred.max(all.saturating_sub(self.taken));
    }

    /// Returns how many have ended.
    pub(super) fn ended(&self) -> u64 {
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
    pub(super) fn group(self) -> Group {
        match self {
            Self::Succeeded => Group::Succeeded,
            Self::Retrying
            | Self::Failed
            | Self::Panicked
            | Self::TimedOut
            | Self::QueueFailed
            | Self::Abandoned => Group::Failed,
            Self::Skipped | Self::Cancelled | Self::Shed | Self::Queued => Group::Other,
        }
    }
}

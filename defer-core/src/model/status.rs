//! The status of a job.

use std::fmt;

use super::{id::JobId, progress::Progress};

/// The status of a job: how far it has come, or how it ended.
///
/// `Display` writes a single word, such as `running`, without the error or the progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobStatus {
    /// It waits: for its response to be over, for its turn, for a delay, or for its next attempt.
    Pending,
    /// An attempt runs.
    Running,
    /// An attempt runs, and has reported its progress.
    #[non_exhaustive]
    InProgress {
        /// The last reported progress.
        progress: Progress,
    },
    /// It has succeeded.
    Succeeded,
    /// It has failed permanently.
    #[non_exhaustive]
    Failed {
        /// The error of its last attempt, truncated to [`JobStatus::MAX_ERROR`] bytes. It may contain details that clients must
        /// not see.
        error: String,
    },
    /// Its condition was false.
    Skipped,
    /// It was cancelled or replaced.
    Cancelled,
    /// It was dropped because another job with its unique key was pending or has taken its place, or because one had just started.
    #[non_exhaustive]
    Duplicate {
        /// The other job. In a chain of replacements, this is the last one.
        of: JobId,
    },
    /// It was dropped because the runner was full.
    Shed,
    /// It went to the queue and continues there. [`Runner::status`](crate::Runner::status) asks the queue, and returns this
    /// only if the queue has no answer.
    Queued,
    /// It was stopped before it ended.
    Abandoned,
}

impl JobStatus {
    /// The maximum length of a kept error, in bytes.
    pub const MAX_ERROR: usize = 1024;

    /// Creates the status of a job that has failed.
    pub fn failed(error: &str) -> Self {
        let longest = error.len().min(Self::MAX_ERROR);
        let cut = (0..=longest).rev().find(|at| error.is_char_boundary(*at)).unwrap_or_default();
        Self::Failed { error: error[..cut].to_owned() }
    }

    /// Creates the status of a duplicate of this job.
    pub fn duplicate(of: JobId) -> Self {
        Self::Duplicate { of }
    }

    /// Creates the status of a running job that has reported this progress.
    pub fn in_progress(progress: Progress) -> Self {
        Self::InProgress { progress }
    }

    /// Returns whether the job has ended. A job that went to the queue has not: it continues there.
    pub fn is_final(&self) -> bool {
        self.ends_here() && *self != Self::Queued
    }

    /// Returns whether nothing more happens to the job in this process, unless it comes back from the queue.
    pub(crate) fn ends_here(&self) -> bool {
        !matches!(self, Self::Pending | Self::Running | Self::InProgress { .. })
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Running | Self::InProgress { .. } => "running",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Duplicate { .. } => "duplicate",
            Self::Shed => "shed",
            Self::Queued => "queued",
            Self::Abandoned => "abandoned",
        })
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

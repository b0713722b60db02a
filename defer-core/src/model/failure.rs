//! The failure of an attempt.

use std::time::Duration;

use super::error::JobError;

/// How an attempt failed.
pub(crate) enum Failure {
    /// It returned an error.
    Returned(JobError),
    Panicked(JobError),
    TimedOut(JobError),
}

impl Failure {
    /// Returns whether the job only asked to be run again later.
    pub(crate) fn is_snooze(&self) -> bool {
        matches!(self, Self::Returned(error) if error.is_snooze())
    }

    /// Returns the wait before another attempt, if the job has set one.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.error().next_attempt()
    }

    /// Returns a name for its kind of failure.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Returned(_) => "failed",
            Self::Panicked(_) => "panicked",
            Self::TimedOut(_) => "timed_out",
        }
    }

    pub(crate) fn error(&self) -> &JobError {
        match self {
            Self::Returned(error) | Self::Panicked(error) | Self::TimedOut(error) => error,
        }
    }

    pub(crate) fn into_error(self) -> JobError {
        match self {
            Self::Returned(error) | Self::Panicked(error) | Self::TimedOut(error) => error,
        }
    }
}

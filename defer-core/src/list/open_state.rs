//! The state of a job that has not ended.

use std::time::Duration;

use crate::model::job_type::JobRef;

/// The state of a job that has not ended, as its list knows it.
pub(crate) struct Standing {
    pub(crate) job: JobRef,
    /// How many attempts it may have.
    pub(crate) tries: u32,
    pub(crate) state: OpenState,
}

/// What a job that has not ended waits for.
///
/// Times are known if a hook wants to hear of events, or with the feature `metrics`: nothing notes them otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenState {
    /// Its response is not over.
    Response,
    /// It is ready, and waits for its turn.
    #[non_exhaustive]
    Ready {
        /// For how long.
        waited: Option<Duration>,
    },
    /// It is not due.
    #[non_exhaustive]
    Delayed {
        /// How long until it is.
        due_in: Duration,
    },
    /// It is between two attempts.
    #[non_exhaustive]
    Retrying {
        /// How long until the next.
        due_in: Duration,
    },
    /// An attempt runs.
    #[non_exhaustive]
    Running {
        /// For how long.
        elapsed: Option<Duration>,
    },
    /// The queue is being asked to take it.
    Pushing,
}

impl OpenState {
    /// Returns how long until the job is due, if it is not.
    pub fn due_in(self) -> Option<Duration> {
        match self {
            Self::Delayed { due_in } | Self::Retrying { due_in } => Some(due_in),
            _ => None,
        }
    }
}

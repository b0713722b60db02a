//! What a runner does now.

use std::time::Duration;

use crate::id::JobId;

/// How much of its bounds a runner uses, and whether it shuts down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// Jobs in an attempt.
    pub running: usize,
    /// How many may be.
    pub max_running: usize,
    /// Jobs that take room because they wait: those of responses that are over, and those between two attempts. Delayed jobs
    /// take none.
    pub waiting: usize,
    /// How many there is room for.
    pub max_pending: usize,
    /// Responses that are held back until there is room for their jobs.
    pub held_responses: usize,
    /// A shutdown was announced, or has begun.
    pub is_closing: bool,
}

/// A job that runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job's id.
    pub id: JobId,
    /// The job's name.
    pub name: &'static str,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// For how long it has run. `None` if nothing noted when it started: the runner has neither a hook nor the feature
    /// `metrics`, or got its first hook later.
    pub elapsed: Option<Duration>,
    /// The request that deferred it, by its method and its route's pattern, such as `POST /signup`.
    pub route: Option<String>,
}

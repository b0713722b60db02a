//! The load of a runner.

/// The usage of a runner's limits, and whether it is shutting down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// Number of running jobs.
    pub running: usize,
    /// The maximum number of running jobs.
    pub max_running: usize,
    /// Number of waiting jobs: those whose response is over and that have not started, and those in the backoff between two
    /// attempts. Delayed and snoozed jobs do not count, nor do jobs that wait after `retry_after`.
    pub waiting: usize,
    /// The maximum number of waiting jobs.
    pub max_pending: usize,
    /// Number of responses that are held until there is room for their jobs.
    pub held_responses: usize,
    /// A shutdown was announced, or has begun.
    pub shutdown_announced: bool,
}

//! How much of its bounds a runner uses.

/// How much of its bounds a runner uses, and whether it shuts down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// Jobs in an attempt.
    pub running: usize,
    /// How many may be.
    pub max_running: usize,
    /// Jobs that take room because they wait: those of responses that are over, and those in the backoff between two attempts.
    /// Delayed jobs take none, nor do those that said when their next attempt follows.
    pub waiting: usize,
    /// How many there is room for.
    pub max_pending: usize,
    /// Responses that are held back until there is room for their jobs.
    pub held_responses: usize,
    /// A shutdown was announced, or has begun.
    pub shutdown_announced: bool,
}

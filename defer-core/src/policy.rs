//! How jobs of one type are run: how many attempts, how long each may take, and after which responses.

use std::time::Duration;

/// How the jobs of one type are run, as the attributes of `#[derive(Deferrable)]` set it.
///
/// The default is one attempt, no timeout, after any response, on the runtime's worker threads.
///
/// ```
/// use defer_core::Policy;
/// use std::time::Duration;
///
/// const POLICY: Policy = Policy::new()
///     .with_tries(3)
///     .with_backoff(Duration::from_millis(500), Duration::from_secs(30))
///     .with_timeout(Duration::from_secs(10));
/// assert_eq!(POLICY.tries(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    tries: u32,
    backoff: (Duration, Duration),
    timeout: Option<Duration>,
    on: On,
    blocking: bool,
    queue: bool,
}

/// After which responses a job runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum On {
    /// After any response.
    #[default]
    Always,
    /// After a response that [is a success](crate::ResponseInfo::is_success).
    Success,
}

impl Policy {
    /// Creates the policy of a job type without attributes.
    pub const fn new() -> Self {
        Self {
            tries: 1,
            backoff: (Duration::from_millis(500), Duration::from_secs(30)),
            timeout: None,
            on: On::Always,
            blocking: false,
            queue: false,
        }
    }

    /// Sets the number of attempts in all; 0 counts as 1.
    #[must_use]
    pub const fn with_tries(mut self, tries: u32) -> Self {
        self.tries = if tries == 0 { 1 } else { tries };
        self
    }

    /// Sets the shortest and the longest wait before another attempt (500 ms and 30 s by default). The wait doubles
    /// from one to the other, with jitter.
    #[must_use]
    pub const fn with_backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = (min, max);
        self
    }

    /// Sets how long one attempt may take. An attempt that takes longer is dropped and counts as failed.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets after which responses a job runs.
    #[must_use]
    pub const fn with_on(mut self, on: On) -> Self {
        self.on = on;
        self
    }

    /// Runs the job on Tokio's blocking pool, where it may block its thread. Nothing can stop it while it blocks: at its
    /// timeout and at the end of a shutdown it is left behind, and dropped at its next `.await`.
    #[must_use]
    pub const fn with_blocking(mut self) -> Self {
        self.blocking = true;
        self
    }

    /// Pushes the job to the runner's queue, if it has one. The job then runs wherever a worker takes it. Without a
    /// queue, it runs in this process.
    #[must_use]
    pub const fn with_queue(mut self) -> Self {
        self.queue = true;
        self
    }

    /// Returns the number of attempts in all, at least 1.
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Returns the shortest and the longest wait before another attempt.
    pub const fn backoff(&self) -> (Duration, Duration) {
        self.backoff
    }

    /// Returns how long one attempt may take.
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns after which responses a job runs.
    pub const fn on(&self) -> On {
        self.on
    }

    /// Returns whether the job runs on Tokio's blocking pool.
    pub const fn is_blocking(&self) -> bool {
        self.blocking
    }

    /// Returns whether the job is pushed to the runner's queue.
    pub const fn is_queued(&self) -> bool {
        self.queue
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

//! How a job type is run: how often it is tried, how long it may take, and after which responses.

use std::time::Duration;

/// How the jobs of one type are run; what the attributes of `#[derive(Deferrable)]` set.
///
/// The default is one try, no time limit, after any response, on the runtime's worker threads.
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
    /// Whatever became of the response.
    #[default]
    Always,
    /// If [`ResponseInfo::is_success`](crate::ResponseInfo::is_success).
    Success,
}

impl Policy {
    /// The policy of a job type without attributes.
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

    /// How often a job is tried in all; 0 counts as 1.
    #[must_use]
    pub const fn with_tries(mut self, tries: u32) -> Self {
        self.tries = if tries == 0 { 1 } else { tries };
        self
    }

    /// The shortest and the longest wait before another try (500 ms and 30 s unless set). The wait doubles from
    /// one to the other, with jitter.
    #[must_use]
    pub const fn with_backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = (min, max);
        self
    }

    /// How long one attempt may take. One that takes longer is dropped and counts as failed.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// After which responses a job runs.
    #[must_use]
    pub const fn with_on(mut self, on: On) -> Self {
        self.on = on;
        self
    }

    /// Runs the job on Tokio's blocking pool, where it may block its thread. While it does, nothing stops it: at its
    /// timeout and at the end of a shutdown it is left behind, and dropped at its next `.await`.
    #[must_use]
    pub const fn with_blocking(mut self) -> Self {
        self.blocking = true;
        self
    }

    /// Pushes the job to the runner's queue, if it has one.
    #[must_use]
    pub const fn with_queue(mut self) -> Self {
        self.queue = true;
        self
    }

    /// How often a job is tried in all, at least 1.
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// The shortest and the longest wait before another try.
    pub const fn backoff(&self) -> (Duration, Duration) {
        self.backoff
    }

    /// How long one attempt may take.
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// After which responses a job runs.
    pub const fn on(&self) -> On {
        self.on
    }

    /// Whether the job runs on Tokio's blocking pool.
    pub const fn is_blocking(&self) -> bool {
        self.blocking
    }

    /// Whether the job is pushed to the runner's queue.
    pub const fn is_queued(&self) -> bool {
        self.queue
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

//! How jobs of one type are run: their attempts, timeout, condition and limits.

use std::{num::NonZeroU32, time::Duration};

/// How the jobs of one type are run. The attributes of `#[derive(Deferrable)]` set it.
///
/// By default, a job gets one attempt without a timeout, after any response, on the runtime's worker threads.
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
    max_running: Option<NonZeroU32>,
    flags: Flags,
    blocking: bool,
    queue: bool,
    runs_at_shutdown: bool,
    priority: i16,
}

/// Rarely used properties, one bit each, so that a single test rules out all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flags(u16);

impl Flags {
    /// It only runs after a success.
    pub(crate) const SUCCESS: Self = Self(1);
    /// It only runs if a predicate is true.
    pub(crate) const WHEN: Self = Self(1 << 1);
    /// It waits for earlier jobs with the same serial key.
    pub(crate) const SERIAL: Self = Self(1 << 2);
    /// The number of running jobs of its type is limited.
    pub(crate) const LIMIT: Self = Self(1 << 3);
    /// It does not start before a certain time.
    pub(crate) const DELAY: Self = Self(1 << 4);
    /// It still has to be pushed to the queue.
    pub(crate) const PUSH: Self = Self(1 << 5);
    /// Middleware or the watchdog wraps its attempts.
    pub(crate) const WRAPPED: Self = Self(1 << 6);
    /// It runs concurrently with its line.
    pub(crate) const CONCURRENT: Self = Self(1 << 7);
    /// It is dropped if another with its key is pending or has just started.
    pub(crate) const UNIQUE: Self = Self(1 << 8);
    /// It has a task of its own.
    pub(crate) const DETACHED: Self = Self(1 << 9);
    /// It has queued for its turn among others, or is about to. Its key and its delay can no longer change.
    pub(crate) const IN_TURN: Self = Self(1 << 10);
    /// Others were dropped as its duplicates, so it has to run.
    pub(crate) const PINNED: Self = Self(1 << 11);
    /// Its last attempt has failed, and `Job::failed` has been or is being called.
    pub(crate) const GIVEN_UP: Self = Self(1 << 12);
    /// A queue has stored it, and it runs here under a lease.
    pub(crate) const LEASED: Self = Self(1 << 13);
    /// A job with a lease deferred it, so it is stored with the end of that job.
    pub(crate) const CHILD: Self = Self(1 << 14);
    /// The job was cancelled, so its running attempt has to stop.
    pub(crate) const CANCELLED: Self = Self(1 << 15);

    pub(crate) const NONE: Self = Self(0);
    pub(crate) const CONDITION: Self = Self::SUCCESS.with(Self::WHEN);
    pub(crate) const SLOTS: Self = Self::SERIAL.with(Self::LIMIT);
    /// The properties that make a job take the detour.
    pub(crate) const DETOUR: Self = Self::CONDITION
        .with(Self::SLOTS)
        .with(Self::DELAY)
        .with(Self::PUSH)
        .with(Self::WRAPPED)
        .with(Self::UNIQUE)
        .with(Self::LEASED);

    pub(crate) const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Returns whether it has any of these properties.
    pub(crate) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }
}

/// The responses after which a job runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// After any response.
    #[default]
    Always,
    /// After a response that [is a success](crate::ResponseInfo::is_success).
    Success,
    /// After a response that the predicate of [`Deferred::when`](crate::Deferred::when) accepts.
    When,
}

impl Policy {
    /// Creates the policy of a job type without attributes.
    pub const fn new() -> Self {
        Self {
            tries: 1,
            backoff: (Duration::from_millis(500), Duration::from_secs(30)),
            timeout: None,
            max_running: None,
            flags: Flags::NONE,
            blocking: false,
            queue: false,
            runs_at_shutdown: false,
            priority: 0,
        }
    }

    /// Sets the maximum number of attempts, including the first; 0 counts as 1.
    #[must_use]
    pub const fn with_tries(mut self, tries: u32) -> Self {
        self.tries = if tries == 0 { 1 } else { tries };
        self
    }

    /// Sets the minimum and the maximum wait before another attempt (500 ms and 30 s by default). The wait doubles from the
    /// minimum to the maximum, with jitter.
    #[must_use]
    pub const fn with_backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = (min, max);
        self
    }

    /// Sets the timeout of an attempt. An attempt that takes longer is dropped and counts as failed.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs a job only after a response that [is a success](crate::ResponseInfo::is_success).
    #[must_use]
    pub const fn with_on_success(mut self) -> Self {
        self.flags = self.flags.with(Flags::SUCCESS);
        self
    }

    /// Sets how many jobs of the type may run at the same time on a runner; 0 counts as 1. Further jobs wait in the line of
    /// their request, first come, first served. A job between two attempts does not count as running.
    ///
    /// The limit is keyed by job name: two types with the same name share the limit of the first that runs. For durable jobs,
    /// the limit applies to each worker's runner, not to all processes together. A blocking job that has timed out counts until
    /// its thread returns.
    #[must_use]
    pub const fn with_max_running(mut self, jobs: u32) -> Self {
        self.max_running = Some(match NonZeroU32::new(jobs) {
            Some(jobs) => jobs,
            None => NonZeroU32::MIN,
        });
        self.flags = self.flags.with(Flags::LIMIT);
        self
    }

    /// Runs the job concurrently with the request's other jobs, as soon as their response is over. From then on, its handle can
    /// cancel it until it starts, but not change it, even if it still waits for `max_running`. Jobs that go through a queue always
    /// run on their own.
    #[must_use]
    pub const fn with_concurrent(mut self) -> Self {
        self.flags = self.flags.with(Flags::CONCURRENT);
        self
    }

    /// Runs the job on Tokio's blocking pool, where it may block its thread. Nothing can stop it while it blocks: at its
    /// timeout, and at the end of a shutdown, it is left behind, and dropped at its next `.await`.
    #[must_use]
    pub const fn with_blocking(mut self) -> Self {
        self.blocking = true;
        self
    }

    /// Makes the job durable, if the runner has a [queue](crate::RunnerBuilder::queue): it is stored before the response goes
    /// out, and survives a crash. On a runner without a queue it runs in memory, and a warning, once for each type, says that
    /// it is not durable.
    #[must_use]
    pub const fn with_queue(mut self) -> Self {
        self.queue = true;
        self
    }

    /// Sets the priority among the due jobs of a queue: workers take jobs with a higher priority first. The default is 0. A job
    /// that runs in the process that deferred it keeps its place in its request's line.
    #[must_use]
    pub const fn with_priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Runs a [delayed](crate::Deferred::delay) job as soon as the runner begins to drain for a shutdown, even if it is not
    /// due. Use it for jobs that may run early but should not keep a shutdown waiting. Without it, a shutdown waits for the
    /// job, and reports it as unfinished if it is not due by the deadline. The wait before another attempt is not cut short,
    /// and a durable job waits in its queue.
    #[must_use]
    pub const fn with_run_at_shutdown(mut self) -> Self {
        self.runs_at_shutdown = true;
        self
    }

    /// Returns the maximum number of attempts, including the first. At least 1.
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Returns the minimum and the maximum wait before another attempt.
    pub const fn backoff(&self) -> (Duration, Duration) {
        self.backoff
    }

    /// Returns the timeout of an attempt.
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns after which responses a job runs: [`Always`](Condition::Always) or [`Success`](Condition::Success).
    pub const fn condition(&self) -> Condition {
        if self.flags.has(Flags::SUCCESS) { Condition::Success } else { Condition::Always }
    }

    /// Returns how many jobs of the type may run at the same time on a runner, if that is limited.
    pub const fn max_running(&self) -> Option<NonZeroU32> {
        self.max_running
    }

    /// Returns whether the job runs concurrently with the others of its request.
    pub const fn is_concurrent(&self) -> bool {
        self.flags.has(Flags::CONCURRENT)
    }

    pub(crate) const fn flags(&self) -> Flags {
        self.flags
    }

    /// Returns whether the job runs on Tokio's blocking pool.
    pub const fn is_blocking(&self) -> bool {
        self.blocking
    }

    /// Returns whether the job is durable on a runner with a queue.
    pub const fn is_queued(&self) -> bool {
        self.queue
    }

    /// Returns whether a delayed job runs at the beginning of a shutdown, even if it is not due.
    pub const fn runs_at_shutdown(&self) -> bool {
        self.runs_at_shutdown
    }

    /// Returns the priority among the jobs of a queue.
    pub const fn priority(&self) -> i16 {
        self.priority
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

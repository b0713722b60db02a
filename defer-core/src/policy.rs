//! How jobs of one type are run: how many attempts, how long each may take, after which responses, and beside how many others.

use std::{fmt, num::NonZeroU32, time::Duration};

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
    max_running: Option<NonZeroU32>,
    gates: Gates,
    blocking: bool,
    queue: bool,
}

/// What a job has to pass before it starts, and what is to be done with it when its response is over: a bit for each, so that
/// one look tells that there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Gates(u8);

impl Gates {
    /// Its response has to be a success.
    pub(crate) const SUCCESS: Self = Self(1);
    /// A predicate has to be true.
    pub(crate) const WHEN: Self = Self(1 << 1);
    pub(crate) const CONDITION: Self = Self::SUCCESS.with(Self::WHEN);
    /// It is its turn among the jobs with its key.
    pub(crate) const SERIAL: Self = Self(1 << 2);
    /// No more than so many of its type run.
    pub(crate) const LIMIT: Self = Self(1 << 3);
    pub(crate) const LANES: Self = Self::SERIAL.with(Self::LIMIT);
    pub(crate) const START: Self = Self::CONDITION.with(Self::LANES);
    /// It leaves the line.
    pub(crate) const BESIDE: Self = Self(1 << 4);
    pub(crate) const DELAY: Self = Self(1 << 5);
    /// It is left out while another with its key waits.
    pub(crate) const UNIQUE: Self = Self(1 << 6);

    pub(crate) const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Returns whether it has any of these.
    pub(crate) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }
}

/// What is the same for all jobs of a type: one pointer to it says which type a job is of.
pub(crate) struct JobType {
    /// A function, because the name of a closure is not known to a constant.
    name: fn() -> &'static str,
    policy: Policy,
}

impl JobType {
    pub(crate) const fn new(name: fn() -> &'static str, policy: Policy) -> Self {
        Self { name, policy }
    }

    pub(crate) fn name(&self) -> &'static str {
        (self.name)()
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl fmt::Debug for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobType").field(&self.name()).finish()
    }
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
            max_running: None,
            gates: Gates(0),
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
        self.gates = match on {
            On::Always => self.gates.without(Gates::SUCCESS),
            On::Success => self.gates.with(Gates::SUCCESS),
        };
        self
    }

    /// Sets how many jobs of the type may run at the same time on a runner; 0 counts as 1. Another waits in its request's
    /// line until one of them has ended, first come, first served. One that is between two attempts does not run.
    ///
    /// It is known by its name: two types with the same name share the limit of the first that runs. On a queue it holds for
    /// each worker's runner, not for all of them together. A blocking job that has timed out no longer counts, though it may
    /// still be on its thread.
    #[must_use]
    pub const fn with_max_running(mut self, jobs: u32) -> Self {
        self.max_running = Some(match NonZeroU32::new(jobs) {
            Some(jobs) => jobs,
            None => NonZeroU32::MIN,
        });
        self.gates = self.gates.with(Gates::LIMIT);
        self
    }

    /// Lets the job leave its request's line: it runs beside the others, as soon as their response is over. From then on it can be
    /// neither changed nor cancelled, though it may wait for `max_running`. Deferred by a job it leaves at once. On a queue every
    /// job does.
    #[must_use]
    pub const fn with_concurrent(mut self) -> Self {
        self.gates = self.gates.with(Gates::BESIDE);
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
        if self.gates.has(Gates::SUCCESS) { On::Success } else { On::Always }
    }

    /// Returns how many jobs of the type may run at the same time on a runner, if that is limited.
    pub const fn max_running(&self) -> Option<NonZeroU32> {
        self.max_running
    }

    /// Returns whether the job runs beside the others of its request.
    pub const fn is_concurrent(&self) -> bool {
        self.gates.has(Gates::BESIDE)
    }

    pub(crate) const fn gates(&self) -> Gates {
        self.gates
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

//! A job type, and a reference to one of its jobs.

use std::fmt;

use super::{id::JobId, policy::Policy};

/// The properties that all jobs of a type share. A job identifies its type by a pointer to this.
pub(crate) struct JobType {
    /// A function, because a constant cannot contain the name of a closure.
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

/// One job, in one of its attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobRef {
    kind: &'static JobType,
    pub(crate) id: JobId,
    /// The attempt, counted from 1; 0 before the first.
    pub(crate) attempt: u32,
    /// Whether its events are logged inside the attempt's span, which has the fields above.
    pub(crate) in_span: bool,
}

impl JobRef {
    #[inline]
    pub(crate) fn new(kind: &'static JobType, id: JobId, attempt: u32) -> Self {
        Self { kind, id, attempt, in_span: false }
    }

    /// Returns the same job, for events that are logged inside its span, or outside any span.
    pub(crate) fn in_span(self, in_span: bool) -> Self {
        Self { in_span, ..self }
    }

    pub(crate) fn name(self) -> &'static str {
        self.kind.name()
    }

    pub(crate) fn policy(self) -> &'static Policy {
        self.kind.policy()
    }
}

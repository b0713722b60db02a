//! The clock that measures the age of an answer.

use std::time::Instant;

/// A monotonic clock. Not Tokio's: that of a user's runtime may be paused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(fn() -> Instant);

impl Clock {
    pub(crate) const SYSTEM: Self = Self(Instant::now);

    /// The clock of the runtime that asks, which a test pauses.
    #[cfg(test)]
    pub(crate) const TOKIO: Self = Self(|| tokio::time::Instant::now().into_std());

    pub(super) fn now(self) -> Instant {
        (self.0)()
    }
}

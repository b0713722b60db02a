//! The clock that measures how old an answer is.

use std::time::Instant;

/// A monotonic clock. Not Tokio's, because a user may pause that of their runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(fn() -> Instant);

impl Clock {
    pub(crate) const SYSTEM: Self = Self(Instant::now);

    /// The clock of the calling runtime, which a test can pause.
    #[cfg(test)]
    pub(crate) const TOKIO: Self = Self(|| tokio::time::Instant::now().into_std());

    pub(super) fn now(self) -> Instant {
        (self.0)()
    }
}

//! Panics in the drop of what is the user's.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops something of the user's, whose `Drop` may panic.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        tracing::error!(target: "defer", "a job, or what it held, panicked while it was dropped");
        // The payload's own `Drop` may panic too, and there is no end to that.
        std::mem::forget(panic);
    }
}

//! Panics in `Drop`.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops a value that holds user code, and logs a panic in its `Drop`.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        tracing::error!(target: "defer", "a job, or a value it held, panicked while it was dropped");
        // The payload's own `Drop` may panic too, and so may that panic's payload.
        std::mem::forget(panic);
    }
}

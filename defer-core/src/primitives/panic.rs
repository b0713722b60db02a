//! Panics in user code.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops a value that holds user code, and logs a panic in its `Drop`.
pub(crate) fn drop_quietly<T>(value: T) {
    let mut value = Some(value);
    quietly(&mut || drop(value.take()));
}

/// Drops a value as [`drop_quietly`] does, if there is one.
#[inline]
pub(crate) fn drop_some<T>(value: Option<T>) {
    if value.is_some() {
        drop_quietly(value);
    }
}

/// Calls what drops user code, and logs a panic there. Not generic, because every job type needs it.
#[inline(never)]
pub(crate) fn quietly(drops: &mut dyn FnMut()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(drops)) {
        tracing::error!(target: "defer", "a job, or a value it held, panicked while it was dropped");
        // The payload's own `Drop` may panic too, and so may that panic's payload.
        std::mem::forget(panic);
    }
}

//! Panics in user code.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

thread_local! {
    /// The place of the last panic of a job on this thread, until it is taken.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Records where the thread panics, for the code that catches the panic.
pub(crate) fn note_place(place: Option<String>) {
    // When the thread is ending, the place is no longer needed.
    let _ = PLACE.try_with(|noted| noted.set(place));
}

/// Returns the place of the panic that was just caught, as file, line and column, if known.
pub(crate) fn take_place() -> Option<String> {
    PLACE.try_with(Cell::take).ok().flatten()
}

/// A caught panic, to resume in another thread.
pub(crate) struct Panicked {
    panic: Box<dyn Any + Send>,
    place: Option<String>,
}

impl Panicked {
    /// Wraps a panic that was just caught.
    pub(crate) fn new(panic: Box<dyn Any + Send>) -> Self {
        Self { panic, place: take_place() }
    }

    /// Resumes the panic in this thread.
    pub(crate) fn resume(self) -> ! {
        note_place(self.place);
        resume_unwind(self.panic)
    }
}

/// Drops a value that holds user code, and logs a panic in its `Drop`.
pub(crate) fn drop_quietly<T>(value: T) {
    let mut value = Some(value);
    quietly(&mut || drop(value.take()));
}

/// Drops a value like [`drop_quietly`], if there is one.
#[inline]
pub(crate) fn drop_some<T>(value: Option<T>) {
    if value.is_some() {
        drop_quietly(value);
    }
}

/// Calls a function that drops user code, and logs a panic in it. Not generic, because every job type needs it.
#[inline(never)]
pub(crate) fn quietly(drops: &mut dyn FnMut()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(drops)) {
        tracing::error!(target: "defer", "a job, or a value it held, panicked while it was dropped");
        // The payload's own `Drop` may panic too, and so may that panic's payload.
        std::mem::forget(panic);
    }
}

//! Panics in user code.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

thread_local! {
    /// Where the last panic of a job on this thread was, if nobody has asked.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Notes where the thread panics, for the code that catches the panic.
pub(crate) fn note_place(place: Option<String>) {
    // At the end of the thread nobody reads it.
    let _ = PLACE.try_with(|noted| noted.set(place));
}

/// Returns where the panic was that was just caught, as file, line and column, if that is known.
pub(crate) fn take_place() -> Option<String> {
    PLACE.try_with(Cell::take).ok().flatten()
}

/// A panic that was caught, to go on in another thread.
pub(crate) struct Panicked {
    panic: Box<dyn Any + Send>,
    place: Option<String>,
}

impl Panicked {
    /// Creates it of a panic that was just caught.
    pub(crate) fn new(panic: Box<dyn Any + Send>) -> Self {
        Self { panic, place: take_place() }
    }

    /// Lets this thread panic with it.
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

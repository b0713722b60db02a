//! The primitives under the hand-written concurrency: those of `std` and Tokio here, those of `loom` in `tests/loom`, which
//! compiles the same sources against its own module of this name.

use std::sync::{MutexGuard, PoisonError};

pub(crate) use std::sync::{Mutex, atomic};
pub(crate) use tokio::sync::{Notify, oneshot};

/// Locks a mutex, poisoned or not.
///
/// No user code runs under these mutexes, so what they guard is consistent even after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

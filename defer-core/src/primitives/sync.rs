//! The primitives of the hand-written concurrency. Here they come from `std` and Tokio. `tests/loom` compiles the same sources
//! with its own module of this name, which has those of `loom`.

use std::sync::{MutexGuard, PoisonError};

pub(crate) use std::sync::{Mutex, atomic};
pub(crate) use tokio::sync::{Notify, oneshot};

/// Locks a mutex, poisoned or not.
///
/// No user code runs under these mutexes, so their data is consistent even after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The primitives that hand-written concurrency is built on: `std`'s and Tokio's here, `loom`'s in `tests/loom`,
//! which compiles the same sources against its own module of this name.

use std::sync::{MutexGuard, PoisonError};

pub(crate) use std::sync::{Mutex, atomic};
pub(crate) use tokio::sync::{Notify, oneshot};

/// Locks a mutex that may be poisoned.
///
/// What these mutexes guard is whole wherever user code could panic, because none runs under them: a poisoned one
/// is as good as another.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Additions to the standard library and Tokio.
//!
//! | file | hides |
//! |---|---|
//! | `sync` | which library the locks and atomics come from, and poisoning |
//! | `panic` | that user code may panic wherever it is called or dropped |
//! | `timestamp` | how an instant fits into eight bytes |
//! | `timer` | that a runtime may have no timer |

pub(crate) mod panic;
pub(crate) mod sync;
pub(crate) mod timer;
pub(crate) mod timestamp;

use std::{future::Future, pin::Pin};

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

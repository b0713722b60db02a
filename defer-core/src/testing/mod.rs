//! Tests what was deferred. Requires the feature `testing`.
//!
//! [`Recorder`] keeps jobs instead of running them, asserts what was deferred, and runs it when the test wants.

mod assert;
mod recorder;
mod run;

pub use self::recorder::Recorder;
pub use crate::run::recorded::Recorded;

//! Tests what was deferred. Requires the feature `testing`.

mod assert;
mod recorder;
mod run;

pub use self::recorder::Recorder;
pub use crate::list::{JobCondition, Recorded};

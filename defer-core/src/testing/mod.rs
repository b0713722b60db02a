//! Test what was deferred. Requires the feature `testing`.
//!
//! [`Recorder`] keeps jobs instead of running them, asserts what was deferred, and runs the jobs on request. [`TestQueue`]
//! keeps durable jobs in memory. [`check_queue`] checks your own [queue](crate::queue::Queue).

mod assert;
mod conformance;
mod queue;
mod recorder;
mod run;

pub use self::{
    conformance::{Note, Place, Retried, check_queue},
    queue::{TestQueue, TestWorker, Written},
    recorder::Recorder,
};
pub use crate::run::recorded::Recorded;

#[doc(hidden)]
pub use self::queue::Fault;

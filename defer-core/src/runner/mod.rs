//! The runner: how it is built, used and shut down.
//!
//! | file | hides |
//! |---|---|
//! | `runner` | where the runner's parts are |
//! | `watch` | whether a watched job is here or on the queue |
//! | `cancel` | where a job is, to cancel it |
//! | `open` | where the jobs are that have not ended |
//! | `load` | nothing: the usage of a runner's limits |
//! | `builder` | what a runner consists of |
//! | `shutdown` | how a shutdown waits, stops and hands over |
//! | `resume` | how a job from a queue becomes one of a list |
//! | `worker` | the interface to a queue's worker, for a server |
//! | `metrics` | which gauges there are |
//! | `queue_gauges` | when a queue is asked for them |

mod builder;
mod cancel;
mod load;
#[cfg(feature = "metrics")]
pub mod metrics;
mod open;
#[cfg(feature = "metrics")]
mod queue_gauges;
mod resume;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod runner;
mod shutdown;
mod watch;
mod worker;

pub use self::{
    builder::RunnerBuilder,
    load::Load,
    resume::{Ran, Resume, Resumed},
    runner::Runner,
    shutdown::{ShutdownReport, UnfinishedJob},
    worker::RunWorker,
};

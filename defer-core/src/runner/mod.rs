//! The runner: what all lists of jobs share, and the shutdown.
//!
//! | file | hides |
//! |---|---|
//! | `runner` | where the shared parts are, and which lists exist |
//! | `shutdown` | how a shutdown waits, stops and hands over |
//! | `usher` | how held responses are let through a few at a time |
//! | `jobs` | what a list is |
//! | `load` | nothing: what a runner does now |
//! | `semaphore` | which list gets the next of `max_running` permits |
//! | `capacity` | which jobs find room among `max_pending` |
//! | `lanes` | which jobs with the same key, or of a type with a limit, have their turn |
//! | `uniques` | which job the others with its key are left out for |
//! | `backoff` | how long the wait before another attempt is |

pub(crate) mod backoff;
pub(crate) mod capacity;
pub(crate) mod jobs;
pub(crate) mod lanes;
mod load;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod runner;
pub(crate) mod semaphore;
mod shutdown;
pub(crate) mod uniques;
mod usher;

pub(crate) use self::runner::Config;
pub use self::{
    load::{Load, RunningJob},
    runner::{Overflow, Runner},
    shutdown::{ShutdownReport, UnfinishedJob},
};

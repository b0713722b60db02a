//! Reports what happens to jobs.
//!
//! | file | has |
//! |---|---|
//! | `event` | what can happen to a job |
//! | `hooks` | who is told of it |
//! | `log`, `span`, `opentelemetry` | what `tracing` is told |
//! | `meter` | what the `metrics` facade is told |
//! | `stats` | how many jobs are pending and running, and how the others ended |
//! | `outcomes` | what became of each job |

pub(crate) mod event;
pub(crate) mod hooks;
pub(crate) mod log;
#[cfg(feature = "metrics")]
pub(crate) mod meter;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
pub(crate) mod outcomes;
pub(crate) mod span;
pub(crate) mod stats;

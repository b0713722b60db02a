//! Reports the events of jobs.
//!
//! | file | has |
//! |---|---|
//! | `event` | what can happen to a job |
//! | `hooks` | which hooks receive events |
//! | `log`, `span`, `opentelemetry` | which data `tracing` gets |
//! | `meter` | which data the `metrics` facade gets |
//! | `stats` | the counts of pending, running and ended jobs |
//! | `outcomes` | the status of each job |

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

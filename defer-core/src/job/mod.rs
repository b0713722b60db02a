//! Jobs as users write them, and how they are run.
//!
//! | file | hides |
//! |---|---|
//! | `context` | where a job's state, request and response come from |
//! | `job` | nothing: the traits of a job |
//! | `batch` | nothing: the trait of jobs that run together |
//! | `show` | whether a job is `Debug` |
//! | `stored` | what an error of reading a stored job may say |
//! | `work` | what kinds of jobs there are: on the runtime, shared, and closures |
//! | `blocking` | how a job gets onto the blocking pool |
//! | `middleware` | what is wrapped around an attempt |
//! | `watchdog` | how a job that blocks its thread is noticed |

pub(crate) mod batch;
mod blocking;
pub(crate) mod context;
#[allow(clippy::module_inception, reason = "the file of the trait")]
pub(crate) mod job;
pub(crate) mod middleware;
pub(crate) mod show;
pub(crate) mod stored;
pub(crate) mod watchdog;
pub(crate) mod work;

//! Runs the jobs of a list, from `defer` to their end.
//!
//! | file | hides |
//! |---|---|
//! | `segment`, `jobs` | the type of the jobs that lie side by side |
//! | `join` | how a job joins a list |
//! | `admit` | how long a response is held |
//! | `release` | what happens when a response is over |
//! | `worker` | the task that runs the jobs of a line |
//! | `start`, `attempt`, `finish` | an attempt, from its start to its end |
//! | `detour` | what may be in the way of an attempt |
//! | `batch` | how jobs of many requests run together |
//! | `member` | a job that does |
//! | `held` | what a job has of its runner's limits |
//! | `detached` | the task of a job that has one of its own |
//! | `backoff` | how long the wait before another attempt is |
//! | `push` | how jobs get to the queue |
//! | `stop` | how a shutdown stops jobs |
//! | `recorded` | what a recorder sees of jobs |

mod admit;
mod attempt;
mod backoff;
pub(crate) mod batch;
mod detached;
mod detour;
mod finish;
mod held;
mod jobs;
pub(crate) mod join;
mod member;
pub(crate) mod push;
#[cfg(feature = "testing")]
pub(crate) mod recorded;
mod release;
pub(crate) mod segment;
mod start;
pub(crate) mod stop;
mod worker;

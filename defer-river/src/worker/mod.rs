//! The worker, which lets River's client run jobs on a runner.
//!
//! | file | hides |
//! |---|---|
//! | `worker` | how River's client is set up, started and stopped |
//! | `attempt` | how River's attempt of a job becomes an attempt on a runner, and its end River's |
//! | `lease` | what a runner may do with a job that runs for River |

mod attempt;
mod lease;
// A folder and the file of its main type have one name, as in the other crates.
#[allow(clippy::module_inception, reason = "the file of the type")]
mod worker;

pub use self::worker::Worker;

//! A queue in memory.
//!
//! | file | hides |
//! |---|---|
//! | `table` | where jobs are, and what becomes of one |
//! | `queue` | nothing: what a test sees of it |
//! | `held` | how a runner's own jobs get into the table and out of it |
//! | `inspected` | how it is looked into |
//! | `worker` | who takes jobs that are due |

mod held;
mod inspected;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod queue;
mod table;
mod worker;

pub use self::{
    queue::{TestQueue, Written},
    table::Fault,
    worker::TestWorker,
};

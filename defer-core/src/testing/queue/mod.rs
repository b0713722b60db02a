//! A queue in memory.
//!
//! | file | hides |
//! |---|---|
//! | `table` | where jobs are stored, and how they change |
//! | `queue` | nothing: the part that a test uses |
//! | `held` | how a runner's own jobs enter and leave the table |
//! | `inspected` | how the queue is inspected |
//! | `worker` | how due jobs are taken and run |

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

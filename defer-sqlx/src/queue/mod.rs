//! The queue.
//!
//! | file | has |
//! |---|---|
//! | `queue` | the queue, and what it tells |
//! | `builder` | how it is set up and connected |
//! | `push` | how it is given jobs from outside of a request |
//! | `stored` | how its jobs are read back |

mod builder;
mod push;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod queue;
mod stored;

pub use self::{builder::SqlxQueueBuilder, queue::SqlxQueue, stored::StoredJob};

//! The queue.
//!
//! | file | has |
//! |---|---|
//! | `queue` | the queue, its counts and its operations |
//! | `browse` | inspecting single jobs, and the processes that have them |
//! | `inspect` | the implementation of `InspectQueue` |
//! | `builder` | how a queue is set up and connected |
//! | `push` | how jobs are stored from outside a request |
//! | `stored` | how stored jobs are read back |

mod browse;
mod builder;
mod inspect;
mod push;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod queue;
mod stored;

pub use self::{builder::SqlxQueueBuilder, queue::SqlxQueue, stored::StoredJob};

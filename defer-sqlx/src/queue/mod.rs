//! The queue.
//!
//! | file | has |
//! |---|---|
//! | `queue` | the queue, and what it tells |
//! | `browse` | looking at jobs one by one, and at the processes that have them |
//! | `inspect` | the queue, for those who can look into any queue |
//! | `builder` | how it is set up and connected |
//! | `push` | how it is given jobs from outside of a request |
//! | `stored` | how its jobs are read back |

mod browse;
mod builder;
mod inspect;
mod push;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod queue;
mod stored;

pub use self::{builder::SqlxQueueBuilder, queue::SqlxQueue, stored::StoredJob};

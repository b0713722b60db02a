//! The queue, as a user sees it.

mod builder;
mod inspect;
mod push;
// A folder and the file of its main type have one name, as in the other crates.
#[allow(clippy::module_inception, reason = "the file of the type")]
mod queue;
mod shown;

pub use self::{
    builder::RiverQueueBuilder,
    push::{Push, QueueTransaction},
    queue::RiverQueue,
};

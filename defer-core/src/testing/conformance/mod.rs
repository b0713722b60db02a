//! The conformance suite for queues.

mod bench;
mod holding;
mod inspecting;
mod jobs;
mod place;
mod pushing;
mod settling;
mod suite;

pub use self::{
    jobs::{Note, Retried},
    place::Place,
    suite::check_queue,
};

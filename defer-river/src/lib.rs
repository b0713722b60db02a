//! Durable jobs, worked by River.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, unused, unreachable_code, reason = "without a database there is no use of it")
)]

mod engine;
mod error;
mod queue;
mod store;
mod worker;

pub use riverqueue;
pub use sqlx;

pub use self::{
    error::Error,
    queue::{Push, QueueTransaction, RiverQueue, RiverQueueBuilder},
    worker::Worker,
};

//! Where a queue keeps its jobs: apalis' tables in SQLite or Postgres, or its keys in Redis.

mod interface;
mod job;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod task;

#[cfg(test)]
pub(crate) use self::interface::Stored;
pub(crate) use self::{
    interface::{HEARTBEAT, Store, answered},
    job::{Fate, Finished, NAME, Taken},
};

//! The database of a queue.
//!
//! | file | hides |
//! |---|---|
//! | `interface` | nothing: the engine's requests to a database |
//! | `connection` | how a transaction runs, and when a connection is closed |
//! | `state` | what the numbers in a row mean |
//! | `fill` | how free places are filled, where jobs are left out |
//! | `recovery` | the fate of a job whose holder is gone |
//! | `sqlite`, `postgres` | the statements |

mod connection;
mod fill;
mod interface;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod recovery;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
pub(crate) mod state;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::interface::{
    Beat, Cancelling, Change, ChangeKind, Changed, Failures, Holder, HolderId, HolderRow, JobRow, NewJob,
    Own, Replace, Store, StoreError, Stored, StoredEnd, StoredRow, Taken, Throttle,
};

//! Stores jobs from outside a request: by the queue, in the caller's transaction, or as a statement.
//!
//! | file | has |
//! |---|---|
//! | `builder` | what `push` and `push_in` return |
//! | `insert` | the statement and its values, for any client |
//! | `statements` | the statements' texts |
//! | `transaction` | what `push_in` accepts |
//! | `clients` | how each client executes the statement |

mod builder;
mod clients;
mod insert;
mod statements;
mod transaction;

pub use self::{
    builder::Push,
    insert::{Insert, Value},
    transaction::QueueTransaction,
};
pub(crate) use self::{builder::PushJobs, insert::Table, statements::Database};

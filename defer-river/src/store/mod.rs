//! River's tables, and the two of our own.
//!
//! | file | hides |
//! |---|---|
//! | `row` | how a job is written into `river_job` |
//! | `stored` | how it is read from there |
//! | `end` | how a job that this process holds changes |
//! | `interval` | how long a job waits |
//! | `operations` | what is done in one transaction |
//! | `database` | which database it is, and how its connections are opened |
//! | `statements` | which statements there are |
//! | `sqlite`, `postgres` | their text |

mod database;
mod end;
mod interval;
mod operations;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod stored;

pub(crate) use self::{
    database::{Connection, Database, Target, is_data},
    end::{Change, From, To},
    operations::{Changed, insert, insert_waiting, list, settle},
    row::{Row, payload, text, unique_key},
    stored::{Defer, Flag, Response, Stored},
};

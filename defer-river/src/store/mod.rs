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
//! | `refusal` | why a database does not do something |
//! | `statements` | which statements there are |
//! | `sqlite`, `postgres` | their text |

mod database;
mod end;
mod interval;
mod operations;
#[cfg(feature = "postgres")]
mod postgres;
mod refusal;
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod stored;

#[cfg(feature = "postgres")]
pub(crate) use self::postgres::STATEMENTS as POSTGRES;
#[cfg(feature = "sqlite")]
pub(crate) use self::sqlite::STATEMENTS as SQLITE;
pub(crate) use self::{
    database::{Connection, Database, Target},
    end::{Change, From, To},
    operations::{Changed, insert, insert_waiting, list, notify, settle},
    refusal::Refusal,
    row::{Row, payload, text, unique_key},
    statements::AT_ONCE,
    stored::{Defer, Flag, Response, Stored},
};

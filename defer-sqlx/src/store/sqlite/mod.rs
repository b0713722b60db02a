//! SQLite.
//!
//! | file | hides |
//! |---|---|
//! | `database` | how a connection is opened, and begins and ends a transaction |
//! | `migrate` | how the tables are created |
//! | `store` | which transaction runs on which connection |
//! | `write` | the statements that hold and change jobs |
//! | `at_once` | how these take one trip to the connection's thread |
//! | `push` | the statements that store jobs for any worker |
//! | `keys` | the statements about unique keys |
//! | `take` | the statements that find due jobs |
//! | `starts` | the statements about jobs whose starts are limited |
//! | `holders` | the statements about holders and recovery |
//! | `inspect` | the statements that read, and those that a person asks for |
//! | `browse` | the statements that list jobs, counts and holders |
//! | `failures` | the statements about groups of failed jobs |

mod at_once;
mod browse;
mod database;
mod failures;
mod holders;
mod inspect;
mod json;
mod keys;
mod migrate;
mod push;
mod starts;
mod store;
mod take;
mod write;

pub(crate) use self::store::Sqlite;

/// The current time, in milliseconds. Every SQLite version has this function, unlike `unixepoch('subsec')`. It returns the same
/// time throughout a statement.
macro_rules! now {
    () => {
        "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    };
}
use now;

/// An incremented claim, which does not overflow even if another client has stored the highest one.
macro_rules! raised {
    () => {
        "min(claim + 1, 9007199254740991)"
    };
}
use raised;

/// The turn of a row that becomes ready now, with this serial key in this queue: behind all existing ones. `now` is a column.
macro_rules! turn {
    ($queue:literal, $key:literal) => {
        concat!(
            "min(max(now, coalesce((SELECT max(o.turn) + 1 FROM defer_jobs o WHERE o.queue = ",
            $queue,
            " AND o.serial_key = ",
            $key,
            " AND o.serial_key IS NOT NULL AND o.state IN (1, 2)), 0)), 9007199254740991)"
        )
    };
}
use turn;

#[cfg(test)]
pub(super) mod statements {
    //! The statements, for tests of how SQLite executes them.

    use super::{browse, failures, holders, inspect, keys, push, starts, take, write};

    pub(in crate::store) const ALL: &[&str] = &[
        write::HOLD,
        write::END,
        write::PASS,
        write::PROGRESS,
        write::RETRY,
        write::READY,
        write::READY_WITH_KEYS,
        write::FIND,
        keys::TWIN,
        keys::CLAIM,
        keys::REPLACE,
        keys::PLACE,
        push::PUSH,
        push::PUSH_WITH_KEYS,
        take::TAKE,
        take::IS_DUE,
        take::IS_CROWDED,
        take::NEXT_DUE,
        take::LAST_KEY,
        take::TAKE_OF_KEYS,
        take::GROUPS[0],
        take::GROUPS[1],
        starts::START,
        starts::LEAVE_OUT,
        starts::FORGET,
        holders::FREE,
        holders::OWN,
        holders::NEXT_HOLDER,
        holders::LEFT,
        holders::PRUNE,
        inspect::FAILED,
        inspect::STATUS,
        inspect::LAST,
        inspect::RETRY,
        inspect::DISCARD,
        inspect::CANCEL,
        inspect::COUNTS[0],
        inspect::COUNTS[1],
        inspect::COUNTS[2],
        inspect::COUNTS[3],
        inspect::COUNTS[4],
        inspect::NEXT_QUEUE,
        browse::JOB,
        browse::READY,
        browse::DELAYED,
        browse::RUNNING,
        browse::WAITING[0],
        browse::WAITING[1],
        browse::HAD,
        browse::FAILED,
        browse::HOLDERS,
        failures::GROUPS,
        failures::RETRY,
        failures::DISCARD,
    ];
}

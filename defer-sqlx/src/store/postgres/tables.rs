//! The statements of a queue, with the names of its tables.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Postgres, postgres::PgArguments, query::Query};

use super::statements::{browse, failures, holders, inspect, keys, push, starts, take, write};

/// The statements of a queue.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) queue: String,
    pub(super) schema: String,
    pub(super) browse: browse::Statements,
    pub(super) failures: failures::Statements,
    pub(super) holders: holders::Statements,
    pub(super) inspect: inspect::Statements,
    pub(super) keys: keys::Statements,
    pub(super) push: push::Statements,
    pub(super) starts: starts::Statements,
    pub(super) take: take::Statements,
    pub(super) write: write::Statements,
}

impl Tables {
    /// `prepares` tells whether the server keeps prepared statements.
    pub(super) fn new(queue: String, schema: String, prepares: bool) -> Self {
        let schema_quoted = quoted(&schema);
        let fill = |sql: &str| {
            let table = |name| format!("{schema_quoted}.{name}");
            // A stable function, so that an index can be searched for it. It is the same throughout a statement.
            let sql = sql.replace("{now}", "(extract(epoch FROM statement_timestamp()) * 1000)::bigint");
            let sql =
                sql.replace("{jobs}", &table("defer_jobs")).replace("{holders}", &table("defer_holders"));
            let sql = sql.replace("{starts}", &table("defer_starts"));
            let sql =
                sql.replace("{raised}", "least(j.claim + 1, {limit})").replace("{limit}", "9007199254740991");
            Statement { sql: sql.replace("{pauses}", &table("defer_pauses")).into(), prepares }
        };
        Self {
            queue,
            browse: browse::Statements::new(fill),
            failures: failures::Statements::new(fill),
            holders: holders::Statements::new(fill),
            inspect: inspect::Statements::new(fill),
            keys: keys::Statements::new(fill),
            push: push::Statements::new(fill),
            starts: starts::Statements::new(fill),
            take: take::Statements::new(fill),
            write: write::Statements::new(fill),
            schema,
        }
    }
}

#[cfg(all(test, feature = "_servers"))]
impl Tables {
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { browse, failures, holders, inspect, keys, push, starts, take, write, .. } = self;
        [
            browse.all(),
            failures.all(),
            holders.all(),
            inspect.all(),
            keys.all(),
            push.all(),
            starts.all(),
            take.all(),
            write.all(),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(all(test, feature = "_servers"))]
impl Statement {
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }
}

/// Quotes an identifier for a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A statement.
#[derive(Debug)]
pub(super) struct Statement {
    sql: Arc<str>,
    /// Whether the server keeps the prepared statement. Behind a pooler, the next transaction may be on another server
    /// connection, which does not have it, or has another one under its name.
    prepares: bool,
}

/// Returns a statement that can be executed.
pub(super) fn query(statement: &Statement) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(AssertSqlSafe(statement.sql.clone())).persistent(statement.prepares)
}

//! Runs a transaction in one trip to the connection's thread. Each trip switches threads twice (sqlx 0.9), which costs a process
//! with few requests as much as the statements do.

use std::{
    collections::HashSet,
    sync::LazyLock,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{
    database::{is_busy, pause},
    json::json,
    keys,
    write::{self, Changes, HOLD, STATEMENTS, array},
};
use crate::store::interface::{Change, ChangeKind, Changed, Write};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The time limit while others are in the way. It is somewhat less than that of a transaction.
const BUSY_FOR: Duration = Duration::from_secs(3);

/// The statements of [`STATEMENTS`], and the one that claims keys. The first two parameters are the queue and the holder, the
/// third the jobs to be held, and each of these statements has one more. They are named `$4` and so on, because sqlx 0.9 also
/// counts the numbers between `?2` and `?4`.
static CHANGES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let statements = STATEMENTS.iter().map(|(sql, _)| *sql).chain([keys::CLAIM]);
    statements
        .zip(4..)
        .map(|(sql, rows)| sql.replace("?1", &format!("${rows}")).replace("?2", "$2"))
        .collect()
});

/// Returns whether changes can be made in one trip: no statement depends on what another one finds.
pub(super) fn is_one_trip(changes: &[Change]) -> bool {
    changes
        .iter()
        .all(|change| change.children.is_empty() && change.insert.is_none() && !write::has_keys(&change.kind))
}

/// Does the same as [`write`](write::write), with statements that begin and commit the transaction themselves.
pub(super) async fn write_at_once(
    connection: &mut SqliteConnection,
    queue: &str,
    Write { holder, held, changes }: &Write,
) -> Result<Vec<Changed>> {
    let mut sql = String::from("BEGIN IMMEDIATE");
    let mut add = |statement: &str| {
        sql.push_str("; ");
        sql.push_str(statement);
    };
    let mut values = Vec::with_capacity(CHANGES.len() + 1);
    values.push(write::rows_of(held.iter())?);
    if !held.is_empty() {
        add(HOLD);
    }
    for ((_, parameters), sql) in STATEMENTS.iter().zip(&*CHANGES) {
        let mut rows = changes.iter().filter_map(parameters).peekable();
        if rows.peek().is_some() {
            add(sql);
        }
        values.push(array(rows)?);
    }
    let is_ready = |change: &&Change| matches!(change.kind, ChangeKind::Ready { .. });
    let ready: Vec<_> = changes.iter().filter(is_ready).map(|change| change.id).collect();
    if let (false, Some(claim)) = (ready.is_empty(), CHANGES.last()) {
        add(claim);
    }
    values.push(json(&ready)?);
    add("COMMIT");
    let begun = Instant::now();
    let rows = loop {
        let query = sqlx::query(AssertSqlSafe(sql.clone())).bind(queue).bind(holder);
        let query = values.iter().fold(query, |query, value| query.bind(value));
        let error = match query.fetch_all(&mut *connection).await {
            Ok(rows) => break rows,
            Err(error) => error,
        };
        // An error means that there is no transaction.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        // The transaction could not begin, or others were in the way of its commit (where the journal is not a WAL). Retry here,
        // because the deadline could not tell that nothing is stored.
        if !is_busy(&error) || begun.elapsed() > BUSY_FOR {
            return Err(error);
        }
        pause().await;
    };
    // Everything is committed from here on, so an error must not look as if it were not.
    let broken = |error: sqlx::Error| sqlx::Error::Protocol(error.to_string());
    let made = rows.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<String>>>().map_err(broken)?;
    let mut changed = Vec::with_capacity(changes.len());
    let mut finds = Changes { connection, queue, holder, changes };
    for change in changes {
        changed.push(match made.contains(&change.id.to_string()) {
            true => Changed::Made,
            false => finds.found(change).await.map_err(broken)?,
        });
    }
    Ok(changed)
}

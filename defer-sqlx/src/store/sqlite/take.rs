//! The statements that find due jobs.

use std::sync::{Mutex, PoisonError};

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{json::json, now, raised, starts};
use crate::store::interface::Taken;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The groups of waiting jobs with one name and priority, for these names (`?2`, a JSON array) without the paused ones. Finding a
/// group takes one step in an index, however many jobs it has.
macro_rules! groups {
    ($table:literal, $of:literal) => {
        concat!(
            $table,
            " (name, priority) AS (SELECT DISTINCT value, (SELECT max(priority) FROM defer_jobs WHERE queue = ?1 AND name = value ",
            "AND state = 1 AND ",
            $of,
            ") FROM json_each(?2) WHERE value NOT IN (SELECT name FROM defer_pauses WHERE queue = ?1) ",
            "UNION ALL SELECT name, (SELECT max(j.priority) FROM defer_jobs j WHERE j.queue = ?1 AND j.name = g.name ",
            "AND j.state = 1 AND j.",
            $of,
            " AND j.priority < g.priority) FROM ",
            $table,
            " g WHERE priority IS NOT NULL)"
        )
    };
}

/// The due jobs of each group, longest due first, up to the limit. Of the jobs with a serial key, only the first of each key
/// among the first thousand of a group, and only if no other job with its key is in the way.
macro_rules! due {
    () => {
        concat!(
            groups!("plain", "serial_key IS NULL"),
            ", ",
            groups!("serial", "serial_key IS NOT NULL"),
            ", free AS (SELECT g.priority, f.value ->> 0 AS due, f.value ->> 1 AS id FROM plain g, json_each((",
            "SELECT json_group_array(json_array(due, id)) FROM (SELECT due, id FROM defer_jobs j WHERE j.queue = ?1 ",
            "AND j.name = g.name AND j.state = 1 AND j.serial_key IS NULL AND j.priority = g.priority AND j.due <= ",
            now!(),
            " ORDER BY j.due, j.id LIMIT ?3))) f WHERE g.priority IS NOT NULL), ",
            "near AS (SELECT g.priority, f.value ->> 0 AS due, f.value ->> 1 AS id, f.value ->> 2 AS serial_key, ",
            "f.value ->> 3 AS turn FROM serial g, json_each((",
            "SELECT json_group_array(json_array(due, id, serial_key, turn)) FROM (SELECT due, id, serial_key, turn ",
            "FROM defer_jobs j WHERE j.queue = ?1 AND j.name = g.name AND j.state = 1 AND j.serial_key IS NOT NULL ",
            "AND j.priority = g.priority AND j.due <= ",
            now!(),
            " ORDER BY j.due, j.id LIMIT 1000))) f WHERE g.priority IS NOT NULL), ",
            "head AS (SELECT priority, due, id, serial_key, turn, row_number() OVER (PARTITION BY serial_key ORDER BY turn, id) AS place ",
            "FROM near), ",
            "due AS (SELECT priority, due, id FROM free UNION ALL SELECT priority, due, id FROM head h WHERE place = 1 AND ",
            in_turn!("h"),
            ")"
        )
    };
}

/// Tests whether a row of this table may run, as far as its serial key goes: no other row with that key runs, or became ready
/// earlier and is due or between two attempts, unless it is paused.
macro_rules! in_turn {
    ($row:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM defer_jobs o WHERE o.queue = ?1 AND o.serial_key = ",
            $row,
            ".serial_key AND o.serial_key IS NOT NULL AND o.state = 2) ",
            "AND NOT EXISTS (SELECT 1 FROM defer_jobs o WHERE o.queue = ?1 AND o.serial_key = ",
            $row,
            ".serial_key AND o.serial_key IS NOT NULL AND o.state IN (1, 2) AND o.turn <= ",
            $row,
            ".turn AND (o.turn < ",
            $row,
            ".turn OR o.id < ",
            $row,
            ".id) AND (o.due <= ",
            now!(),
            " OR o.attempts > 0) AND o.name NOT IN (SELECT name FROM defer_pauses WHERE queue = ?1))"
        )
    };
}

/// Takes jobs whose ids a query returns.
macro_rules! take {
    ($with:expr, $ids:expr) => {
        concat!(
            "WITH RECURSIVE ",
            $with,
            " UPDATE defer_jobs SET state = 2, holder = ?4, claim = ",
            raised!(),
            ", unique_claim = NULL WHERE +state = 1 AND id IN (",
            $ids,
            ") RETURNING id, claim, CAST(name AS BLOB), CAST(payload AS BLOB), CAST(metadata AS BLOB), attempts, ",
            "CAST(outcome AS BLOB), status, ",
            now!(),
            " - due, ",
            now!(),
            " - created, priority, due, serial_key IS NOT NULL, throttle_every > 0 AND throttle_key IS NOT NULL AND attempts = 0"
        )
    };
}

pub(super) const TAKE: &str = take!(due!(), "SELECT id FROM due ORDER BY priority DESC, due, id LIMIT ?3");

/// Tests whether a group has a thousand due jobs with serial keys, because jobs that can be taken may be behind those.
macro_rules! is_crowded {
    () => {
        concat!(
            "EXISTS (SELECT 1 FROM serial g WHERE priority IS NOT NULL AND (SELECT count(*) FROM (SELECT 1 FROM defer_jobs j ",
            "WHERE j.queue = ?1 AND j.name = g.name AND j.state = 1 AND j.serial_key IS NOT NULL AND j.priority = g.priority AND j.due <= ",
            now!(),
            " LIMIT 1000)) = 1000)"
        )
    };
}

pub(super) const IS_CROWDED: &str =
    concat!("WITH RECURSIVE ", groups!("serial", "serial_key IS NOT NULL"), " SELECT ", is_crowded!());

pub(super) const IS_DUE: &str =
    concat!("WITH RECURSIVE ", due!(), " SELECT EXISTS (SELECT 1 FROM due) OR ", is_crowded!());

/// The time at which the first job of each group is due.
macro_rules! first_of {
    ($table:literal, $of:literal) => {
        concat!(
            "SELECT (SELECT min(j.due) FROM defer_jobs j WHERE j.queue = ?1 AND j.name = g.name AND j.state = 1 AND j.",
            $of,
            " AND j.priority = g.priority) AS due FROM ",
            $table,
            " g WHERE priority IS NOT NULL"
        )
    };
}

pub(super) const NEXT_DUE: &str = concat!(
    "WITH RECURSIVE ",
    groups!("plain", "serial_key IS NULL"),
    ", ",
    groups!("serial", "serial_key IS NOT NULL"),
    " SELECT max(min(due) - ",
    now!(),
    ", 0) FROM (",
    first_of!("plain", "serial_key IS NULL"),
    " UNION ALL ",
    first_of!("serial", "serial_key IS NOT NULL"),
    ")"
);

/// A thousand serial keys of waiting or running jobs, after a given one (`?5`).
macro_rules! keys {
    () => {
        concat!(
            "keys (key, place) AS (SELECT (SELECT min(serial_key) FROM defer_jobs WHERE queue = ?1 AND serial_key > ?5 ",
            "AND serial_key IS NOT NULL AND state IN (1, 2)), 1 UNION ALL SELECT (SELECT min(j.serial_key) FROM defer_jobs j ",
            "WHERE j.queue = ?1 AND j.serial_key > k.key AND j.serial_key IS NOT NULL AND j.state IN (1, 2)), place + 1 FROM keys k ",
            "WHERE key IS NOT NULL AND place < 1000)"
        )
    };
}

/// The last of these keys, or nothing if there are fewer than a thousand.
pub(super) const LAST_KEY: &str = concat!(
    "WITH RECURSIVE ",
    keys!(),
    " SELECT key FROM keys WHERE place = 1000 AND ?2 IS NULL AND ?3 IS NULL AND ?4 IS NULL"
);

/// Takes the first due job of each of these keys.
pub(super) const TAKE_OF_KEYS: &str = take!(
    concat!(
        keys!(),
        ", head AS (SELECT j.id, j.serial_key, j.turn, j.priority, j.due FROM keys k CROSS JOIN defer_jobs j ON j.id = (",
        "SELECT f.id FROM defer_jobs f WHERE f.queue = ?1 AND f.serial_key = k.key AND f.serial_key IS NOT NULL ",
        "AND f.state IN (1, 2) AND f.state <> 2 AND f.due <= ",
        now!(),
        " AND f.name IN (SELECT value FROM json_each(?2)) AND f.name NOT IN (SELECT name FROM defer_pauses WHERE queue = ?1) ",
        "ORDER BY f.turn, f.id LIMIT 1) WHERE k.key IS NOT NULL)"
    ),
    concat!("SELECT id FROM head h WHERE ", in_turn!("h"), " ORDER BY priority DESC, due, id LIMIT ?3")
);

/// Takes up to this many due jobs with these names. A search behind a crowd starts at this serial key, and sets it to where the
/// next search starts. Also returns how many jobs were dropped: others may be due behind those.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    queue: &str,
    holder: &str,
    names: &[String],
    limit: usize,
    from: &Mutex<String>,
) -> Result<(Vec<Taken>, usize)> {
    let names = json(&names)?;
    let (mut taken, mut left_out) = take_with(TAKE, connection, queue, holder, &names, limit, None).await?;
    if left_out == 0 && taken.len() < limit && is_crowded(connection, queue, &names).await? {
        let key = from.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = limit - taken.len();
        let more = take_with(TAKE_OF_KEYS, connection, queue, holder, &names, limit, Some(&key)).await?;
        taken.extend(more.0);
        left_out = more.1;
        let nothing = None::<i64>;
        let last =
            sqlx::query_scalar(LAST_KEY).bind(queue).bind(nothing).bind(nothing).bind(nothing).bind(key);
        let last: Option<String> = last.fetch_optional(connection).await?.flatten();
        *from.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or_default();
    }
    Ok((taken, left_out))
}

async fn is_crowded(connection: &mut SqliteConnection, queue: &str, names: &str) -> Result<bool> {
    sqlx::query_scalar(IS_CROWDED).bind(queue).bind(names).fetch_one(connection).await
}

/// Takes jobs with a statement. Also returns how many were dropped.
async fn take_with(
    sql: &'static str,
    connection: &mut SqliteConnection,
    queue: &str,
    holder: &str,
    names: &str,
    limit: usize,
    from: Option<&str>,
) -> Result<(Vec<Taken>, usize)> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut query = sqlx::query(sql).bind(queue).bind(names).bind(limit).bind(holder);
    if let Some(from) = from {
        query = query.bind(from);
    }
    let mut rows = query.fetch_all(&mut *connection).await?.iter().map(taken).collect::<Result<Vec<_>>>()?;
    rows.sort_by(|(one, of_one), (other, of_other)| (one, &of_one.id).cmp(&(other, &of_other.id)));
    let found = rows.len();
    let taken =
        starts::leave_out(connection, queue, rows.into_iter().map(|(_, taken)| taken).collect()).await?;
    let left_out = found - taken.len();
    Ok((taken, left_out))
}

/// Returns whether a job with one of these names can be taken, or may be.
pub(super) async fn is_due(connection: &mut SqliteConnection, queue: &str, names: &[String]) -> Result<bool> {
    let names = json(&names)?;
    sqlx::query_scalar(IS_DUE).bind(queue).bind(names).bind(1_i64).fetch_one(connection).await
}

/// Returns the time until the next job with one of these names is due, in milliseconds.
pub(super) async fn next_due(
    connection: &mut SqliteConnection,
    queue: &str,
    names: &[String],
) -> Result<Option<i64>> {
    sqlx::query_scalar(NEXT_DUE).bind(queue).bind(json(&names)?).fetch_one(connection).await
}

/// Reads a row, and its position among others: by the highest priority, and then by the longest time due.
fn taken(row: &SqliteRow) -> Result<((i64, i64), Taken)> {
    let order: (i64, i64) = (-row.try_get::<i64, _>(10)?, row.try_get(11)?);
    let status: Option<i64> = row.try_get(7)?;
    let taken = Taken {
        id: row.try_get(0)?,
        claim: row.try_get(1)?,
        name: text(row.try_get(2)?),
        payload: text(row.try_get(3)?),
        metadata: text(row.try_get(4)?),
        attempts: row.try_get(5)?,
        outcome: row.try_get::<Option<Vec<u8>>, _>(6)?.map(text),
        status: status.and_then(|status| u16::try_from(status).ok()),
        waited: row.try_get::<i64, _>(8)?.max(0),
        age: row.try_get::<i64, _>(9)?.max(0),
        is_serial: row.try_get(12)?,
        is_throttled: row.try_get::<Option<bool>, _>(13)?.unwrap_or_default(),
    };
    Ok((order, taken))
}

/// Converts bytes to text. They may be invalid if another client has stored them, because SQLite does not check.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Ready jobs with one name, and when the first is due.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) due: i64,
}

/// The groups of waiting jobs with one name and priority, for all names. Finding a group takes one step in an index, however many
/// jobs it has.
macro_rules! all_groups {
    ($names:literal, $table:literal, $of:literal) => {
        concat!(
            $names,
            " (name) AS (SELECT min(name) FROM defer_jobs WHERE queue = ?1 AND state = 1 AND ",
            $of,
            " UNION ALL SELECT (SELECT min(j.name) FROM defer_jobs j WHERE j.queue = ?1 AND j.name > n.name AND j.state = 1 ",
            "AND j.",
            $of,
            ") FROM ",
            $names,
            " n WHERE name IS NOT NULL LIMIT 1000), ",
            $table,
            " (name, priority) AS (SELECT name, (SELECT max(j.priority) FROM defer_jobs j WHERE j.queue = ?1 ",
            "AND j.name = n.name AND j.state = 1 AND j.",
            $of,
            ") FROM ",
            $names,
            " n WHERE name IS NOT NULL UNION ALL SELECT name, (SELECT max(j.priority) FROM defer_jobs j ",
            "WHERE j.queue = ?1 AND j.name = g.name AND j.state = 1 AND j.",
            $of,
            " AND j.priority < g.priority) FROM ",
            $table,
            " g WHERE priority IS NOT NULL LIMIT 10000)"
        )
    };
}
pub(super) use all_groups;

macro_rules! groups_of {
    ($of:literal) => {
        concat!(
            "WITH RECURSIVE ",
            all_groups!("names", "groups", $of),
            " SELECT CAST(name AS BLOB), min((SELECT min(j.due) FROM defer_jobs j WHERE j.queue = ?1 AND j.name = g.name ",
            "AND j.state = 1 AND j.",
            $of,
            " AND j.priority = g.priority)) FROM groups g WHERE priority IS NOT NULL GROUP BY name"
        )
    };
}

/// For jobs without and with a serial key.
pub(super) const GROUPS: [&str; 2] = [groups_of!("serial_key IS NULL"), groups_of!("serial_key IS NOT NULL")];

/// Returns the groups of ready jobs of a queue. Finding a group takes a few steps in an index, however many jobs it has. A name
/// may have two groups.
pub(super) async fn groups(connection: &mut SqliteConnection, queue: &str) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for sql in GROUPS {
        for row in sqlx::query(sql).bind(queue).fetch_all(&mut *connection).await? {
            groups.push(Group { name: text(row.try_get(0)?), due: row.try_get(1)? });
        }
    }
    Ok(groups)
}

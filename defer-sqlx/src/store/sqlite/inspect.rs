//! Runs the statements that read, and those that a person asks for.

use std::collections::HashSet;

use defer_core::{
    JobId, JobStatus,
    queue::{FailedJob, QueueCounts},
};
use sqlx::{Row, SqliteConnection};

use super::{
    json::json,
    keys::claim_where_free,
    now, raised,
    take::{groups, text},
    turn,
};
use crate::store::{
    interface::{Cancelling, StoredRow},
    state,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn time(connection: &mut SqliteConnection) -> Result<i64> {
    sqlx::query_scalar(concat!("SELECT ", now!())).fetch_one(connection).await
}

macro_rules! count {
    ($of:literal) => {
        concat!("SELECT count(*) FROM (SELECT 1 FROM defer_jobs WHERE queue = ?1 AND ", $of, " LIMIT 10000)")
    };
}

/// Each stops at 10,000 rows.
pub(super) const COUNTS: [&str; 5] = [
    count!("state = 1 AND serial_key IS NULL"),
    count!("state = 1 AND serial_key IS NOT NULL"),
    count!("state IN (0, 2) AND holder IS NOT NULL"),
    count!("state = 3 AND ended IS NOT NULL"),
    count!("state = 4 AND ended IS NOT NULL"),
];

pub(super) async fn counts(connection: &mut SqliteConnection, queue: &str) -> Result<QueueCounts> {
    let now = time(connection).await?;
    let mut found = [0_u64; 5];
    for (sql, found) in COUNTS.into_iter().zip(&mut found) {
        let count: i64 = sqlx::query_scalar(sql).bind(queue).fetch_one(&mut *connection).await?;
        *found = u64::try_from(count).unwrap_or_default();
    }
    let [plain, serial, running, done, failed] = found;
    let mut counts = QueueCounts::default();
    (counts.pending, counts.running, counts.done, counts.failed) =
        ((plain + serial).min(10_000), running, done, failed);
    let oldest = groups(connection, queue).await?.into_iter().map(|group| group.due).min();
    counts.oldest_due = oldest.and_then(|due| state::waited(now.saturating_sub(due)));
    Ok(counts)
}

pub(super) const NEXT_QUEUE: &str = "SELECT min(queue) FROM (SELECT min(queue) AS queue FROM defer_jobs WHERE queue > ?1 \
    AND state = 1 AND serial_key IS NULL UNION ALL SELECT min(queue) FROM defer_jobs WHERE queue > ?1 AND state = 1 \
    AND serial_key IS NOT NULL)";

pub(super) async fn paused(connection: &mut SqliteConnection, queue: &str) -> Result<Vec<String>> {
    let names = sqlx::query_scalar("SELECT name FROM defer_pauses WHERE queue = ?1").bind(queue);
    names.fetch_all(connection).await
}

pub(super) async fn unclaimed(
    connection: &mut SqliteConnection,
    queue: &str,
    due: i64,
) -> Result<Vec<String>> {
    let before = time(connection).await?.saturating_sub(due);
    let holders: Vec<(String, String)> =
        sqlx::query_as("SELECT queue, names FROM defer_holders").fetch_all(&mut *connection).await?;
    let taken: HashSet<String> = holders
        .iter()
        .filter(|(of, _)| of == queue)
        .filter_map(|(_, names)| serde_json::from_str::<Vec<String>>(names).ok())
        .flatten()
        .collect();
    let paused = paused(connection, queue).await?;
    let mut unclaimed: Vec<String> = groups(connection, queue)
        .await?
        .into_iter()
        .filter(|group| group.due <= before && !taken.contains(&group.name) && !paused.contains(&group.name))
        .map(|group| group.name)
        .collect();
    unclaimed.sort();
    unclaimed.dedup();
    let mut last = String::new();
    loop {
        let next: Option<String> =
            sqlx::query_scalar(NEXT_QUEUE).bind(&last).fetch_one(&mut *connection).await?;
        let Some(other) = next else { break };
        if other != queue && !holders.iter().any(|(of, _)| *of == other) {
            let is_due = groups(connection, &other).await?.iter().any(|group| group.due <= before);
            unclaimed.extend(is_due.then(|| format!("queue {other}")));
        }
        last = other;
    }
    Ok(unclaimed)
}

pub(super) const FAILED: &str = "SELECT id, CAST(name AS BLOB), attempts, CAST(error AS BLOB) FROM defer_jobs \
    WHERE queue = ?1 AND state = 4 AND ended IS NOT NULL ORDER BY ended DESC LIMIT ?2";

pub(super) async fn failed(
    connection: &mut SqliteConnection,
    queue: &str,
    limit: usize,
) -> Result<Vec<FailedJob>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(FAILED).bind(queue).bind(limit).fetch_all(connection).await?;
    let mut failed = Vec::with_capacity(rows.len());
    for row in rows {
        let Ok(id) = row.try_get::<String, _>(0)?.parse() else { continue };
        let attempts = u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX);
        let error = row.try_get::<Option<Vec<u8>>, _>(3)?.map(text).unwrap_or_default();
        failed.push(FailedJob::new(id, text(row.try_get(1)?), attempts, error));
    }
    Ok(failed)
}

pub(super) const STATUS: &str = "SELECT state, CAST(error AS BLOB), duplicate_of, claim, CAST(progress AS BLOB) FROM defer_jobs WHERE id = ?1 AND +queue = ?2";

/// The last job in a chain of replacements that starts with a job (`?1`). No row if the chain is a circle.
pub(super) const LAST: &str = "WITH RECURSIVE chain (id) AS (SELECT ?1 UNION SELECT j.duplicate_of FROM chain c \
    CROSS JOIN defer_jobs j ON j.id = c.id WHERE +j.queue = ?2 AND j.duplicate_of IS NOT NULL) \
    SELECT c.id FROM chain c WHERE NOT EXISTS (SELECT 1 FROM defer_jobs j WHERE j.id = c.id AND +j.queue = ?2 \
    AND j.duplicate_of IS NOT NULL) LIMIT 1";

pub(super) async fn status(
    connection: &mut SqliteConnection,
    queue: &str,
    id: JobId,
) -> Result<Option<JobStatus>> {
    let row = sqlx::query(STATUS).bind(id.to_string()).bind(queue).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let (error, mut of): (Option<Vec<u8>>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
    if of.is_some() {
        let last = sqlx::query_scalar(LAST).bind(id.to_string()).bind(queue).fetch_optional(&mut *connection);
        of = last.await?.or(of);
    }
    let error = error.map(text);
    let progress = row.try_get::<Option<Vec<u8>>, _>(4)?.map(text);
    if let Some(status) = state::in_progress(row.try_get(0)?, row.try_get(3)?, progress.as_deref()) {
        return Ok(Some(status));
    }
    Ok(state::status(row.try_get(0)?, error.as_deref(), of.as_deref()))
}

pub(super) const STORED: &str = concat!(
    "SELECT id, CAST(payload AS BLOB), state, CAST(error AS BLOB), duplicate_of, CAST(serial_key AS BLOB), \
     CAST(unique_key AS BLOB), due - ",
    now!(),
    " FROM defer_jobs WHERE queue = ?1 AND name IN (SELECT value FROM json_each(?2)) ORDER BY id LIMIT ?3"
);

pub(super) async fn stored(
    connection: &mut SqliteConnection,
    queue: &str,
    names: &[String],
    limit: usize,
) -> Result<Vec<StoredRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = sqlx::query(STORED).bind(queue).bind(json(&names)?).bind(limit);
    let mut stored = Vec::new();
    for row in sql.fetch_all(connection).await? {
        let bytes = |at: usize| row.try_get::<Option<Vec<u8>>, _>(at);
        let (error, of): (Option<String>, Option<String>) = (bytes(3)?.map(text), row.try_get(4)?);
        let Ok(id) = row.try_get::<String, _>(0)?.parse() else { continue };
        let Some(status) = state::status(row.try_get(2)?, error.as_deref(), of.as_deref()) else { continue };
        let payload = text(row.try_get(1)?);
        let (serial, unique) = (bytes(5)?.map(text), bytes(6)?.map(text));
        stored.push(StoredRow { id, payload, status, serial, unique, due_in: row.try_get(7)? });
    }
    Ok(stored)
}

pub(super) const RETRY: &str = concat!(
    "UPDATE defer_jobs SET state = 1, claim = ",
    raised!(),
    ", holder = NULL, attempts = 0, deaths = 0, cancel = 0, condition = 0, error = NULL, ended = NULL, due = now, turn = ",
    turn!("?2", "defer_jobs.serial_key"),
    " FROM (SELECT ",
    now!(),
    " AS now) WHERE id = ?1 AND +queue = ?2 AND +state = 4"
);

pub(super) async fn retry(connection: &mut SqliteConnection, queue: &str, id: JobId) -> Result<bool> {
    let id = id.to_string();
    let retried = sqlx::query(RETRY).bind(&id).bind(queue).execute(&mut *connection).await?;
    if retried.rows_affected() == 0 {
        return Ok(false);
    }
    claim_where_free(connection, &[id]).await?;
    Ok(true)
}

pub(super) const DISCARD: &str = "DELETE FROM defer_jobs WHERE id = ?1 AND +queue = ?2 AND +state = 4";

pub(super) async fn discard(connection: &mut SqliteConnection, queue: &str, id: JobId) -> Result<bool> {
    let discarded = sqlx::query(DISCARD).bind(id.to_string()).bind(queue).execute(connection).await?;
    Ok(discarded.rows_affected() > 0)
}

pub(super) async fn cancel(
    connection: &mut SqliteConnection,
    queue: &str,
    id: JobId,
    holder: &str,
    started: bool,
) -> Result<Cancelling> {
    let row = sqlx::query("SELECT state, holder FROM defer_jobs WHERE id = ?1 AND +queue = ?2")
        .bind(id.to_string())
        .bind(queue)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(Cancelling::Unknown) };
    let (found, of): (i16, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    let is_ours = of.as_deref() == Some(holder) && !started;
    let (sql, cancelled) = match found {
        state::READY => (CANCEL, Cancelling::Cancelled),
        state::HELD if is_ours => (CANCEL, Cancelling::Cancelled),
        state::HELD | state::TAKEN => ("UPDATE defer_jobs SET cancel = 1 WHERE id = ?1", Cancelling::Asked),
        _ => return Ok(Cancelling::Ended),
    };
    sqlx::query(sql).bind(id.to_string()).execute(connection).await?;
    Ok(cancelled)
}

/// Keeps the holder: if it reports the cancellation as well, that is not a late result.
pub(super) const CANCEL: &str = concat!(
    "UPDATE defer_jobs SET state = 6, claim = ",
    raised!(),
    ", unique_claim = NULL, ended = ",
    now!(),
    " WHERE id = ?1"
);

pub(super) async fn pause(
    connection: &mut SqliteConnection,
    queue: &str,
    name: &str,
    paused: bool,
) -> Result<()> {
    let sql = match paused {
        true => "INSERT INTO defer_pauses (queue, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        false => "DELETE FROM defer_pauses WHERE queue = ?1 AND name = ?2",
    };
    sqlx::query(sql).bind(queue).bind(name).execute(connection).await.map(drop)
}

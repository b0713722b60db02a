//! Runs the statements about holders and recovery.

use std::collections::HashSet;

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{inspect::paused, json::json, keys::claim_where_free, now, raised, starts, turn};
use crate::store::{
    interface::{Beat, Holder, Own},
    recovery::Orphan,
    state::{CANCELLED, DONE, DUPLICATE, FAILED, SKIPPED},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The number of jobs recovered in one transaction.
const BATCH: usize = 1_000;
/// The most holders in a list.
const MOST_HOLDERS: usize = 100;

pub(super) async fn register(connection: &mut SqliteConnection, queue: &str, holder: &Holder) -> Result<()> {
    let sql = "INSERT INTO defer_holders (id, queue, host, pid, version, names) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
               ON CONFLICT (id) DO NOTHING";
    sqlx::query(sql)
        .bind(&holder.id)
        .bind(queue)
        .bind(&holder.host)
        .bind(i64::from(holder.pid))
        .bind(holder.version)
        .bind(json(&holder.names)?)
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn rename(connection: &mut SqliteConnection, holder: &Holder) -> Result<()> {
    let sql = "UPDATE defer_holders SET names = ?2 WHERE id = ?1";
    sqlx::query(sql).bind(&holder.id).bind(json(&holder.names)?).execute(connection).await.map(drop)
}

pub(super) const OWN: &str = "SELECT id, claim, cancel FROM defer_jobs WHERE state IN (0, 2) AND holder = ?1";

pub(super) const NEXT_HOLDER: &str =
    "SELECT holder FROM defer_jobs WHERE state IN (0, 2) AND holder > ?1 ORDER BY holder LIMIT 1";

/// The condition matters as long as the outcome of the response is unknown.
pub(super) const LEFT: &str = "SELECT id, deaths, CASE WHEN state = 0 AND outcome IS NULL THEN condition ELSE 0 END, status, cancel \
    FROM defer_jobs WHERE state IN (0, 2) AND holder = ?1 LIMIT ?2";

/// Increments a holder's count. Returns whether the holder was found.
pub(super) async fn count(connection: &mut SqliteConnection, holder: &str) -> Result<bool> {
    let beaten = sqlx::query("UPDATE defer_holders SET beat = beat + 1 WHERE id = ?1").bind(holder);
    Ok(beaten.execute(connection).await?.rows_affected() > 0)
}

/// Reads what the tables say, for a holder whose count was incremented.
pub(super) async fn look(
    connection: &mut SqliteConnection,
    queue: &str,
    holder: &str,
    is_alive: bool,
) -> Result<Beat> {
    let others: Vec<(String, i64)> =
        sqlx::query_as("SELECT id, beat FROM defer_holders WHERE queue = ?1 AND id <> ?2")
            .bind(queue)
            .bind(holder)
            .fetch_all(&mut *connection)
            .await?;
    let own = sqlx::query(OWN)
        .bind(holder)
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .map(|row| {
            Ok(Own { id: row.try_get(0)?, claim: row.try_get(1)?, cancel: row.try_get::<i64, _>(2)? != 0 })
        })
        .collect::<Result<Vec<_>>>()?;
    let paused = paused(connection, queue).await?;
    let has_orphans = has_orphans(connection).await?;
    Ok(Beat { is_alive, others, own, paused, has_orphans })
}

/// Returns whether an unknown holder has jobs.
async fn has_orphans(connection: &mut SqliteConnection) -> Result<bool> {
    Ok(!unknown_holders(connection, 1).await?.is_empty())
}

/// Returns up to `limit` unknown holders that have jobs. Takes one step in the index for each holder that has jobs.
async fn unknown_holders(connection: &mut SqliteConnection, limit: usize) -> Result<Vec<String>> {
    let known = sqlx::query_scalar("SELECT id FROM defer_holders").fetch_all(&mut *connection).await?;
    let known: HashSet<String> = known.into_iter().collect();
    let mut unknown = Vec::new();
    let mut last = String::new();
    while unknown.len() < limit {
        let next = sqlx::query_scalar(NEXT_HOLDER).bind(&last).fetch_optional(&mut *connection).await?;
        let Some(holder) = next else { break };
        last = holder;
        if !known.contains(&last) {
            unknown.push(last.clone());
        }
    }
    Ok(unknown)
}

pub(super) async fn bury(connection: &mut SqliteConnection, holder: &str, count: i64) -> Result<bool> {
    let sql = "DELETE FROM defer_holders WHERE id = ?1 AND beat = ?2";
    let buried = sqlx::query(sql).bind(holder).bind(count).execute(connection).await?;
    Ok(buried.rows_affected() > 0)
}

/// Recovers jobs of unknown holders. Returns whether there may be more.
pub(super) async fn recover(connection: &mut SqliteConnection) -> Result<bool> {
    let unknown = unknown_holders(connection, MOST_HOLDERS).await?;
    let mut rows = Vec::new();
    for holder in &unknown {
        rows.extend(left(connection, holder, BATCH - rows.len()).await?);
    }
    free(connection, &rows, true).await?;
    Ok(rows.len() >= BATCH || unknown.len() >= MOST_HOLDERS)
}

/// Makes ready the jobs that an ending holder has left. Returns whether there may be more. If not, the holder is forgotten.
pub(super) async fn unregister(connection: &mut SqliteConnection, holder: &str) -> Result<bool> {
    let rows = left(connection, holder, BATCH).await?;
    free(connection, &rows, false).await?;
    let may_be_more = rows.len() >= BATCH;
    if !may_be_more {
        sqlx::query("DELETE FROM defer_holders WHERE id = ?1").bind(holder).execute(connection).await?;
    }
    Ok(may_be_more)
}

async fn left(connection: &mut SqliteConnection, holder: &str, limit: usize) -> Result<Vec<SqliteRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    sqlx::query(LEFT).bind(holder).bind(limit).fetch_all(connection).await
}

/// Removes the holder, so that its later changes of the job are refused. A job that waits for the first time gets its turn.
pub(super) const FREE: &str = concat!(
    "UPDATE defer_jobs SET state = c.value ->> 1, deaths = c.value ->> 2, claim = ",
    raised!(),
    ", holder = NULL, condition = 0, due = now + (c.value ->> 3), error = coalesce(c.value ->> 4, error), ",
    "ended = CASE c.value ->> 1 WHEN 1 THEN NULL ELSE now END, unique_claim = NULL, ",
    "turn = CASE WHEN state = 0 AND serial_key IS NOT NULL THEN min(",
    turn!("defer_jobs.queue", "defer_jobs.serial_key"),
    " + c.key, 9007199254740991) ELSE turn END FROM json_each(?1) AS c, (SELECT ",
    now!(),
    " AS now) WHERE defer_jobs.id = c.value ->> 0 AND +state IN (0, 2)"
);

async fn free(connection: &mut SqliteConnection, rows: &[SqliteRow], died: bool) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let fates = rows
        .iter()
        .map(|row| {
            let orphan = Orphan {
                id: row.try_get(0)?,
                deaths: row.try_get(1)?,
                condition: row.try_get(2)?,
                status: row.try_get(3)?,
                cancel: row.try_get::<i64, _>(4)? != 0,
            };
            let fate = orphan.fate(died);
            Ok((orphan.id, fate.state, fate.deaths, fate.delay, fate.error))
        })
        .collect::<Result<Vec<_>>>()?;
    sqlx::query(FREE).bind(json(&fates)?).execute(&mut *connection).await?;
    let ids: Vec<String> = fates.into_iter().map(|(id, ..)| id).collect();
    claim_where_free(connection, &ids).await
}

pub(super) const PRUNE: &str = concat!(
    "DELETE FROM defer_jobs WHERE id IN (SELECT id FROM defer_jobs WHERE queue = ?1 AND state = ?2 AND ended < ",
    now!(),
    " - ?3 LIMIT ?4)"
);

/// Deletes jobs that ended long ago. Returns whether there may be more.
pub(super) async fn prune(
    connection: &mut SqliteConnection,
    queue: &str,
    done: i64,
    failed: i64,
) -> Result<bool> {
    let mut room = BATCH;
    for state in [DONE, SKIPPED, CANCELLED, DUPLICATE, FAILED] {
        let age = if state == FAILED { failed } else { done };
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let delete = sqlx::query(PRUNE).bind(queue).bind(state).bind(age).bind(limit);
        let deleted = delete.execute(&mut *connection).await?.rows_affected();
        room -= usize::try_from(deleted).unwrap_or(room).min(room);
        if room == 0 {
            return Ok(true);
        }
    }
    starts::forget(connection, queue, i64::try_from(BATCH).unwrap_or(i64::MAX)).await
}

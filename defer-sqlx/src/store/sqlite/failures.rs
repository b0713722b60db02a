//! Runs the statements about groups of failed jobs.

use defer_core::queue::FailureGroup;
use sqlx::{Row, SqliteConnection};

use super::{keys::claim_where_free, now, raised, take::text, turn};
use crate::store::{
    interface::Failures,
    state::{self, FAILURE_BATCH},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The first line of an error, exactly as the index has it.
macro_rules! first_line {
    () => {
        "substr(coalesce(error, ''), 1, min(200, instr(coalesce(error, '') || char(10), char(10)) - 1))"
    };
}

pub(super) const GROUPS: &str = concat!(
    "SELECT CAST(name AS BLOB), CAST(line AS BLOB), count(*), ",
    now!(),
    " - min(ended), ",
    now!(),
    " - max(ended), max(id) FROM (SELECT name, ",
    first_line!(),
    " AS line, ended, id FROM defer_jobs WHERE queue = ?1 AND state = 4 AND ended IS NOT NULL ORDER BY ended DESC LIMIT 10000) ",
    "GROUP BY name, line ORDER BY max(ended) DESC, max(id) DESC LIMIT ?2"
);

pub(super) async fn groups(
    connection: &mut SqliteConnection,
    queue: &str,
    limit: usize,
) -> Result<Vec<FailureGroup>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(GROUPS).bind(queue).bind(limit).fetch_all(connection).await?;
    let mut groups = Vec::with_capacity(rows.len());
    for row in rows {
        let Ok(example) = row.try_get::<String, _>(5)?.parse() else { continue };
        let mut group = FailureGroup::new(text(row.try_get(0)?), text(row.try_get(1)?), example);
        group.count = u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or_default();
        (group.first, group.last) = (state::millis(row.try_get(3)?), state::millis(row.try_get(4)?));
        groups.push(group);
    }
    Ok(groups)
}

/// A batch of jobs of a group.
macro_rules! batch {
    () => {
        concat!(
            "id IN (SELECT id FROM defer_jobs WHERE queue = ?1 AND name = ?2 AND ",
            first_line!(),
            " = ?3 AND state = 4 AND ended IS NOT NULL AND ended <= ?4 ORDER BY ended LIMIT ?5) AND +state = 4"
        )
    };
}

pub(super) const RETRY: &str = concat!(
    "UPDATE defer_jobs SET state = 1, claim = ",
    raised!(),
    ", holder = NULL, attempts = 0, deaths = 0, cancel = 0, condition = 0, error = NULL, ended = NULL, due = now, turn = ",
    turn!("?1", "defer_jobs.serial_key"),
    " FROM (SELECT ",
    now!(),
    " AS now) WHERE ",
    batch!(),
    " RETURNING id"
);

/// Runs a batch of a group again. Returns the number of jobs.
pub(super) async fn retry(
    connection: &mut SqliteConnection,
    queue: &str,
    failures: &Failures,
) -> Result<usize> {
    let Failures { name, error, until } = failures;
    let sql = sqlx::query_scalar(RETRY).bind(queue).bind(name).bind(error).bind(until);
    let ids: Vec<String> = sql.bind(FAILURE_BATCH as i64).fetch_all(&mut *connection).await?;
    claim_where_free(connection, &ids).await?;
    Ok(ids.len())
}

pub(super) const DISCARD: &str = concat!("DELETE FROM defer_jobs WHERE ", batch!());

/// Deletes a batch of a group. Returns the number of jobs.
pub(super) async fn discard(
    connection: &mut SqliteConnection,
    queue: &str,
    failures: &Failures,
) -> Result<usize> {
    let Failures { name, error, until } = failures;
    let sql = sqlx::query(DISCARD).bind(queue).bind(name).bind(error).bind(until);
    let deleted = sql.bind(FAILURE_BATCH as i64).execute(connection).await?.rows_affected();
    Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
}

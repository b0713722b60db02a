//! Runs the statements about groups of failed jobs.

use defer_core::queue::FailureGroup;
use sqlx::{PgConnection, Row};

use super::{
    keys::{self, Claimant},
    tables::{Tables, query},
};
use crate::store::{
    interface::Failures,
    state::{self, FAILURE_BATCH, text},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Returns the current time, in milliseconds.
pub(super) async fn time(connection: &mut PgConnection, tables: &Tables) -> Result<i64> {
    query(&tables.failures.time).fetch_one(connection).await?.try_get(0)
}

pub(super) async fn groups(
    connection: &mut PgConnection,
    tables: &Tables,
    limit: usize,
) -> Result<Vec<FailureGroup>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = query(&tables.failures.groups).bind(&tables.queue).bind(limit).fetch_all(connection).await?;
    let mut groups = Vec::with_capacity(rows.len());
    for row in &rows {
        // The table allows no other ids.
        let Ok(example) = row.try_get::<String, _>(5)?.parse() else { continue };
        let (name, error): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let mut group = FailureGroup::new(name, error, example);
        group.count = u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or_default();
        (group.first, group.last) = (state::millis(row.try_get(3)?), state::millis(row.try_get(4)?));
        groups.push(group);
    }
    Ok(groups)
}

/// Runs a batch of a group again. Returns the number of jobs, and whether there were any.
pub(super) async fn retry(
    connection: &mut PgConnection,
    tables: &Tables,
    failures: &Failures,
) -> Result<(usize, bool)> {
    let Failures { name, error, until } = failures;
    let sql = query(&tables.failures.retry).bind(&tables.queue).bind(text(name)).bind(text(error));
    let rows = sql.bind(until).bind(FAILURE_BATCH as i64).fetch_all(&mut *connection).await?;
    let mut claimants = Vec::new();
    for row in &rows {
        if let Some(key) = row.try_get(1)? {
            claimants.push(Claimant { id: row.try_get(0)?, key, may_be_duplicate: false, replace: None });
        }
    }
    keys::claim(connection, tables, &claimants).await?;
    Ok((rows.len(), !rows.is_empty()))
}

/// Deletes a batch of a group. Returns the number of jobs.
pub(super) async fn discard(
    connection: &mut PgConnection,
    tables: &Tables,
    failures: &Failures,
) -> Result<usize> {
    let Failures { name, error, until } = failures;
    let sql = query(&tables.failures.discard).bind(&tables.queue).bind(text(name)).bind(text(error));
    let deleted = sql.bind(until).bind(FAILURE_BATCH as i64).execute(connection).await?.rows_affected();
    Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
}

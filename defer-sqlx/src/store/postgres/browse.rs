//! The statements that list jobs, counts and holders.

use std::collections::BTreeMap;

use defer_core::{
    JobId,
    queue::{JobFilter, NameCounts},
};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::tables::{Tables, query};
use crate::store::{
    interface::{HolderRow, JobRow},
    state,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn job(connection: &mut PgConnection, tables: &Tables, id: JobId) -> Result<Option<JobRow>> {
    let sql = query(&tables.browse.job).bind(&tables.queue).bind(id.to_string());
    sql.fetch_optional(connection).await?.as_ref().map(job_row).transpose()
}

pub(super) async fn jobs(
    connection: &mut PgConnection,
    tables: &Tables,
    filter: JobFilter,
    limit: usize,
) -> Result<Vec<JobRow>> {
    let sql = match filter {
        JobFilter::Ready => &tables.browse.ready,
        JobFilter::Delayed => &tables.browse.delayed,
        JobFilter::Running => &tables.browse.running,
        _ => return Ok(Vec::new()),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = query(sql).bind(&tables.queue).bind(limit).fetch_all(connection).await?;
    rows.iter().map(job_row).collect()
}

fn job_row(row: &PgRow) -> Result<JobRow> {
    // The table allows no other ids.
    let id = row.try_get::<String, _>(0)?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(JobRow {
        id,
        name: row.try_get(1)?,
        state: row.try_get(2)?,
        attempts: row.try_get(3)?,
        due_in: row.try_get(4)?,
        age: row.try_get(5)?,
        ended: row.try_get(6)?,
        claim: row.try_get(7)?,
        error: row.try_get(8)?,
        progress: row.try_get(9)?,
        metadata: row.try_get(10)?,
        outcome: row.try_get(11)?,
        status: row.try_get::<Option<i16>, _>(12)?.map(i64::from),
        host: row.try_get(13)?,
        pid: row.try_get(14)?,
        is_paused: row.try_get(15)?,
    })
}

pub(super) async fn counts_by_name(
    connection: &mut PgConnection,
    tables: &Tables,
) -> Result<Vec<NameCounts>> {
    let of = &tables.browse;
    let mut names = BTreeMap::new();
    let waiting = query(&tables.inspect.waiting).bind(&tables.queue).fetch_all(&mut *connection).await?;
    let limit = state::count_limit(waiting.len());
    let counted = query(&of.waiting_by_name).bind(&tables.queue).bind(limit);
    for row in counted.fetch_all(&mut *connection).await? {
        let counts = state::of_name(&mut names, row.try_get(0)?);
        (counts.ready, counts.delayed) = (number(&row, 1)?, number(&row, 2)?);
        counts.oldest_due = state::waited(row.try_get(3)?);
    }
    let had = query(&of.had_by_name).bind(&tables.queue).bind(limit);
    for row in had.fetch_all(&mut *connection).await? {
        state::of_name(&mut names, row.try_get(0)?).running = number(&row, 1)?;
    }
    let failed = query(&of.failed_by_name).bind(&tables.queue).bind(limit);
    for row in failed.fetch_all(connection).await? {
        state::of_name(&mut names, row.try_get(0)?).failed = number(&row, 1)?;
    }
    Ok(names.into_values().collect())
}

fn number(row: &PgRow, at: usize) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default())
}

pub(super) async fn holders(connection: &mut PgConnection, tables: &Tables) -> Result<Vec<HolderRow>> {
    let rows = query(&tables.browse.holders).bind(&tables.queue).fetch_all(connection).await?;
    let holder = |row: &PgRow| {
        Ok(HolderRow {
            id: row.try_get(0)?,
            host: row.try_get(1)?,
            pid: row.try_get(2)?,
            version: row.try_get(3)?,
            age: row.try_get(4)?,
            names: row.try_get(5)?,
            count: row.try_get(6)?,
            jobs: row.try_get(7)?,
        })
    };
    rows.iter().map(holder).collect()
}

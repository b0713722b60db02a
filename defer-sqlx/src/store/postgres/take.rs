//! Runs the statements that find due jobs.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sqlx::{Decode, PgConnection, Row, Type, postgres::PgRow};

use super::{
    starts,
    tables::{Tables, query},
};
use crate::store::interface::Taken;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Takes up to this many due jobs with these names. A search behind a crowd starts at this serial key, and sets it to where the
/// next search starts. Also returns how many jobs were dropped: others may be due behind those.
pub(super) async fn take(
    connection: &mut PgConnection,
    tables: &Tables,
    holder: &str,
    names: &[String],
    limit: usize,
    from: &Mutex<String>,
) -> Result<(Vec<Taken>, usize)> {
    let find = query(&tables.take.find).bind(&tables.queue).bind(names).bind(limit_of(limit));
    let rows = find.fetch_all(&mut *connection).await?;
    let (ids, is_crowded) = found(&rows)?;
    let (mut taken, mut left_out) = take_found(connection, tables, holder, ids).await?;
    if left_out == 0 && taken.len() < limit && is_crowded == Some(true) {
        let key = from.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = limit_of(limit - taken.len());
        let find = query(&tables.take.find_of_keys).bind(&tables.queue).bind(names).bind(limit).bind(key);
        let rows = find.fetch_all(&mut *connection).await?;
        let (ids, last) = found(&rows)?;
        let more = take_found(connection, tables, holder, ids).await?;
        taken.extend(more.0);
        left_out = more.1;
        *from.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or_default();
    }
    Ok((taken, left_out))
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Returns the jobs that a statement has locked, those with the highest priority first and then those that have been due longest,
/// and the other value that the statement returned.
fn found<'r, T>(rows: &'r [PgRow]) -> Result<(Vec<String>, Option<T>)>
where
    T: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
{
    let (mut found, mut told) = (Vec::with_capacity(rows.len()), None);
    for row in rows {
        match row.try_get::<Option<String>, _>(0)? {
            Some(id) => {
                let (priority, due): (i16, i64) = (row.try_get(1)?, row.try_get(2)?);
                found.push((-i32::from(priority), due, id));
            }
            None => told = row.try_get(3)?,
        }
    }
    found.sort();
    Ok((found.into_iter().map(|(.., id)| id).collect(), told))
}

/// Takes these jobs. Also returns how many were dropped.
async fn take_found(
    connection: &mut PgConnection,
    tables: &Tables,
    holder: &str,
    ids: Vec<String>,
) -> Result<(Vec<Taken>, usize)> {
    if ids.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let take = query(&tables.take.take).bind(holder).bind(&tables.queue).bind(&ids);
    let rows = take.fetch_all(&mut *connection).await?;
    let mut taken = rows.iter().map(taken).collect::<Result<Vec<_>>>()?;
    let places: HashMap<&String, usize> = ids.iter().zip(0..).collect();
    taken.sort_by_key(|taken| places.get(&taken.id));
    let found = taken.len();
    let taken = starts::leave_out(connection, tables, taken).await?;
    let left_out = found - taken.len();
    Ok((taken, left_out))
}

fn taken(row: &PgRow) -> Result<Taken> {
    Ok(Taken {
        id: row.try_get(0)?,
        claim: row.try_get(1)?,
        name: row.try_get(2)?,
        payload: row.try_get(3)?,
        metadata: row.try_get(4)?,
        attempts: row.try_get(5)?,
        outcome: row.try_get(6)?,
        status: row.try_get::<Option<i16>, _>(7)?.and_then(|status| u16::try_from(status).ok()),
        waited: row.try_get(8)?,
        age: row.try_get(9)?,
        is_serial: row.try_get(10)?,
        is_throttled: row.try_get(11)?,
    })
}

pub(super) async fn next_due(
    connection: &mut PgConnection,
    tables: &Tables,
    names: &[String],
) -> Result<Option<i64>> {
    let sql = query(&tables.take.next_due).bind(&tables.queue).bind(names);
    let due: Option<i64> = sql.fetch_one(connection).await?.try_get(0)?;
    Ok(due.map(|due| due.max(0)))
}

//! Runs the statements about holders and recovery.

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    keys::{self, Claimant},
    starts,
    tables::{Tables, query},
};
use crate::store::{
    interface::{Beat, Holder, Own},
    recovery::Orphan,
    state::text,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The number of jobs recovered in one transaction.
const BATCH: usize = 1_000;

pub(super) async fn register(connection: &mut PgConnection, tables: &Tables, holder: &Holder) -> Result<()> {
    let names = serde_json::to_string(&holder.names).map_err(|error| sqlx::Error::Encode(error.into()))?;
    query(&tables.holders.register)
        .bind(&holder.id)
        .bind(&tables.queue)
        .bind(text(&holder.host))
        .bind(i64::from(holder.pid))
        .bind(holder.version)
        .bind(names)
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn rename(connection: &mut PgConnection, tables: &Tables, holder: &Holder) -> Result<()> {
    let names = serde_json::to_string(&holder.names).map_err(|error| sqlx::Error::Encode(error.into()))?;
    query(&tables.holders.rename).bind(&holder.id).bind(names).execute(connection).await.map(drop)
}

pub(super) async fn beat(connection: &mut PgConnection, tables: &Tables, holder: &str) -> Result<Beat> {
    let of = &tables.holders;
    let beaten = query(&of.beat).bind(holder).execute(&mut *connection).await?.rows_affected();
    let others = query(&of.others).bind(&tables.queue).bind(holder).fetch_all(&mut *connection).await?;
    let others = others.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_>>()?;
    let own = query(&of.own).bind(holder).fetch_all(&mut *connection).await?;
    let own = own
        .iter()
        .map(|row| Ok(Own { id: row.try_get(0)?, claim: row.try_get(1)?, cancel: row.try_get(2)? }))
        .collect::<Result<_>>()?;
    let paused = paused(&mut *connection, tables).await?;
    let has_orphans = query(&of.has_orphans).fetch_one(connection).await?.try_get(0)?;
    Ok(Beat { is_alive: beaten > 0, others, own, paused, has_orphans })
}

pub(super) async fn paused(connection: &mut PgConnection, tables: &Tables) -> Result<Vec<String>> {
    let rows = query(&tables.holders.paused).bind(&tables.queue).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

pub(super) async fn bury(
    connection: &mut PgConnection,
    tables: &Tables,
    holder: &str,
    count: i64,
) -> Result<bool> {
    let buried = query(&tables.holders.bury).bind(holder).bind(count).execute(connection).await?;
    Ok(buried.rows_affected() > 0)
}

/// Recovers jobs of unknown holders. Returns whether there may be more.
pub(super) async fn recover(connection: &mut PgConnection, tables: &Tables) -> Result<(bool, bool)> {
    let rows = query(&tables.holders.orphans).bind(BATCH as i64).fetch_all(&mut *connection).await?;
    free(connection, tables, &rows, None).await?;
    Ok((rows.len() >= BATCH, !rows.is_empty()))
}

/// Makes ready the jobs that an ending holder has left. Returns whether there may be more. If not, the holder is forgotten.
pub(super) async fn unregister(
    connection: &mut PgConnection,
    tables: &Tables,
    holder: &str,
) -> Result<(bool, bool)> {
    let rows =
        query(&tables.holders.left).bind(BATCH as i64).bind(holder).fetch_all(&mut *connection).await?;
    free(connection, tables, &rows, Some(holder)).await?;
    let may_be_more = rows.len() >= BATCH;
    if !may_be_more {
        query(&tables.holders.forget).bind(holder).execute(connection).await?;
    }
    Ok((may_be_more, !rows.is_empty()))
}

/// Makes jobs ready that their holders left, or ends them. `leaves` is the holder if it signs off, and `None` after a death.
async fn free(
    connection: &mut PgConnection,
    tables: &Tables,
    rows: &[PgRow],
    leaves: Option<&str>,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let (mut ids, mut fates) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let orphan = Orphan {
            id: row.try_get(0)?,
            deaths: row.try_get::<i32, _>(1)?.into(),
            condition: row.try_get::<i16, _>(2).map(i64::from)?,
            status: row.try_get::<Option<i16>, _>(3)?.map(i64::from),
            cancel: row.try_get(4)?,
        };
        fates.push(orphan.fate(leaves.is_none()));
        ids.push(orphan.id);
    }
    let deaths = |deaths: i64| i32::try_from(deaths).unwrap_or(i32::MAX);
    let freed = query(&tables.holders.free)
        .bind(&ids)
        .bind(fates.iter().map(|fate| fate.state).collect::<Vec<_>>())
        .bind(fates.iter().map(|fate| deaths(fate.deaths)).collect::<Vec<_>>())
        .bind(fates.iter().map(|fate| fate.delay).collect::<Vec<_>>())
        .bind(fates.iter().map(|fate| fate.error).collect::<Vec<_>>())
        .bind(leaves)
        .fetch_all(&mut *connection)
        .await?;
    let mut claimants = Vec::new();
    for row in freed {
        if let Some(key) = row.try_get(1)? {
            claimants.push(Claimant { id: row.try_get(0)?, key, may_be_duplicate: false, replace: None });
        }
    }
    keys::claim(connection, tables, &claimants).await.map(drop)
}

/// Deletes jobs that ended long ago. Returns whether there may be more.
pub(super) async fn prune(
    connection: &mut PgConnection,
    tables: &Tables,
    done: i64,
    failed: i64,
) -> Result<bool> {
    let deleted = query(&tables.holders.prune)
        .bind(&tables.queue)
        .bind(done)
        .bind(failed)
        .bind(BATCH as i64)
        .execute(&mut *connection)
        .await?;
    let has_more = starts::forget(connection, tables, BATCH as i64).await?;
    Ok(has_more || deleted.rows_affected() >= BATCH as u64)
}

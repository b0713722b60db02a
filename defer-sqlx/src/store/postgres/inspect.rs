//! Runs the statements that read, and those that a person asks for.

use std::collections::HashSet;

use defer_core::{
    JobId, JobStatus,
    queue::{FailedJob, QueueCounts},
};
use sqlx::{PgConnection, Row};

use super::{
    keys::{self, Claimant},
    tables::{Tables, query},
};
use crate::store::{
    interface::{Cancelling, StoredRow},
    state::{self, text},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A name that has ready jobs.
struct Waiting {
    name: String,
    /// The time since the first became due, in milliseconds.
    waited: i64,
    is_paused: bool,
}

async fn waiting(connection: &mut PgConnection, tables: &Tables, queue: &str) -> Result<Vec<Waiting>> {
    let rows = query(&tables.inspect.waiting).bind(queue).fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok(Waiting { name: row.try_get(0)?, waited: row.try_get(1)?, is_paused: row.try_get(2)? }))
        .collect()
}

pub(super) async fn counts(connection: &mut PgConnection, tables: &Tables) -> Result<QueueCounts> {
    let row = query(&tables.inspect.counts).bind(&tables.queue).fetch_one(&mut *connection).await?;
    let mut counts = QueueCounts::default();
    let numbers = [&mut counts.pending, &mut counts.running, &mut counts.done, &mut counts.failed];
    for (at, number) in numbers.into_iter().enumerate() {
        *number = u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default();
    }
    let longest = waiting(connection, tables, &tables.queue).await?.iter().map(|name| name.waited).max();
    counts.oldest_due = longest.and_then(state::waited);
    Ok(counts)
}

pub(super) async fn unclaimed(
    connection: &mut PgConnection,
    tables: &Tables,
    due: i64,
) -> Result<Vec<String>> {
    let queue = &tables.queue;
    let mut queues = HashSet::new();
    let mut taken: HashSet<String> = HashSet::new();
    for row in query(&tables.inspect.takers).fetch_all(&mut *connection).await? {
        let (of, names): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if of == *queue {
            taken.extend(serde_json::from_str::<Vec<String>>(&names).unwrap_or_default());
        }
        queues.insert(of);
    }
    let mut unclaimed: Vec<String> = waiting(&mut *connection, tables, queue)
        .await?
        .into_iter()
        .filter(|name| name.waited >= due && !taken.contains(&name.name) && !name.is_paused)
        .map(|name| name.name)
        .collect();
    let mut last = String::new();
    loop {
        let next = query(&tables.inspect.next_queue).bind(&last).fetch_one(&mut *connection).await?;
        let Some(other) = next.try_get::<Option<String>, _>(0)? else { return Ok(unclaimed) };
        if other != *queue && !queues.contains(&other) {
            let waits = waiting(&mut *connection, tables, &other).await?;
            let is_due = waits.iter().any(|name| name.waited >= due);
            unclaimed.extend(is_due.then(|| format!("queue {other}")));
        }
        last = other;
    }
}

pub(super) async fn failed(
    connection: &mut PgConnection,
    tables: &Tables,
    limit: usize,
) -> Result<Vec<FailedJob>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = query(&tables.inspect.failed).bind(&tables.queue).bind(limit).fetch_all(connection).await?;
    let mut failed = Vec::with_capacity(rows.len());
    for row in &rows {
        // The table allows no other ids.
        let Ok(id) = row.try_get::<String, _>(0)?.parse::<JobId>() else { continue };
        let attempts = u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX);
        let error: Option<String> = row.try_get(3)?;
        failed.push(FailedJob::new(id, row.try_get::<String, _>(1)?, attempts, error.unwrap_or_default()));
    }
    Ok(failed)
}

pub(super) async fn status(
    connection: &mut PgConnection,
    tables: &Tables,
    id: JobId,
) -> Result<Option<JobStatus>> {
    let sql = query(&tables.inspect.status).bind(id.to_string()).bind(&tables.queue);
    let Some(row) = sql.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let (error, mut of): (Option<String>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
    if of.is_some() {
        let last = query(&tables.inspect.last).bind(id.to_string()).bind(&tables.queue);
        if let Some(row) = last.fetch_optional(&mut *connection).await? {
            of = row.try_get(0)?;
        }
    }
    let progress: Option<String> = row.try_get(4)?;
    if let Some(status) = state::in_progress(row.try_get(0)?, row.try_get(3)?, progress.as_deref()) {
        return Ok(Some(status));
    }
    Ok(state::status(row.try_get(0)?, error.as_deref(), of.as_deref()))
}

pub(super) async fn stored(
    connection: &mut PgConnection,
    tables: &Tables,
    names: &[String],
    limit: usize,
) -> Result<Vec<StoredRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = query(&tables.inspect.stored).bind(&tables.queue).bind(names).bind(limit);
    let mut stored = Vec::new();
    for row in &sql.fetch_all(connection).await? {
        let (error, of): (Option<String>, Option<String>) = (row.try_get(3)?, row.try_get(4)?);
        // The table allows no other ids.
        let Ok(id) = row.try_get::<String, _>(0)?.parse() else { continue };
        let Some(status) = state::status(row.try_get(2)?, error.as_deref(), of.as_deref()) else { continue };
        let (payload, due_in) = (row.try_get(1)?, row.try_get(7)?);
        let (serial, unique) = (row.try_get(5)?, row.try_get(6)?);
        stored.push(StoredRow { id, payload, status, serial, unique, due_in });
    }
    Ok(stored)
}

pub(super) async fn retry(connection: &mut PgConnection, tables: &Tables, id: JobId) -> Result<(bool, bool)> {
    let sql = query(&tables.inspect.retry).bind(id.to_string()).bind(&tables.queue);
    let Some(row) = sql.fetch_optional(&mut *connection).await? else { return Ok((false, false)) };
    if let Some(key) = row.try_get(0)? {
        let claimant = Claimant { id: id.to_string(), key, may_be_duplicate: false, replace: None };
        keys::claim(connection, tables, &[claimant]).await?;
    }
    Ok((true, true))
}

pub(super) async fn discard(connection: &mut PgConnection, tables: &Tables, id: JobId) -> Result<bool> {
    let sql = query(&tables.inspect.discard).bind(id.to_string()).bind(&tables.queue);
    Ok(sql.execute(connection).await?.rows_affected() > 0)
}

pub(super) async fn cancel(
    connection: &mut PgConnection,
    tables: &Tables,
    id: JobId,
    holder: &str,
    started: bool,
) -> Result<(Cancelling, bool)> {
    let sql = query(&tables.inspect.look).bind(id.to_string()).bind(&tables.queue);
    let Some(row) = sql.fetch_optional(&mut *connection).await? else {
        return Ok((Cancelling::Unknown, false));
    };
    let (found, of): (i16, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    let is_ours = of.as_deref() == Some(holder) && !started;
    let (sql, cancelled) = match found {
        state::READY => (&tables.inspect.cancel, Cancelling::Cancelled),
        state::HELD if is_ours => (&tables.inspect.cancel, Cancelling::Cancelled),
        state::HELD | state::TAKEN => (&tables.inspect.ask, Cancelling::Asked),
        _ => return Ok((Cancelling::Ended, false)),
    };
    query(sql).bind(id.to_string()).execute(connection).await?;
    // The next job with its serial key may run.
    Ok((cancelled, cancelled == Cancelling::Cancelled))
}

pub(super) async fn pause(
    connection: &mut PgConnection,
    tables: &Tables,
    name: &str,
    paused: bool,
) -> Result<((), bool)> {
    let sql = if paused { &tables.inspect.pause } else { &tables.inspect.resume };
    query(sql).bind(&tables.queue).bind(text(name)).execute(connection).await?;
    Ok(((), !paused))
}

//! Lists jobs, counts and holders.

use std::collections::BTreeMap;

use defer_core::{
    JobId,
    queue::{JobFilter, NameCounts},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    now,
    take::{all_groups, groups, text},
};
use crate::store::{
    interface::{HolderRow, JobRow},
    state,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The columns of a job, for callers that inspect the queue.
macro_rules! columns {
    () => {
        concat!(
            "j.id, CAST(j.name AS BLOB), j.state, j.attempts, j.due - ",
            now!(),
            ", ",
            now!(),
            " - j.created, ",
            now!(),
            " - j.ended, j.claim, CAST(substr(j.error, 1, 4096) AS BLOB), CAST(j.progress AS BLOB), CAST(j.metadata AS BLOB), ",
            "CAST(j.outcome AS BLOB), j.status, CAST(h.host AS BLOB), h.pid, ",
            "EXISTS (SELECT 1 FROM defer_pauses p WHERE p.queue = ?1 AND p.name = j.name)"
        )
    };
}

/// The holder of a job, if it has one.
macro_rules! holder {
    () => {
        " LEFT JOIN defer_holders h ON h.id = j.holder AND j.state IN (0, 2)"
    };
}

pub(super) const JOB: &str =
    concat!("SELECT ", columns!(), " FROM defer_jobs j", holder!(), " WHERE j.id = ?2 AND +j.queue = ?1");

/// The first jobs of each group.
macro_rules! first {
    ($table:literal, $of:literal, $due:literal) => {
        concat!(
            "SELECT f.value ->> 0 AS due, f.value ->> 1 AS id FROM ",
            $table,
            " g, json_each((SELECT json_group_array(json_array(due, id)) FROM (SELECT due, id FROM defer_jobs j ",
            "WHERE j.queue = ?1 AND j.name = g.name AND j.state = 1 AND j.",
            $of,
            " AND j.priority = g.priority AND j.due ",
            $due,
            " ",
            now!(),
            " ORDER BY j.due, j.id LIMIT ?2))) f WHERE g.priority IS NOT NULL"
        )
    };
}

macro_rules! waiting {
    ($due:literal) => {
        concat!(
            "WITH RECURSIVE ",
            all_groups!("plain_names", "plain", "serial_key IS NULL"),
            ", ",
            all_groups!("serial_names", "serial", "serial_key IS NOT NULL"),
            ", near AS (",
            first!("plain", "serial_key IS NULL", $due),
            " UNION ALL ",
            first!("serial", "serial_key IS NOT NULL", $due),
            " ORDER BY due, id LIMIT ?2) SELECT ",
            columns!(),
            " FROM near n CROSS JOIN defer_jobs j ON j.id = n.id",
            holder!(),
            " ORDER BY n.due, n.id"
        )
    };
}

pub(super) const READY: &str = waiting!("<=");
pub(super) const DELAYED: &str = waiting!(">");

pub(super) const RUNNING: &str = concat!(
    "WITH had AS (SELECT f.value AS id FROM (SELECT id FROM defer_holders WHERE queue = ?1 LIMIT 1000) owner, json_each((",
    "SELECT json_group_array(id) FROM (SELECT j.id FROM defer_jobs j WHERE j.holder = owner.id AND j.state IN (0, 2) LIMIT 1000))) f ",
    "ORDER BY f.value LIMIT ?2) SELECT ",
    columns!(),
    " FROM had CROSS JOIN defer_jobs j ON j.id = had.id",
    holder!(),
    " ORDER BY j.id"
);

pub(super) async fn job(connection: &mut SqliteConnection, queue: &str, id: JobId) -> Result<Option<JobRow>> {
    let row = sqlx::query(JOB).bind(queue).bind(id.to_string()).fetch_optional(connection).await?;
    Ok(row.as_ref().map(job_row).transpose()?.flatten())
}

pub(super) async fn jobs(
    connection: &mut SqliteConnection,
    queue: &str,
    filter: JobFilter,
    limit: usize,
) -> Result<Vec<JobRow>> {
    let sql = match filter {
        JobFilter::Ready => READY,
        JobFilter::Delayed => DELAYED,
        JobFilter::Running => RUNNING,
        _ => return Ok(Vec::new()),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(queue).bind(limit).fetch_all(connection).await?;
    rows.iter().filter_map(|row| job_row(row).transpose()).collect()
}

/// Reads a row. `None` if its id is invalid, which is possible if another client has changed the table.
fn job_row(row: &SqliteRow) -> Result<Option<JobRow>> {
    let bytes = |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<Vec<u8>>, _>(at)?.map(text));
    let Ok(id) = row.try_get::<String, _>(0)?.parse() else { return Ok(None) };
    Ok(Some(JobRow {
        id,
        name: text(row.try_get(1)?),
        state: row.try_get(2)?,
        attempts: row.try_get(3)?,
        due_in: row.try_get(4)?,
        age: row.try_get(5)?,
        ended: row.try_get(6)?,
        claim: row.try_get(7)?,
        error: bytes(8)?,
        progress: bytes(9)?,
        metadata: text(row.try_get(10)?),
        outcome: bytes(11)?,
        status: row.try_get(12)?,
        host: bytes(13)?,
        pid: row.try_get(14)?,
        is_paused: row.try_get(15)?,
    }))
}

/// For each group, counts the jobs that are due and those that are not, up to a limit, and returns when the first is due.
macro_rules! waiting_of {
    ($of:literal) => {
        concat!(
            "WITH RECURSIVE ",
            all_groups!("names", "groups", $of),
            " SELECT CAST(name AS BLOB), (SELECT count(*) FROM (SELECT 1 FROM defer_jobs j WHERE j.queue = ?1 AND j.name = g.name ",
            "AND j.state = 1 AND j.",
            $of,
            " AND j.priority = g.priority AND j.due <= ",
            now!(),
            " LIMIT ?2)), (SELECT count(*) FROM (SELECT 1 FROM defer_jobs j WHERE j.queue = ?1 AND j.name = g.name ",
            "AND j.state = 1 AND j.",
            $of,
            " AND j.priority = g.priority AND j.due > ",
            now!(),
            " LIMIT ?2)), ",
            now!(),
            " - (SELECT min(j.due) FROM defer_jobs j WHERE j.queue = ?1 AND j.name = g.name AND j.state = 1 AND j.",
            $of,
            " AND j.priority = g.priority) FROM groups g WHERE priority IS NOT NULL"
        )
    };
}

/// For jobs without and with a serial key.
pub(super) const WAITING: [&str; 2] =
    [waiting_of!("serial_key IS NULL"), waiting_of!("serial_key IS NOT NULL")];

pub(super) const HAD: &str = "SELECT CAST(name AS BLOB), count(*) FROM (SELECT j.name FROM defer_holders h CROSS JOIN defer_jobs j \
    ON j.holder = h.id AND j.state IN (0, 2) WHERE h.queue = ?1 LIMIT ?2) GROUP BY name";

pub(super) const FAILED: &str = "WITH RECURSIVE names (name) AS (SELECT min(name) FROM defer_jobs WHERE queue = ?1 AND state = 4 \
    AND ended IS NOT NULL UNION ALL SELECT (SELECT min(j.name) FROM defer_jobs j WHERE j.queue = ?1 AND j.name > n.name \
    AND j.state = 4 AND j.ended IS NOT NULL) FROM names n WHERE name IS NOT NULL LIMIT 1000) \
    SELECT CAST(name AS BLOB), (SELECT count(*) FROM (SELECT 1 FROM defer_jobs j WHERE j.queue = ?1 AND j.name = n.name \
    AND j.state = 4 AND j.ended IS NOT NULL LIMIT ?2)) FROM names n WHERE name IS NOT NULL";

pub(super) async fn counts_by_name(
    connection: &mut SqliteConnection,
    queue: &str,
) -> Result<Vec<NameCounts>> {
    let limit = state::count_limit(groups(connection, queue).await?.len());
    let mut names = BTreeMap::new();
    for sql in WAITING {
        for row in sqlx::query(sql).bind(queue).bind(limit).fetch_all(&mut *connection).await? {
            let counts = state::of_name(&mut names, text(row.try_get(0)?));
            counts.ready += number(&row, 1)?;
            counts.delayed += number(&row, 2)?;
            counts.oldest_due = counts.oldest_due.max(state::waited(row.try_get(3)?));
        }
    }
    for row in sqlx::query(HAD).bind(queue).bind(limit).fetch_all(&mut *connection).await? {
        state::of_name(&mut names, text(row.try_get(0)?)).running = number(&row, 1)?;
    }
    for row in sqlx::query(FAILED).bind(queue).bind(limit).fetch_all(connection).await? {
        state::of_name(&mut names, text(row.try_get(0)?)).failed = number(&row, 1)?;
    }
    Ok(names.into_values().collect())
}

fn number(row: &SqliteRow, at: usize) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default())
}

pub(super) const HOLDERS: &str = concat!(
    "SELECT id, CAST(host AS BLOB), pid, CAST(version AS BLOB), ",
    now!(),
    " - started, CAST(names AS BLOB), beat, (SELECT count(*) FROM (SELECT 1 FROM defer_jobs j WHERE j.holder = h.id ",
    "AND j.state IN (0, 2) LIMIT 10000)) FROM defer_holders h WHERE queue = ?1 ORDER BY started, id LIMIT 1000"
);

pub(super) async fn holders(connection: &mut SqliteConnection, queue: &str) -> Result<Vec<HolderRow>> {
    let rows = sqlx::query(HOLDERS).bind(queue).fetch_all(connection).await?;
    let holder = |row: &SqliteRow| {
        Ok(HolderRow {
            id: row.try_get(0)?,
            host: text(row.try_get(1)?),
            pid: row.try_get(2)?,
            version: text(row.try_get(3)?),
            age: row.try_get(4)?,
            names: text(row.try_get(5)?),
            count: row.try_get(6)?,
            jobs: row.try_get(7)?,
        })
    };
    rows.iter().map(holder).collect()
}

//! The statements that store jobs which anyone may take.

use defer_core::JobId;
use sqlx::SqliteConnection;

use super::{json::json, now, turn, write::array};
use crate::store::{
    interface::NewJob,
    state::{self, text},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) const PUSH: &str = concat!(
    "INSERT INTO defer_jobs (queue, id, name, payload, metadata, priority, due, turn, created) ",
    "SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, now + (value ->> 5), now, now ",
    "FROM json_each(?2), (SELECT ",
    now!(),
    " AS now) WHERE true ON CONFLICT (id) DO NOTHING"
);

/// A job that is stored already stays as it is, and is told again of its twin.
pub(super) const PUSH_WITH_KEYS: &str = concat!(
    "INSERT INTO defer_jobs (id, queue, name, payload, metadata, priority, due, serial_key, unique_key, turn, ",
    "created, unique_claim, state, duplicate_of, ended) SELECT ?1, ?2, ?3, ?4, ?5, ?6, now + ?7, ?8, ?9, ",
    turn!("?2", "?8"),
    ", now, CASE WHEN twin IS NULL THEN ?9 END, CASE WHEN twin IS NULL THEN 1 ELSE 7 END, twin, ",
    "CASE WHEN twin IS NOT NULL THEN now END FROM (SELECT ",
    now!(),
    " AS now, (SELECT id FROM defer_jobs WHERE queue = ?2 AND unique_claim = ?9 AND id <> ?1) AS twin) WHERE true ",
    "ON CONFLICT (id) DO UPDATE SET id = id RETURNING duplicate_of"
);

/// Stores jobs that anyone may take. Those without keys by one statement, and the others one by one, in their order.
pub(super) async fn push(
    connection: &mut SqliteConnection,
    queue: &str,
    jobs: &[NewJob],
) -> Result<Vec<Option<JobId>>> {
    let has_keys = |job: &NewJob| job.serial.is_some() || job.unique.is_some();
    let plain = array(jobs.iter().filter(|job| !has_keys(job)).map(|job| {
        let NewJob { id, priority, .. } = job;
        let (name, payload, metadata) = (text(&job.name), text(&job.payload), text(&job.metadata));
        json(&(id, name, payload, metadata, priority, state::delay(job.delay)))
    }))?;
    if jobs.iter().any(|job| !has_keys(job)) {
        sqlx::query(PUSH).bind(queue).bind(plain).execute(&mut *connection).await?;
    }
    let mut duplicates = Vec::with_capacity(jobs.len());
    for job in jobs {
        duplicates.push(if has_keys(job) { push_with_keys(connection, queue, job).await? } else { None });
    }
    Ok(duplicates)
}

async fn push_with_keys(
    connection: &mut SqliteConnection,
    queue: &str,
    job: &NewJob,
) -> Result<Option<JobId>> {
    let of: Option<String> = sqlx::query_scalar(PUSH_WITH_KEYS)
        .bind(job.id.to_string())
        .bind(queue)
        .bind(text(&job.name))
        .bind(text(&job.payload))
        .bind(text(&job.metadata))
        .bind(job.priority)
        .bind(state::delay(job.delay))
        .bind(job.serial.as_deref().map(text))
        .bind(job.unique.as_deref().map(text))
        .fetch_one(connection)
        .await?;
    Ok(of.and_then(|of| of.parse().ok()))
}

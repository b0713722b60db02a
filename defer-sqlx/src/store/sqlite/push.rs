//! The statements that store jobs for any worker.

use defer_core::JobId;
use sqlx::SqliteConnection;

use super::{json::json, keys, now, turn, write::array};
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

/// Leaves a job that is already stored unchanged, and returns its twin again. A job that will replace another (`?10`) has no
/// twin.
pub(super) const PUSH_WITH_KEYS: &str = concat!(
    "INSERT INTO defer_jobs (id, queue, name, payload, metadata, priority, due, serial_key, unique_key, turn, ",
    "created, unique_claim, state, duplicate_of, ended, throttle_key, throttle_every) ",
    "SELECT ?1, ?2, ?3, ?4, ?5, ?6, now + ?7, ?8, ?9, ",
    turn!("?2", "?8"),
    ", now, CASE WHEN twin IS NULL AND NOT ?10 THEN ?9 END, CASE WHEN twin IS NULL THEN 1 ELSE 7 END, twin, ",
    "CASE WHEN twin IS NOT NULL THEN now END, ?11, ?12 FROM (SELECT ",
    now!(),
    " AS now, (SELECT id FROM defer_jobs WHERE queue = ?2 AND unique_claim = ?9 AND id <> ?1 AND NOT ?10) AS twin) WHERE true ",
    "ON CONFLICT (id) DO UPDATE SET id = id RETURNING duplicate_of"
);

/// Stores jobs for any worker: those without keys with one statement, and the others one by one, in order.
pub(super) async fn push(
    connection: &mut SqliteConnection,
    queue: &str,
    jobs: &[NewJob],
) -> Result<Vec<Option<JobId>>> {
    let has_keys = |job: &NewJob| job.serial.is_some() || job.unique.is_some() || job.throttle.is_some();
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
    let id = job.id.to_string();
    let unique = job.unique.as_deref().map(text);
    let of: Option<String> = sqlx::query_scalar(PUSH_WITH_KEYS)
        .bind(&id)
        .bind(queue)
        .bind(text(&job.name))
        .bind(text(&job.payload))
        .bind(text(&job.metadata))
        .bind(job.priority)
        .bind(state::delay(job.delay))
        .bind(job.serial.as_deref().map(text))
        .bind(&unique)
        .bind(job.replace.is_some())
        .bind(job.throttle.as_ref().map(|throttle| text(&throttle.key)))
        .bind(job.throttle.as_ref().map(|throttle| state::delay(throttle.every)))
        .fetch_one(&mut *connection)
        .await?;
    if let (Some(key), Some(replace)) = (unique, job.replace) {
        keys::take_place(connection, queue, &key, &id, replace).await?;
        return Ok(None);
    }
    Ok(of.and_then(|of| of.parse().ok()))
}

//! The statements about jobs whose starts are limited.

use std::collections::HashSet;

use sqlx::SqliteConnection;

use super::{json::json, now};
use crate::store::{interface::Taken, state::DUPLICATE};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Tests whether the last start with the key of a job (`excluded`) allows it to start. After the clock was set back, the last
/// start may be in the future.
macro_rules! may_start {
    () => {
        "(id = excluded.id OR until <= excluded.started \
         OR abs(excluded.started - started) >= excluded.until - excluded.started)"
    };
}

/// Notes the start of these jobs (`?2`, a JSON array, in order) where it is allowed: the first job of each key.
pub(super) const START: &str = concat!(
    "INSERT INTO defer_starts (queue, key, id, started, until) SELECT j.queue, j.throttle_key, j.id, ",
    now!(),
    ", ",
    now!(),
    " + min(j.throttle_every, 4503599627370496) FROM json_each(?2) AS c CROSS JOIN defer_jobs j ON j.id = c.value \
     WHERE j.queue = ?1 ORDER BY c.key ON CONFLICT (queue, key) DO UPDATE SET id = CASE WHEN ",
    may_start!(),
    " THEN excluded.id ELSE id END, started = CASE WHEN ",
    may_start!(),
    " THEN excluded.started ELSE started END, until = CASE WHEN ",
    may_start!(),
    " THEN max(until, excluded.until) ELSE until END"
);

/// Ends those of these jobs (`?2`) that may not start, as duplicates of the job that did.
pub(super) const LEAVE_OUT: &str = concat!(
    "UPDATE defer_jobs SET throttle_key = NULL, state = CASE WHEN s.id = defer_jobs.id THEN state ELSE 7 END, ",
    "duplicate_of = CASE WHEN s.id = defer_jobs.id THEN duplicate_of ELSE s.id END, ended = CASE WHEN s.id = defer_jobs.id ",
    "THEN ended ELSE ",
    now!(),
    " END FROM json_each(?2) AS c, defer_starts s WHERE defer_jobs.id = c.value AND +state = 2 AND s.queue = ?1 ",
    "AND s.key = throttle_key RETURNING id, state"
);

pub(super) const FORGET: &str = concat!(
    "DELETE FROM defer_starts WHERE queue = ?1 AND key IN (SELECT key FROM defer_starts WHERE queue = ?1 AND until < ",
    now!(),
    " LIMIT ?2)"
);

/// Drops those of the just taken jobs that would start too soon after another.
pub(super) async fn leave_out(
    connection: &mut SqliteConnection,
    queue: &str,
    mut taken: Vec<Taken>,
) -> Result<Vec<Taken>> {
    let throttled: Vec<&str> =
        taken.iter().filter(|taken| taken.is_throttled).map(|taken| &*taken.id).collect();
    if throttled.is_empty() {
        return Ok(taken);
    }
    let ids = json(&throttled)?;
    sqlx::query(START).bind(queue).bind(&ids).execute(&mut *connection).await?;
    let changed: Vec<(String, i16)> =
        sqlx::query_as(LEAVE_OUT).bind(queue).bind(&ids).fetch_all(connection).await?;
    let left_out: HashSet<String> =
        changed.into_iter().filter(|(_, state)| *state == DUPLICATE).map(|(id, _)| id).collect();
    taken.retain(|taken| !left_out.contains(&taken.id));
    Ok(taken)
}

/// Forgets starts that no longer matter. Returns whether there may be more.
pub(super) async fn forget(connection: &mut SqliteConnection, queue: &str, limit: i64) -> Result<bool> {
    let forgotten = sqlx::query(FORGET).bind(queue).bind(limit).execute(connection).await?;
    Ok(i64::try_from(forgotten.rows_affected()).unwrap_or(limit) >= limit)
}

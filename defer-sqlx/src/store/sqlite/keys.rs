//! The statements about unique keys.

use sqlx::SqliteConnection;

use super::{json::json, now};
use crate::store::{interface::Replace, state};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) const TWIN: &str = "SELECT id FROM defer_jobs WHERE queue = ?1 AND unique_claim = ?2 AND id <> ?3";

pub(super) const CLAIM: &str = "UPDATE OR IGNORE defer_jobs SET unique_claim = unique_key FROM json_each(?1) AS c \
    WHERE defer_jobs.id = c.value AND +state = 1 AND +unique_key IS NOT NULL AND attempts = 0";

/// Ends the ready job that has claimed a key (`?2`), because another (`?3`), which is ready without a claim, replaces it.
pub(super) const REPLACE: &str = concat!(
    "UPDATE defer_jobs SET state = 7, duplicate_of = ?3, unique_claim = NULL, ended = ",
    now!(),
    " WHERE id = (SELECT id FROM defer_jobs WHERE queue = ?1 AND unique_claim = ?2 AND id <> ?3) AND +state = 1 \
    AND EXISTS (SELECT 1 FROM defer_jobs n WHERE n.id = ?3 AND n.state = 1 AND n.unique_claim IS NULL AND n.attempts = 0) \
    RETURNING due, coalesce(since, created)"
);

/// Gives a job (`?1`) the place of a job that was due at `?2` and whose chain of replacements began at `?3`, or a place of its
/// own if these are `NULL`. `?4` limits how long a place lasts.
pub(super) const PLACE: &str = concat!(
    "UPDATE defer_jobs SET unique_claim = unique_key, since = coalesce(?3, ",
    now!(),
    "), due = CASE WHEN ?4 IS NULL THEN coalesce(?2, due) ELSE min(due, coalesce(?3, ",
    now!(),
    ") + ?4) END WHERE id = ?1 AND +state = 1 AND unique_claim IS NULL AND attempts = 0"
);

/// Lets a ready job without a claim replace the job that has claimed its key, if there is one.
pub(super) async fn take_place(
    connection: &mut SqliteConnection,
    queue: &str,
    key: &str,
    id: &str,
    replace: Replace,
) -> Result<()> {
    let replaced = sqlx::query_as(REPLACE).bind(queue).bind(key).bind(id);
    let replaced: Option<(i64, i64)> = replaced.fetch_optional(&mut *connection).await?;
    let (due, since) = replaced.unzip();
    let place = sqlx::query(PLACE).bind(id).bind(due).bind(since).bind(replace.within().map(state::delay));
    place.execute(connection).await.map(drop)
}

/// Returns the job that has claimed a key, if it is not this one.
pub(super) async fn twin(
    connection: &mut SqliteConnection,
    queue: &str,
    key: &str,
    id: &str,
) -> Result<Option<String>> {
    sqlx::query_scalar(TWIN).bind(queue).bind(key).bind(id).fetch_optional(connection).await
}

/// Lets ready jobs claim their keys. A key that another job has claimed stays with that job, and a job that has had an attempt
/// claims none.
pub(super) async fn claim_where_free(connection: &mut SqliteConnection, ids: &[String]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(CLAIM).bind(json(&ids)?).execute(connection).await.map(drop)
}

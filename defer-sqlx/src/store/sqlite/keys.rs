//! The statements of unique keys.

use sqlx::SqliteConnection;

use super::json::json;

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) const TWIN: &str = "SELECT id FROM defer_jobs WHERE queue = ?1 AND unique_claim = ?2 AND id <> ?3";

pub(super) const CLAIM: &str = "UPDATE OR IGNORE defer_jobs SET unique_claim = unique_key FROM json_each(?1) AS c \
    WHERE defer_jobs.id = c.value AND +state = 1 AND +unique_key IS NOT NULL AND attempts = 0";

/// Returns the job that has claimed a key, if that is another than this.
pub(super) async fn twin(
    connection: &mut SqliteConnection,
    queue: &str,
    key: &str,
    id: &str,
) -> Result<Option<String>> {
    sqlx::query_scalar(TWIN).bind(queue).bind(key).bind(id).fetch_optional(connection).await
}

/// Lets ready jobs claim their keys. A key that another has claimed stays with that, and a job that had an attempt claims none.
pub(super) async fn claim_where_free(connection: &mut SqliteConnection, ids: &[String]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(CLAIM).bind(json(&ids)?).execute(connection).await.map(drop)
}

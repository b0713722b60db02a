//! Runs the statements about jobs whose starts are limited.

use std::collections::HashSet;

use sqlx::{PgConnection, Row};

use super::tables::{Tables, query};
use crate::store::{interface::Taken, state::DUPLICATE};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Drops those of the just taken jobs that would start too soon after another.
pub(super) async fn leave_out(
    connection: &mut PgConnection,
    tables: &Tables,
    mut taken: Vec<Taken>,
) -> Result<Vec<Taken>> {
    let throttled: Vec<&str> =
        taken.iter().filter(|taken| taken.is_throttled).map(|taken| &*taken.id).collect();
    if throttled.is_empty() {
        return Ok(taken);
    }
    query(&tables.starts.turn).bind(&tables.queue).execute(&mut *connection).await?;
    query(&tables.starts.start).bind(&tables.queue).bind(&throttled).execute(&mut *connection).await?;
    let mut left_out = HashSet::new();
    let leave_out = query(&tables.starts.leave_out).bind(&tables.queue).bind(&throttled);
    for row in leave_out.fetch_all(connection).await? {
        if row.try_get::<i16, _>(1)? == DUPLICATE {
            left_out.insert(row.try_get::<String, _>(0)?);
        }
    }
    taken.retain(|taken| !left_out.contains(&taken.id));
    Ok(taken)
}

/// Forgets starts that no longer matter. Returns whether there may be more.
pub(super) async fn forget(connection: &mut PgConnection, tables: &Tables, limit: i64) -> Result<bool> {
    let forgotten = query(&tables.starts.forget).bind(&tables.queue).bind(limit).execute(connection).await?;
    Ok(i64::try_from(forgotten.rows_affected()).unwrap_or(limit) >= limit)
}

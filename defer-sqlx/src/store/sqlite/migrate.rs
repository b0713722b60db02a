//! Creates the tables.

use sqlx::{Row, SqliteConnection};

use super::database::File;
use crate::{error::Error, store::connection::Line};

/// The migrations, in order. Later ones only add.
const MIGRATIONS: [(i64, &str); 4] = [
    (1, include_str!("../../../migrations/sqlite/0001_jobs.sql")),
    (2, include_str!("../../../migrations/sqlite/0002_progress.sql")),
    (3, include_str!("../../../migrations/sqlite/0003_failures.sql")),
    (4, include_str!("../../../migrations/sqlite/0004_replace.sql")),
];

/// Creates missing tables, in one transaction. Locks nothing if none is missing.
pub(super) async fn migrate(line: &Line<File>, migrate: bool) -> Result<(), Error> {
    let store = |error: crate::store::StoreError| Error::Store(error.into());
    let applied = line.look(|connection| Box::pin(applied(connection))).await.map_err(store)?;
    if applied >= MIGRATIONS.len() {
        return Ok(());
    }
    if !migrate {
        let reason = "the tables of the queue are missing or those of an older version, and `migrate(false)` was set: \
                      connect once with `migrate(true)`";
        return Err(Error::Unusable { reason: reason.to_owned() });
    }
    line.run(|connection| Box::pin(apply(connection))).await.map_err(store)
}

async fn apply(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql = "CREATE TABLE IF NOT EXISTS defer_migrations (version INTEGER PRIMARY KEY, \
               applied TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT";
    sqlx::raw_sql(sql).execute(&mut *connection).await?;
    // Another process may have been faster.
    let done = applied(connection).await?;
    for (version, sql) in MIGRATIONS.into_iter().skip(done) {
        sqlx::raw_sql(sql).execute(&mut *connection).await?;
        let note = sqlx::query("INSERT INTO defer_migrations (version) VALUES (?1)").bind(version);
        note.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Returns the number of applied migrations. A newer version of this crate may have applied more.
async fn applied(connection: &mut SqliteConnection) -> Result<usize, sqlx::Error> {
    let exists = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'defer_migrations'";
    let exists: i64 = sqlx::query(exists).fetch_one(&mut *connection).await?.try_get(0)?;
    if exists == 0 {
        return Ok(0);
    }
    let count: i64 =
        sqlx::query("SELECT count(*) FROM defer_migrations").fetch_one(connection).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or_default())
}

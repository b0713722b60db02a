//! Opens connections, and begins and ends their transactions.

use std::{sync::Arc, time::Duration};

use defer_core::BoxFuture;
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::Mutex;

use crate::store::connection::{Control, Database};

/// The time for which SQLite itself waits for a lock. It tries less and less often, down to ten times a second, so where others
/// write one transaction after another, it would seldom hit the moment between two. Therefore it gets little time, and is asked
/// again and again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(20);
/// The longest pause between two such tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);

#[derive(Debug)]
pub(super) struct File {
    options: SqliteConnectOptions,
    in_memory: bool,
    turn: Arc<Mutex<()>>,
}

impl File {
    /// Creates the database. Its commits survive a power failure.
    pub(super) fn new(options: SqliteConnectOptions, in_memory: bool) -> Self {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // In pages. Four times SQLite's default, because each checkpoint delays the commits that wait for it.
            .pragma("wal_autocheckpoint", "4000")
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        Self { options, in_memory, turn: Arc::default() }
    }
}

impl Database for File {
    type Connection = SqliteConnection;

    fn open(&self) -> BoxFuture<'_, Result<SqliteConnection, sqlx::Error>> {
        Box::pin(async {
            loop {
                match SqliteConnection::connect_with(&self.options).await {
                    // Another process is creating or recovering the file.
                    Err(error) if is_busy(&error) => pause().await,
                    opened => return opened,
                }
            }
        })
    }

    fn execute<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
        statement: Control,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        let (statement, waits) = match statement {
            // A transaction that began with a read could no longer write once another one has written.
            Control::Begin => ("BEGIN IMMEDIATE", true),
            Control::Look => ("BEGIN", false),
            // Busy only where the journal is not a WAL. The transaction then continues.
            Control::Commit => ("COMMIT", true),
            Control::Rollback => ("ROLLBACK", false),
        };
        Box::pin(async move {
            loop {
                match sqlx::query(statement).execute(&mut *connection).await {
                    Err(error) if waits && is_busy(&error) => pause().await,
                    executed => return executed.map(drop),
                }
            }
        })
    }

    fn is_data(&self, error: &sqlx::Error) -> bool {
        match error {
            // SQLITE_ERROR (malformed JSON, among others), TOOBIG, CONSTRAINT, MISMATCH, RANGE.
            sqlx::Error::Database(_) => matches!(code(error), 1 | 18 | 19 | 20 | 25),
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => true,
            _ => false,
        }
    }

    fn is_refused(&self, error: &sqlx::Error) -> bool {
        // Also SQLITE_BUSY, READONLY and FULL. After an I/O error the end of the transaction may be in the file.
        self.is_data(error) || is_busy(error) || matches!(code(error), 8 | 13)
    }

    fn is_only_connection(&self) -> bool {
        self.in_memory
    }

    fn turn(&self) -> Option<Arc<Mutex<()>>> {
        Some(self.turn.clone())
    }
}

pub(super) async fn pause() {
    let longest = u64::try_from(LONGEST_PAUSE.as_micros()).unwrap_or(u64::MAX);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..longest))).await;
}

/// Returns whether another connection is in the way: `SQLITE_BUSY`, or `SQLITE_LOCKED` with a shared cache.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), 5 | 6)
}

/// Returns the primary code of a SQLite error, and 0 for any other error.
fn code(error: &sqlx::Error) -> i32 {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<i32>().ok()).unwrap_or_default() & 0xff
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[tokio::test]
    async fn commits_are_on_the_disk() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        // Independent of the user's options.
        let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
        let options = SqliteConnectOptions::from_str(&url)?.synchronous(SqliteSynchronous::Off);
        let mut connection = File::new(options, false).open().await?;
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await?;
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await?;
        // 2 is FULL: the log is synced at each commit.
        assert_eq!((synchronous, &*journal), (2, "wal"));
        Ok(())
    }
}

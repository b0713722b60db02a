//! A database to measure.

use std::time::Duration;

use defer_axum::JobId;
use defer_sqlx::{
    SqlxQueue,
    sqlx::{
        self, AssertSqlSafe, Connection, PgConnection, PgPool, SqlitePool,
        postgres::PgPoolOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};
use tempfile::TempDir;

/// An empty database.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) floor: Floor,
    _folder: Option<TempDir>,
}

/// A database as a handler would use it without the queue.
#[derive(Clone)]
pub(crate) enum Floor {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Place {
    /// Writes to disk at each commit, as the queue does.
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jobs.db");
        let url = format!("sqlite:{}", file.display());
        drop(SqlxQueue::connect(&url).await.unwrap());
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        sqlx::query("CREATE TABLE rows (number INTEGER)").execute(&pool).await.unwrap();
        Self { url, floor: Floor::Sqlite(pool), _folder: Some(folder) }
    }

    pub(crate) async fn postgres(server: &str) -> Self {
        let name = format!("bench_{}", JobId::unique()).to_lowercase();
        let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        let url = format!("{server}/{name}");
        drop(SqlxQueue::connect(&url).await.unwrap());
        let pool = PgPoolOptions::new().max_connections(32).connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE rows (number bigint)").execute(&pool).await.unwrap();
        Self { url, floor: Floor::Postgres(pool), _folder: None }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.floor {
            Floor::Sqlite(_) => "SQLite",
            Floor::Postgres(_) => "Postgres",
        }
    }

    /// Adds this many done jobs, and as many waiting ones: half of them for a worker of another type, and half until tomorrow.
    pub(crate) async fn fill(&self, rows: u64) {
        self.fill_with(rows, rows).await;
    }

    /// Adds this many done jobs, and this many waiting ones, like [`fill`](Self::fill).
    pub(crate) async fn fill_with(&self, done_rows: u64, waiting: u64) {
        const COLUMNS: &str = "INSERT INTO defer_jobs (id, name, payload, state, due, ended)";
        let done = "'Here', '{\"number\":1}', 3, now, now";
        let due = "'Nobody', '{\"number\":1}', 1, now, NULL";
        let later = "'Here', '{\"number\":1}', 1, now + 86400000, NULL";
        let all = [("1", done_rows, done), ("2", waiting / 2, due), ("3", waiting / 2, later)];
        for (first, rows, values) in all.into_iter().filter(|(_, rows, _)| *rows > 0) {
            let sql = match &self.floor {
                Floor::Sqlite(_) => format!(
                    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows}) \
                     {COLUMNS} SELECT printf('{first}%025d', n), {values} \
                     FROM n, (SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now)"
                ),
                Floor::Postgres(_) => format!(
                    "{COLUMNS} SELECT '{first}' || lpad(n::text, 25, '0'), {values} \
                     FROM generate_series(1, {rows}) AS n, (SELECT (extract(epoch FROM now()) * 1000)::bigint AS now) AS at"
                ),
            };
            self.floor.execute(sql).await;
        }
        self.floor.execute("ANALYZE".to_owned()).await;
    }

    /// Returns the number of transactions that the database has ended so far, if it counts them.
    pub(crate) async fn transactions(&self) -> Option<i64> {
        let Floor::Postgres(pool) = &self.floor else { return None };
        // Backends report their numbers only once in a while.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let sql =
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
        Some(sqlx::query_scalar(sql).fetch_one(pool).await.unwrap())
    }
}

impl Floor {
    /// Stores one row.
    pub(crate) async fn insert(&self, number: i64) {
        const INSERT: &str = "INSERT INTO rows (number) VALUES ($1)";
        match self {
            Self::Sqlite(pool) => drop(sqlx::query(INSERT).bind(number).execute(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::query(INSERT).bind(number).execute(pool).await.unwrap()),
        }
    }

    async fn execute(&self, sql: String) {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
        }
    }
}

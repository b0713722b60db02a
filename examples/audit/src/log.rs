//! The audit log, and `GET /audit`, which shows it: one entry per line, as JSON.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use defer_axum::{BoxError, JobId};
use serde::Serialize;
use sqlx::{FromRow, SqlitePool};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS entries (
    id         TEXT    PRIMARY KEY, -- that of the job
    at_ms      INTEGER NOT NULL,
    user       TEXT,                -- NULL for a request that said not who it is
    method     TEXT    NOT NULL,
    route      TEXT,                -- NULL where none matched
    path       TEXT    NOT NULL,
    status     INTEGER,             -- NULL if there was no answer: the client left, or the handler panicked
    request_id TEXT    NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_at ON entries (at_ms);
CREATE TRIGGER IF NOT EXISTS entries_stay_unchanged BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'an entry is never changed'); END;
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'an entry is never deleted'); END";

/// The log. A clone is another handle to the same database.
#[derive(Clone)]
pub(crate) struct AuditLog {
    pool: SqlitePool,
}

/// An entry to be written.
pub(crate) struct NewEntry<'a> {
    pub(crate) at_ms: i64,
    pub(crate) user: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) route: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) status: Option<u16>,
    pub(crate) request_id: &'a str,
}

/// One entry, as `GET /audit` shows it.
#[derive(FromRow, Serialize)]
struct Entry {
    at: String,
    user: Option<String>,
    method: String,
    route: Option<String>,
    path: String,
    status: Option<u16>,
    request_id: String,
}

impl AuditLog {
    pub(crate) async fn create(pool: SqlitePool) -> Result<Self, sqlx::Error> {
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Adds an entry, unless an earlier run of the same job has already added it.
    pub(crate) async fn add(&self, job: JobId, entry: NewEntry<'_>) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO entries (id, at_ms, user, method, route, path, status, request_id)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        )
        .bind(job.to_string())
        .bind(entry.at_ms)
        .bind(entry.user)
        .bind(entry.method)
        .bind(entry.route)
        .bind(entry.path)
        .bind(entry.status)
        .bind(entry.request_id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Returns the latest 1,000 entries, the last request first.
    async fn latest(&self) -> Result<Vec<Entry>, sqlx::Error> {
        sqlx::query_as(
            "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch') AS at,
                    user, method, route, path, status, request_id
             FROM entries ORDER BY at_ms DESC, id DESC LIMIT 1000",
        )
        .fetch_all(&self.pool)
        .await
    }
}

pub(crate) fn routes(log: AuditLog) -> Router {
    Router::new().route("/audit", get(show)).with_state(log)
}

async fn show(State(log): State<AuditLog>) -> Result<impl IntoResponse, StatusCode> {
    let lines = async {
        let entries = log.latest().await?;
        let lines = entries.iter().map(|entry| Ok(serde_json::to_string(entry)? + "\n"));
        lines.collect::<Result<String, BoxError>>()
    };
    let lines = lines.await.map_err(|error| {
        tracing::error!(%error, "could not read the log");
        StatusCode::INTERNAL_SERVER_ERROR
    })?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines))
}

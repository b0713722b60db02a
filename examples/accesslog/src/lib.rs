//! A service that logs its requests in SQLite. Up to fifty rows share one INSERT, and one commit.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use defer_axum::{BatchJob, DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
use sqlx::{QueryBuilder, Sqlite, SqlitePool, sqlite::SqliteConnectOptions};

const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS requests (at_ms INTEGER NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL)";

/// The database of the log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    pool: SqlitePool,
}

impl AccessLog {
    /// Opens the database, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the folder does not exist, or the file is not a database.
    pub async fn open(url: &str) -> Result<Self, sqlx::Error> {
        let options: SqliteConnectOptions = url.parse()?;
        let pool = SqlitePool::connect_with(options.create_if_missing(true)).await?;
        sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&pool).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Returns the number of rows.
    ///
    /// # Errors
    ///
    /// Returns the error of the database.
    pub async fn count(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM requests").fetch_one(&self.pool).await
    }

    async fn insert(&self, rows: &[&Row]) -> Result<(), sqlx::Error> {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO requests (at_ms, method, path) ");
        insert.push_values(rows, |mut values, row| {
            values.push_bind(row.at_ms).push_bind(&row.method).push_bind(&row.path);
        });
        insert.build().execute(&self.pool).await?;
        Ok(())
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Row {
    /// When it arrived, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
}

/// Logs requests in batches. Only one batch runs at a time, because SQLite has a single writer.
#[derive(Clone, Debug, Deferrable)]
#[defer(batch = 50, within = "500ms", tries = 3, backoff = "100ms..1s", max_running = 1)]
pub struct LogRequest(pub Row);

impl BatchJob for LogRequest {
    async fn run(requests: &[Self], cx: &JobContext) -> JobResult {
        let rows: Vec<&Row> = requests.iter().map(|request| &request.0).collect();
        cx.state::<AccessLog>()?.insert(&rows).await?;
        Ok(())
    }
}

/// Logs a single request, for comparison.
#[derive(Clone, Debug, Deferrable)]
#[defer(tries = 3, backoff = "100ms..1s", max_running = 1)]
pub struct LogOne(pub Row);

impl Job for LogOne {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<AccessLog>()?.insert(&[&self.0]).await?;
        Ok(())
    }
}

async fn log(request: Request, next: Next) -> Response {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    LogRequest::defer(Row {
        at_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    });
    next.run(request).await
}

/// Creates the service. Its routes do not know about the log.
pub fn app(runner: Runner) -> Router {
    Router::new().route("/", get(async || "hello\n")).layer(from_fn(log)).layer(DeferLayer::new(runner))
}

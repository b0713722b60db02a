//! Stores visits, after the response, and counts them.

use std::time::Duration;

use defer_axum::{Deferrable, Job, JobContext, JobError, JobResult, RequestInfo, ResponseInfo};
use serde::Serialize;
use sqlx::{
    FromRow, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow},
};

/// Records the response to the request that deferred it. The context has everything it needs.
#[derive(Deferrable)]
#[defer(tries = 3, backoff = "100ms..2s", timeout = "10s")]
pub(crate) struct RecordVisit;

impl Job for RecordVisit {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let (Some(request), Some(response)) = (cx.request(), cx.response()) else {
            return Err(JobError::msg("there is no visit to record outside of a request").fatal());
        };
        cx.state::<Visits>()?.add(request, response).await?;
        Ok(())
    }
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS visits (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL DEFAULT (unixepoch()),
    method     TEXT    NOT NULL,
    route      TEXT,             -- as in the router, such as /hello/{name}; NULL where none matched
    status     INTEGER,          -- NULL where the handler panicked, or the client left before it had one
    delivery   TEXT    NOT NULL, -- how the response ended
    bytes      INTEGER NOT NULL, -- of the body
    elapsed_us INTEGER NOT NULL, -- from the request to the last byte sent
    user_agent TEXT
);
CREATE INDEX IF NOT EXISTS visits_at ON visits (at)";

/// The boundaries between the columns of the histogram, in microseconds.
const LATENCY_STEPS: [i64; 8] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000];

/// The recorded visits. A clone is another handle to the same database.
#[derive(Clone)]
pub(crate) struct Visits {
    pool: SqlitePool,
}

/// Which visits to count.
pub(crate) struct Filter {
    pub(crate) minutes: Option<u32>,
    pub(crate) route: Option<String>,
    /// The number of latest visits to list.
    pub(crate) recent: u32,
}

/// The counts. As JSON, they are `/stats.json`.
#[derive(Serialize)]
pub(crate) struct Counts {
    pub(crate) requests: i64,
    pub(crate) bytes: i64,
    pub(crate) median_us: i64,
    pub(crate) routes: Vec<Route>,
    pub(crate) latency: Vec<Latency>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) recent: Vec<Visit>,
}

#[derive(Serialize)]
pub(crate) struct Route {
    pub(crate) method: String,
    pub(crate) route: Option<String>,
    pub(crate) requests: i64,
    pub(crate) succeeded: i64,
    /// With a status from 400 to 499.
    pub(crate) refused: i64,
    /// With a status from 500, none, or a body that broke off.
    pub(crate) failed: i64,
    pub(crate) average_us: i64,
    pub(crate) slowest_us: i64,
    pub(crate) bytes: i64,
}

/// The number of responses that took a time within this span.
#[derive(Serialize)]
pub(crate) struct Latency {
    pub(crate) from_us: i64,
    pub(crate) below_us: Option<i64>,
    pub(crate) requests: i64,
}

#[derive(Serialize)]
pub(crate) struct Delivery {
    pub(crate) delivery: String,
    pub(crate) requests: i64,
}

#[derive(Serialize)]
pub(crate) struct Visit {
    pub(crate) method: String,
    pub(crate) route: Option<String>,
    pub(crate) status: Option<i64>,
    pub(crate) delivery: String,
    pub(crate) bytes: i64,
    pub(crate) elapsed_us: i64,
    pub(crate) user_agent: Option<String>,
}

impl Visits {
    /// Opens the database, and creates it if it does not exist.
    pub(crate) async fn open(url: &str) -> Result<Self, sqlx::Error> {
        // sqlx takes any text as a file name, even `postgres://..`.
        match url.strip_prefix("sqlite:") {
            None => return Err(sqlx::Error::Configuration("it does not begin with sqlite:".into())),
            Some("" | "//") => return Err(sqlx::Error::Configuration("it names no file".into())),
            Some(_) => {}
        }
        let options: SqliteConnectOptions = url.parse()?;
        let pool = SqlitePoolOptions::new()
            // An in-memory database lives as long as its one connection.
            .max_connections(if url.contains(":memory:") { 1 } else { 8 })
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal))
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    async fn add(&self, request: &RequestInfo, response: &ResponseInfo) -> Result<(), sqlx::Error> {
        let user_agent = request.headers().get("user-agent");
        sqlx::query(
            "INSERT INTO visits (method, route, status, delivery, bytes, elapsed_us, user_agent)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(request.method().as_str())
        .bind(request.matched_path())
        .bind(response.status().map(|status| status.as_u16()))
        .bind(response.delivery().as_str())
        .bind(i64::try_from(response.bytes_sent()).unwrap_or(i64::MAX))
        .bind(micros(response.elapsed()))
        .bind(user_agent.map(|value| String::from_utf8_lossy(value.as_bytes())))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Counts the visits that match the filter, from one snapshot.
    pub(crate) async fn count(&self, filter: &Filter) -> Result<Counts, sqlx::Error> {
        let mut now = self.pool.begin().await?;
        let totals = filter.select(&mut now, "COUNT(*), COALESCE(SUM(bytes), 0)", "").await?;
        let (requests, bytes) = totals.into_iter().next().unwrap_or_default();
        let middle = format!("ORDER BY elapsed_us LIMIT 1 OFFSET {}", requests / 2);
        let median: Vec<(i64,)> = filter.select(&mut now, "elapsed_us", &middle).await?;

        // A comparison is 0 or 1, so their sum is the number of steps below the visit.
        let step = LATENCY_STEPS.map(|step| format!("(elapsed_us >= {step})")).join(" + ");
        let steps: Vec<(i64, i64)> =
            filter.select(&mut now, &format!("{step}, COUNT(*)"), "GROUP BY 1").await?;

        Ok(Counts {
            requests,
            bytes,
            median_us: median.first().map_or(0, |(elapsed,)| *elapsed),
            routes: filter
                .select(&mut now, ROUTE, "GROUP BY method, route ORDER BY requests DESC, route, method")
                .await?,
            latency: latency(&steps),
            deliveries: filter
                .select(&mut now, "delivery, COUNT(*)", "GROUP BY 1 ORDER BY 2 DESC, 1")
                .await?,
            recent: filter
                .select(&mut now, "*", &format!("ORDER BY id DESC LIMIT {}", filter.recent))
                .await?,
        })
    }

    /// Returns the routes that were ever visited.
    pub(crate) async fn routes(&self) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT DISTINCT route FROM visits WHERE route IS NOT NULL ORDER BY route")
            .fetch_all(&self.pool)
            .await
    }
}

const ROUTE: &str = "
    method, route, COUNT(*) AS requests,
    COUNT(*) FILTER (WHERE status < 400 AND delivery NOT IN ('panicked', 'failed')) AS succeeded,
    COUNT(*) FILTER (WHERE status BETWEEN 400 AND 499) AS refused,
    CAST(AVG(elapsed_us) AS INTEGER) AS average_us, MAX(elapsed_us) AS slowest_us, SUM(bytes) AS bytes";

impl Filter {
    async fn select<T>(
        &self,
        now: &mut SqliteConnection,
        columns: &str,
        rest: &str,
    ) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'row> FromRow<'row, SqliteRow> + Send + Unpin,
    {
        let sql = format!(
            "SELECT {columns} FROM visits
             WHERE (?1 IS NULL OR at >= unixepoch() - ?1 * 60) AND (?2 IS NULL OR route = ?2) {rest}"
        );
        sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(self.minutes)
            .bind(self.route.as_deref())
            .fetch_all(now)
            .await
    }
}

/// Returns all columns of the histogram, including empty ones.
fn latency(steps: &[(i64, i64)]) -> Vec<Latency> {
    let lowest = std::iter::once(0).chain(LATENCY_STEPS);
    let limits = LATENCY_STEPS.into_iter().map(Some).chain([None]);
    (0..)
        .zip(lowest.zip(limits))
        .map(|(step, (from_us, below_us))| {
            let counted = steps.iter().find(|(counted, _)| *counted == step);
            Latency { from_us, below_us, requests: counted.map_or(0, |(_, requests)| *requests) }
        })
        .collect()
}

impl FromRow<'_, SqliteRow> for Route {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let (requests, succeeded, refused): (i64, i64, i64) =
            (row.try_get("requests")?, row.try_get("succeeded")?, row.try_get("refused")?);
        Ok(Self {
            method: row.try_get("method")?,
            route: row.try_get("route")?,
            requests,
            succeeded,
            refused,
            failed: requests - succeeded - refused,
            average_us: row.try_get("average_us")?,
            slowest_us: row.try_get("slowest_us")?,
            bytes: row.try_get("bytes")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Delivery {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self { delivery: row.try_get(0)?, requests: row.try_get(1)? })
    }
}

impl FromRow<'_, SqliteRow> for Visit {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            method: row.try_get("method")?,
            route: row.try_get("route")?,
            status: row.try_get("status")?,
            delivery: row.try_get("delivery")?,
            bytes: row.try_get("bytes")?,
            elapsed_us: row.try_get("elapsed_us")?,
            user_agent: row.try_get("user_agent")?,
        })
    }
}

fn micros(elapsed: Duration) -> i64 {
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}

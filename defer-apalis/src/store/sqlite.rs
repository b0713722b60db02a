//! SQLite: a file, or a pool of the user's.

use std::{str::FromStr, time::Duration};

use apalis_core::{backend::WorkerFilter, worker::context::WorkerContext};
use apalis_sqlite::{Config, SqliteStorage, queries};
use defer_core::{
    BoxFuture, JobId, JobStatus,
    queue::QueueCounts as Counts,
    queue::{Envelope, FailedJob},
};
use sqlx::{
    Row, SqliteConnection, SqlitePool,
    migrate::{AppliedMigration, Migrate},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    interface::{DEAD_AFTER, HEARTBEAT, Store, Stored},
    job::{self, Finished, Taken, UNIQUE},
    task,
};
use crate::error::Error;

#[derive(Debug)]
pub(crate) struct Sqlite {
    pool: SqlitePool,
    queue: String,
}

impl Sqlite {
    /// Opens the file, and creates it if there is none. What is committed there outlives a power cut.
    pub(crate) async fn connect(url: &str, queue: &str) -> Result<Self, Error> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(Error::store)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // In pages: four times SQLite's default, because each checkpoint holds up the commits that wait for it.
            .pragma("wal_autocheckpoint", "4000")
            .busy_timeout(Duration::from_secs(5));
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        // Each connection to a database in memory would have one of its own.
        let connections = if in_memory { 1 } else { 8 };
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .min_connections(u32::from(in_memory))
            .idle_timeout(None)
            .max_lifetime(None)
            // A file does not go away as a server does.
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(Error::store)?;
        Self::open(pool, queue).await
    }

    /// Uses a pool of the user's, whose settings it keeps. Creates apalis' tables where they are missing.
    pub(crate) async fn open(pool: SqlitePool, queue: &str) -> Result<Self, Error> {
        const USERS: &str = "_sqlx_migrations";
        // Kept in a table of their own, so that the user's migrator does not report them as missing.
        const OURS: &str = "_defer_queue_migrations";
        let migrations = SqliteStorage::migrations();
        // One transaction around all of them: two processes may start at once, and sqlx's migrator takes no lock on SQLite
        // (0.9). Nor could its future be spawned with a borrowed connection.
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(Error::store)?;
        tx.ensure_migrations_table(USERS).await.map_err(Error::store)?;
        let mut applied = tx.list_applied_migrations(USERS).await.map_err(Error::store)?;
        let is_applied = |applied: &[AppliedMigration], version| applied.iter().any(|a| a.version == version);
        let by_apalis = migrations.iter().next().is_some_and(|first| is_applied(&applied, first.version));
        let table = if by_apalis { USERS } else { OURS };
        if !by_apalis {
            tx.ensure_migrations_table(OURS).await.map_err(Error::store)?;
            applied = tx.list_applied_migrations(OURS).await.map_err(Error::store)?;
        }
        for migration in migrations.iter().filter(|migration| !is_applied(&applied, migration.version)) {
            tx.apply(table, migration).await.map_err(Error::store)?;
        }
        tx.commit().await.map_err(Error::store)?;
        Ok(Self { pool, queue: queue.to_owned() })
    }

    /// Stores jobs in a transaction of the caller's, and leaves out those that are stored already, or whose unique key another has
    /// that waits. One statement, however many
    /// jobs there are: each statement is a trip to the connection's thread (sqlx 0.9), and costs more than a row.
    ///
    /// It does not read first: a transaction that has read cannot write once another has written.
    pub(crate) async fn push_in(
        connection: &mut SqliteConnection,
        queue: &str,
        jobs: &[Envelope],
    ) -> Result<(), Error> {
        let payloads: Vec<u8> = jobs.iter().flat_map(|job| &job.payload).copied().collect();
        let mut start = 1;
        let rows: Vec<_> = jobs
            .iter()
            .map(|job| {
                let length = job.payload.len();
                let from = start;
                start += length;
                serde_json::json!([
                    from,
                    length,
                    job.id.to_string(),
                    job::max_attempts(job),
                    seconds(task::run_at(job)),
                    job::metadata(job),
                    job.metadata.get(UNIQUE),
                ])
            })
            .collect();
        // `WHERE true` tells the conflict clause from a join's. A part of a blob is counted in bytes, from 1.
        let stored = sqlx::query(
            "INSERT INTO Jobs \
             (job, id, job_type, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key) \
             SELECT substr(?1, value ->> 0, value ->> 1), value ->> 2, ?2, 'Pending', 0, value ->> 3, value ->> 4, 0, \
             value ->> 5, value ->> 6 FROM json_each(?3) WHERE true ON CONFLICT DO NOTHING",
        );
        let stored = stored.bind(payloads).bind(queue).bind(serde_json::Value::from(rows).to_string());
        stored.execute(connection).await.map_err(Error::store).map(drop)
    }

    fn config(&self, batch: usize) -> Config {
        Config::default().queue(&self.queue).heartbeat_interval(HEARTBEAT).batch_size(batch.max(1))
    }

    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, Error> {
        // One that began to read could no longer write once another has written.
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(Error::store)
    }
}

/// Converts seconds to what SQLite stores.
fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Frees the jobs that a worker has, except these.
async fn release(connection: &mut SqliteConnection, worker: &str, except: &[String]) -> Result<(), Error> {
    let released = sqlx::query(
        "UPDATE Jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL WHERE lock_by = ?1 \
         AND status IN ('Queued', 'Running') AND id NOT IN (SELECT value FROM json_each(?2))",
    );
    let released = released.bind(worker).bind(serde_json::json!(except).to_string());
    released.execute(connection).await.map_err(Error::store).map(drop)
}

impl Store for Sqlite {
    fn database(&self) -> &'static str {
        "SQLite"
    }

    fn push<'a>(&'a self, jobs: &'a [Envelope]) -> Stored<'a, ()> {
        Box::pin(async move {
            // A single statement is a transaction by itself.
            let mut connection = self.pool.acquire().await.map_err(Error::store)?;
            Self::push_in(&mut connection, &self.queue, jobs).await
        })
    }

    fn register<'a>(&'a self, worker: &'a str) -> Stored<'a, ()> {
        Box::pin(async move {
            let worker = WorkerContext::new(worker);
            let mut tx = self.begin().await?;
            let registered =
                queries::register_worker(&mut *tx, &self.config(1), &worker, "SqliteStorage").await;
            registered.map_err(Error::store)?;
            tx.commit().await.map_err(Error::store)
        })
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Stored<'a, ()> {
        Box::pin(async move {
            let context = WorkerContext::new(worker);
            let mut tx = self.begin().await?;
            queries::keep_alive(&mut *tx, &self.config(1), &context).await.map_err(Error::store)?;
            let dead_after = seconds(DEAD_AFTER.as_secs());
            let others = WorkerFilter::AllExcept(worker.to_owned());
            queries::reenqueue_orphaned(&mut *tx, dead_after, &self.queue, &others)
                .await
                .map_err(Error::store)?;
            // Jobs of a worker whose row is gone are nobody's, and apalis finds them by that row.
            sqlx::query(
                "UPDATE Jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL, attempts = attempts + 1 \
                 WHERE job_type = ?1 AND status IN ('Queued', 'Running') \
                 AND (lock_by IS NULL OR lock_by NOT IN (SELECT id FROM Workers))",
            )
            .bind(&self.queue)
            .execute(&mut *tx)
            .await
            .map_err(Error::store)?;
            tx.commit().await.map_err(Error::store)
        })
    }

    fn unregister<'a>(&'a self, worker: &'a str) -> Stored<'a, ()> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            release(&mut tx, worker, &[]).await?;
            // Jobs that are done refer to it, so the row stays.
            let gone = sqlx::query("UPDATE Workers SET last_seen = 0 WHERE id = ?1").bind(worker);
            gone.execute(&mut *tx).await.map_err(Error::store)?;
            tx.commit().await.map_err(Error::store)
        })
    }

    fn release<'a>(&'a self, worker: &'a str, except: &'a [String]) -> Stored<'a, ()> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            release(&mut tx, worker, except).await?;
            tx.commit().await.map_err(Error::store)
        })
    }

    fn take<'a>(&'a self, worker: &'a str, jobs: usize) -> Stored<'a, Vec<Taken>> {
        Box::pin(async move {
            // Looks before it writes: an idle worker must not take the lock twice a second.
            // Two questions, because with `OR` SQLite would read every job of the queue (3.46).
            let due = sqlx::query(
                "SELECT 1 FROM Jobs WHERE job_type = ?1 AND status = 'Pending' AND run_at <= ?2 AND lock_by IS NULL \
                 UNION ALL SELECT 1 FROM Jobs WHERE job_type = ?1 AND status = 'Failed' AND run_at <= ?2 \
                 AND attempts < max_attempts LIMIT 1",
            );
            let due = due.bind(&self.queue).bind(seconds(task::now()));
            if due.fetch_optional(&self.pool).await.map_err(Error::store)?.is_none() {
                return Ok(Vec::new());
            }
            let context = WorkerContext::new(worker);
            let mut tx = self.begin().await?;
            let tasks = queries::fetch_next(&mut *tx, &self.config(jobs), &context).await;
            let taken: Vec<Taken> = tasks.map_err(Error::store)?.into_iter().map(task::taken).collect();
            let ids: Vec<String> = taken.iter().map(|taken| taken.id.clone()).collect();
            // apalis' own query for this reads every job that waits, in all queues (apalis-sqlite 1.0). A job that runs leaves no
            // other out.
            sqlx::query(
                "UPDATE Jobs SET status = 'Running', idempotency_key = NULL \
                 WHERE id IN (SELECT value FROM json_each(?1))",
            )
            .bind(serde_json::json!(ids).to_string())
            .execute(&mut *tx)
            .await
            .map_err(Error::store)?;
            tx.commit().await.map_err(Error::store)?;
            Ok(taken)
        })
    }

    fn finish<'a>(&'a self, worker: &'a str, jobs: &'a [Finished]) -> Stored<'a, ()> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            for job in jobs {
                let (status, result, delay) = job.row();
                // Its lock goes with it: apalis fetches only what is not locked.
                let query = if let Some(delay) = delay {
                    let run_at = seconds(task::after(delay));
                    sqlx::query(
                        "UPDATE Jobs SET status = ?1, attempts = ?2, last_result = ?3, run_at = ?6, lock_by = NULL, \
                         lock_at = NULL, done_at = NULL WHERE id = ?4 AND lock_by = ?5",
                    )
                    .bind(status)
                    .bind(job.attempts)
                    .bind(result)
                    .bind(&job.id)
                    .bind(worker)
                    .bind(run_at)
                } else {
                    sqlx::query(
                        "UPDATE Jobs SET status = ?1, attempts = ?2, last_result = ?3, done_at = strftime('%s', 'now') \
                         WHERE id = ?4 AND lock_by = ?5",
                    )
                    .bind(status)
                    .bind(job.attempts)
                    .bind(result)
                    .bind(&job.id)
                    .bind(worker)
                };
                query.execute(&mut *tx).await.map_err(Error::store)?;
            }
            tx.commit().await.map_err(Error::store)
        })
    }

    fn pushed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn counts(&self) -> Stored<'_, Counts> {
        Box::pin(async move {
            let now = seconds(task::now());
            let row = sqlx::query(
                "SELECT \
                 COUNT(*) FILTER (WHERE status = 'Pending' OR (status = 'Failed' AND attempts < max_attempts)), \
                 COUNT(*) FILTER (WHERE status IN ('Queued', 'Running')), \
                 COUNT(*) FILTER (WHERE status = 'Done'), \
                 COUNT(*) FILTER (WHERE status = 'Killed' OR (status = 'Failed' AND attempts >= max_attempts)), \
                 MIN(run_at) FILTER (WHERE status = 'Pending' AND run_at <= ?2) \
                 FROM Jobs WHERE job_type = ?1",
            )
            .bind(&self.queue)
            .bind(now)
            .fetch_one(&self.pool)
            .await
            .map_err(Error::store)?;
            let oldest: Option<i64> = row.get(4);
            Ok(job::counts([row.get(0), row.get(1), row.get(2), row.get(3)], oldest.map(|at| now - at)))
        })
    }

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, metadata, attempts, last_result FROM Jobs WHERE job_type = ?1 \
                 AND (status = 'Killed' OR (status = 'Failed' AND attempts >= max_attempts)) \
                 ORDER BY done_at DESC, id DESC LIMIT ?2",
            )
            .bind(&self.queue)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(Error::store)?;
            Ok(rows
                .iter()
                .filter_map(|row| {
                    let metadata: Option<String> = row.get(1);
                    let metadata: std::collections::BTreeMap<String, String> =
                        metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
                    let result: Option<String> = row.get(3);
                    job::failed(row.get(0), metadata.get(job::NAME), row.get(2), result.as_deref())
                })
                .collect())
        })
    }

    fn status(&self, id: JobId) -> Stored<'_, Option<JobStatus>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT CASE WHEN status = 'Failed' AND attempts < max_attempts THEN 'Pending' ELSE status END, \
                 last_result FROM Jobs WHERE id = ?1 AND job_type = ?2",
            )
            .bind(id.to_string())
            .bind(&self.queue)
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::store)?;
            Ok(row.map(|row| job::status(row.get(0), row.get(1))))
        })
    }

    fn retry(&self, id: JobId) -> Stored<'_, bool> {
        Box::pin(async move {
            let retried = sqlx::query(
                "UPDATE Jobs SET status = 'Pending', attempts = 0, lock_by = NULL, lock_at = NULL, done_at = NULL, \
                 run_at = strftime('%s', 'now') WHERE id = ?1 AND job_type = ?2 \
                 AND (status = 'Killed' OR (status = 'Failed' AND attempts >= max_attempts))",
            )
            .bind(id.to_string())
            .bind(&self.queue)
            .execute(&self.pool)
            .await
            .map_err(Error::store)?;
            Ok(retried.rows_affected() > 0)
        })
    }

    fn forget_done(&self, age: Duration) -> Stored<'_, u64> {
        Box::pin(async move {
            let before = seconds(task::now().saturating_sub(age.as_secs()));
            let forgotten = sqlx::query(
                "DELETE FROM Jobs WHERE job_type = ?1 AND status = 'Done' AND CAST(done_at AS INTEGER) <= ?2",
            )
            .bind(&self.queue)
            .bind(before)
            .execute(&self.pool)
            .await
            .map_err(Error::store)?;
            Ok(forgotten.rows_affected())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SQLite says it does. `synchronous` 2 is FULL: each commit is written through.
    #[tokio::test]
    #[allow(clippy::unwrap_used, reason = "this is a test")]
    async fn what_is_committed_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("queue.db").display());
        let store = Sqlite::connect(&url, "defer").await.unwrap();
        // Each connection has settings of its own.
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut connection = store.pool.acquire().await.unwrap();
            let row = sqlx::query("PRAGMA synchronous").fetch_one(&mut *connection).await.unwrap();
            assert_eq!(row.get::<i64, _>(0), 2);
            let row = sqlx::query("PRAGMA journal_mode").fetch_one(&mut *connection).await.unwrap();
            assert_eq!(row.get::<String, _>(0), "wal");
            held.push(connection);
        }
    }

    /// A take that is broken off may have taken jobs.
    #[tokio::test]
    #[allow(clippy::unwrap_used, reason = "this is a test")]
    async fn jobs_that_a_worker_took_without_knowing_are_given_back() {
        let store = Sqlite::connect("sqlite::memory:", "defer").await.unwrap();
        let policy = defer_core::Policy::new();
        let jobs: Vec<_> = ["1", "2", "[3]"]
            .map(|json| Envelope::new(JobId::unique(), "Note", policy, json.into()))
            .into_iter()
            .collect();
        store.push(&jobs).await.unwrap();
        store.register("w").await.unwrap();
        let taken = store.take("w", 10).await.unwrap();
        let payloads: Vec<_> = taken.iter().map(|taken| &*taken.payload).collect();
        assert_eq!(payloads, [&b"1"[..], b"2", b"[3]"]);
        store.release("w", &[taken[1].id.clone()]).await.unwrap();
        let counts = store.counts().await.unwrap();
        assert_eq!((counts.pending, counts.running), (2, 1));
        let again = store.take("w", 10).await.unwrap();
        assert_eq!(again.iter().map(|taken| taken.attempts).collect::<Vec<_>>(), [0, 0]);
    }
}

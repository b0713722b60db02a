//! Postgres: a server, or a pool of the user's.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use apalis_core::worker::context::WorkerContext;
use apalis_postgres::{PostgresStorage, queries};
use defer_core::{
    BoxFuture, JobId, JobStatus,
    queue::QueueCounts as Counts,
    queue::{Envelope, FailedJob},
};
use sqlx::{
    PgConnection, PgPool, Row,
    migrate::Migrate,
    postgres::{PgListener, PgPoolOptions, PgRow, types::PgHstore},
};
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    interface::{DEAD_AFTER, Store, Stored},
    job::{self, Finished, Taken, UNIQUE},
};
use crate::error::Error;

/// Where apalis tells of new jobs.
const CHANNEL: &str = "apalis::job::insert";

#[derive(Debug)]
pub(crate) struct Postgres {
    pool: PgPool,
    queue: String,
    pushed: Arc<Notify>,
    listener: OnceLock<Listener>,
}

/// The task that listens for new jobs.
#[derive(Debug)]
struct Listener(AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Postgres {
    pub(crate) async fn connect(url: &str, queue: &str) -> Result<Self, Error> {
        let pool = PgPoolOptions::new().connect(url).await.map_err(Error::store)?;
        Self::open(pool, queue).await
    }

    /// Uses a pool of the user's. Creates apalis' schema where it is missing.
    pub(crate) async fn open(pool: PgPool, queue: &str) -> Result<Self, Error> {
        let mut migrations = PostgresStorage::migrations();
        migrations.set_ignore_missing(true);
        let first = migrations.iter().map(|migration| migration.version).min();
        let table = migrations.table_name.clone();
        let mut connection = pool.acquire().await.map_err(Error::store)?;
        let schema = sqlx::query("SELECT to_regclass($1) IS NOT NULL").bind(&*table);
        let exists: bool = schema.fetch_one(&mut *connection).await.map_err(Error::store)?.get(0);
        let applied = if exists {
            connection.list_applied_migrations(&table).await.map_err(Error::store)?
        } else {
            Vec::new()
        };
        if !applied.iter().any(|migration| Some(migration.version) == first) {
            // Kept in a table of their own, so that the user's migrator does not report them as missing.
            migrations.dangerous_set_table_name("_defer_queue_migrations");
        }
        drop(connection);
        // On the pool: on a borrowed connection the future could not be spawned (sqlx 0.9).
        migrations.run(&pool).await.map_err(Error::store)?;
        add_index(&pool).await.map_err(Error::store)?;
        Ok(Self { pool, queue: queue.to_owned(), pushed: Arc::default(), listener: OnceLock::new() })
    }

    /// Stores jobs in a transaction of the caller's, and leaves out those that are stored already.
    pub(crate) async fn push_in(
        connection: &mut PgConnection,
        queue: &str,
        jobs: &[Envelope],
    ) -> Result<(), Error> {
        let ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
        let payloads: Vec<&[u8]> = jobs.iter().map(|job| &*job.payload).collect();
        let max_attempts: Vec<i32> = jobs.iter().map(job::max_attempts).collect();
        // An interval has an end, too.
        let longest = f64::from(u32::MAX);
        let delays: Vec<f64> = jobs.iter().map(|job| job.delay.as_secs_f64().min(longest)).collect();
        let metadata: Vec<PgHstore> = jobs
            .iter()
            .map(|job| PgHstore(job::metadata(job).into_iter().map(|(k, v)| (k, Some(v))).collect()))
            .collect();
        let keys: Vec<Option<&String>> = jobs.iter().map(|job| job.metadata.get(UNIQUE)).collect();
        // apalis' own insert knows no conflict (apalis-postgres 1.0).
        let stored = sqlx::query(
            "INSERT INTO apalis.jobs \
             (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key) \
             SELECT id, $1, job, 'Pending', 0, max_attempts, now() + delay * interval '1 second', 0, metadata, key \
             FROM unnest($2::text[], $3::bytea[], $4::int[], $5::float8[], $6::hstore[], $7::text[]) \
             AS new (id, job, max_attempts, delay, metadata, key) ON CONFLICT DO NOTHING",
        );
        let stored = stored
            .bind(queue)
            .bind(ids)
            .bind(payloads)
            .bind(max_attempts)
            .bind(delays)
            .bind(metadata)
            .bind(keys);
        stored.execute(connection).await.map_err(Error::store).map(drop)
    }

    /// Listens for new jobs for as long as the store lives.
    fn listen(&self) -> Listener {
        let (pool, queue, pushed) = (self.pool.clone(), self.queue.clone(), self.pushed.clone());
        let listening = tokio::spawn(async move {
            loop {
                let listened = async {
                    let mut listener = PgListener::connect_with(&pool).await?;
                    listener.listen(CHANNEL).await?;
                    // What was pushed before is not told.
                    pushed.notify_one();
                    loop {
                        let told = listener.recv().await?;
                        let event: Option<serde_json::Value> = serde_json::from_str(told.payload()).ok();
                        if event.is_some_and(|event| event["job_type"] == *queue) {
                            pushed.notify_one();
                        }
                    }
                };
                let listened: Result<(), sqlx::Error> = listened.await;
                if let Err(error) = listened {
                    tracing::debug!(target: "defer", %error, "not told of new jobs, listening again");
                }
                // Not at once, so that a server that is away is not flooded. The worker looks by itself meanwhile.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Listener(listening.abort_handle())
    }
}

/// Adds an index, if it is missing. Each heartbeat looks for the jobs of workers that are gone, for which apalis has none, and
/// would read the whole table.
async fn add_index(pool: &PgPool) -> Result<(), sqlx::Error> {
    let exists = "SELECT to_regclass('apalis.idx_defer_jobs_running') IS NOT NULL";
    // Asked first: to create it, even if it exists, is for the owner of the table alone.
    if sqlx::query(exists).fetch_one(pool).await?.get(0) {
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    // `IF NOT EXISTS` fails for one of two that come at once. The number is this lock's name.
    sqlx::query("SELECT pg_advisory_xact_lock(7361402218)").execute(&mut *tx).await?;
    sqlx::query(
        "CREATE INDEX IF NOT EXISTS idx_defer_jobs_running ON apalis.jobs (job_type, lock_by) \
         WHERE status IN ('Queued', 'Running')",
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

fn taken(row: &PgRow) -> Result<Taken, sqlx::Error> {
    let metadata: Option<PgHstore> = row.try_get(2)?;
    let metadata = metadata.into_iter().flat_map(|metadata| metadata.0);
    let (attempts, max_attempts): (i32, i32) = (row.try_get(3)?, row.try_get(4)?);
    Ok(Taken {
        id: row.try_get(0)?,
        payload: row.try_get(1)?,
        metadata: metadata.filter_map(|(key, value)| Some((key, value?))).collect(),
        attempts: attempts.unsigned_abs(),
        max_attempts: max_attempts.unsigned_abs(),
    })
}

/// Frees the jobs that a worker has, except these.
async fn release(connection: &mut PgConnection, worker: &str, except: &[String]) -> Result<(), Error> {
    let released = sqlx::query(
        "UPDATE apalis.jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL \
         WHERE lock_by = $1 AND status IN ('Queued', 'Running') AND NOT id = ANY($2)",
    );
    released.bind(worker).bind(except).execute(connection).await.map_err(Error::store).map(drop)
}

impl Store for Postgres {
    fn database(&self) -> &'static str {
        "Postgres"
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
            let registered = sqlx::query(
                "INSERT INTO apalis.workers (id, worker_type, storage_name, layers, last_seen, started_at) \
                 VALUES ($1, $2, 'PgStorage', '', now(), now()) ON CONFLICT (id) DO UPDATE SET last_seen = now()",
            );
            let registered = registered.bind(worker).bind(&self.queue).execute(&self.pool);
            registered.await.map_err(Error::store).map(drop)
        })
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Stored<'a, ()> {
        Box::pin(async move {
            let context = WorkerContext::new(worker);
            let mut tx = self.pool.begin().await.map_err(Error::store)?;
            queries::keep_alive(&mut *tx, &self.queue, &context).await.map_err(Error::store)?;
            queries::reenqueue_orphaned(&mut *tx, &self.queue, DEAD_AFTER.as_secs())
                .await
                .map_err(Error::store)?;
            // Jobs of a worker whose row is gone are nobody's, and apalis finds them by that row.
            sqlx::query(
                "UPDATE apalis.jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL, attempts = attempts + 1 \
                 WHERE job_type = $1 AND status IN ('Queued', 'Running') \
                 AND (lock_by IS NULL OR lock_by NOT IN (SELECT id FROM apalis.workers))",
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
            let mut tx = self.pool.begin().await.map_err(Error::store)?;
            release(&mut tx, worker, &[]).await?;
            // Jobs that are done refer to it, so the row stays.
            let gone = sqlx::query("UPDATE apalis.workers SET last_seen = to_timestamp(0) WHERE id = $1");
            gone.bind(worker).execute(&mut *tx).await.map_err(Error::store)?;
            tx.commit().await.map_err(Error::store)
        })
    }

    fn release<'a>(&'a self, worker: &'a str, except: &'a [String]) -> Stored<'a, ()> {
        Box::pin(async move {
            let mut connection = self.pool.acquire().await.map_err(Error::store)?;
            release(&mut connection, worker, except).await
        })
    }

    fn take<'a>(&'a self, worker: &'a str, jobs: usize) -> Stored<'a, Vec<Taken>> {
        Box::pin(async move {
            // As apalis' `get_jobs` does, but found by `ANY`: for its join Postgres may read the whole table (15). A job that
            // runs leaves no other out.
            let rows = sqlx::query(
                "UPDATE apalis.jobs SET status = 'Running', lock_by = $1, lock_at = now(), idempotency_key = NULL \
                 WHERE id = ANY(ARRAY(\
                 SELECT id FROM apalis.jobs WHERE job_type = $2 AND run_at < now() \
                 AND (status = 'Pending' OR (status = 'Failed' AND attempts < max_attempts)) \
                 ORDER BY priority DESC, run_at LIMIT $3 FOR UPDATE SKIP LOCKED)) \
                 RETURNING id, job, metadata, attempts, max_attempts",
            )
            .bind(worker)
            .bind(&self.queue)
            .bind(i64::try_from(jobs).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(Error::store)?;
            rows.iter().map(taken).collect::<Result<_, sqlx::Error>>().map_err(Error::store)
        })
    }

    fn finish<'a>(&'a self, worker: &'a str, jobs: &'a [Finished]) -> Stored<'a, ()> {
        Box::pin(async move {
            let mut tx = self.pool.begin().await.map_err(Error::store)?;
            for job in jobs {
                let (status, result, delay) = job.row();
                // Without a delay it has ended. With one it is free for the next that comes then. The worker's name is not
                // compared with `=`: by its index, Postgres may read every job that this worker has ever had.
                sqlx::query(
                    "UPDATE apalis.jobs SET status = $1, attempts = $2, last_result = $3::text::jsonb, \
                     done_at = CASE WHEN $6::float8 IS NULL THEN now() END, \
                     lock_by = CASE WHEN $6::float8 IS NULL THEN lock_by END, \
                     lock_at = CASE WHEN $6::float8 IS NULL THEN lock_at END, \
                     run_at = CASE WHEN $6::float8 IS NULL THEN run_at ELSE now() + $6 * interval '1 second' END \
                     WHERE id = $4 AND lock_by IS NOT DISTINCT FROM $5",
                )
                .bind(status)
                .bind(i32::try_from(job.attempts).unwrap_or(i32::MAX))
                .bind(result)
                .bind(&job.id)
                .bind(worker)
                .bind(delay.map(|delay| delay.as_secs_f64()))
                .execute(&mut *tx)
                .await
                .map_err(Error::store)?;
            }
            tx.commit().await.map_err(Error::store)
        })
    }

    fn pushed(&self) -> BoxFuture<'_, ()> {
        self.listener.get_or_init(|| self.listen());
        Box::pin(self.pushed.notified())
    }

    fn counts(&self) -> Stored<'_, Counts> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT \
                 COUNT(*) FILTER (WHERE status = 'Pending' OR (status = 'Failed' AND attempts < max_attempts)), \
                 COUNT(*) FILTER (WHERE status IN ('Queued', 'Running')), \
                 COUNT(*) FILTER (WHERE status = 'Done'), \
                 COUNT(*) FILTER (WHERE status = 'Killed' OR (status = 'Failed' AND attempts >= max_attempts)), \
                 EXTRACT(EPOCH FROM now() - MIN(run_at) FILTER (WHERE status = 'Pending' AND run_at <= now()))::bigint \
                 FROM apalis.jobs WHERE job_type = $1",
            )
            .bind(&self.queue)
            .fetch_one(&self.pool)
            .await
            .map_err(Error::store)?;
            Ok(job::counts([row.get(0), row.get(1), row.get(2), row.get(3)], row.get(4)))
        })
    }

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, metadata, attempts, last_result::text FROM apalis.jobs WHERE job_type = $1 \
                 AND (status = 'Killed' OR (status = 'Failed' AND attempts >= max_attempts)) \
                 ORDER BY done_at DESC, id DESC LIMIT $2",
            )
            .bind(&self.queue)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(Error::store)?;
            Ok(rows
                .iter()
                .filter_map(|row| {
                    let metadata: Option<PgHstore> = row.get(1);
                    let name = metadata.as_ref().and_then(|metadata| metadata.get(job::NAME)?.as_ref());
                    let (attempts, result): (i32, Option<String>) = (row.get(2), row.get(3));
                    job::failed(row.get(0), name, attempts.into(), result.as_deref())
                })
                .collect())
        })
    }

    fn status(&self, id: JobId) -> Stored<'_, Option<JobStatus>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT CASE WHEN status = 'Failed' AND attempts < max_attempts THEN 'Pending' ELSE status END, \
                 last_result::text FROM apalis.jobs WHERE id = $1 AND job_type = $2",
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
                "UPDATE apalis.jobs SET status = 'Pending', attempts = 0, lock_by = NULL, lock_at = NULL, \
                 done_at = NULL, run_at = now() WHERE id = $1 AND job_type = $2 \
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
            let forgotten = sqlx::query(
                "DELETE FROM apalis.jobs WHERE job_type = $1 AND status = 'Done' \
                 AND done_at <= now() - $2 * interval '1 second'",
            )
            .bind(&self.queue)
            .bind(age.as_secs_f64())
            .execute(&self.pool)
            .await
            .map_err(Error::store)?;
            Ok(forgotten.rows_affected())
        })
    }
}

//! The conformance suite for queues, on SQLite and on the Postgres server of `DEFER_TEST_POSTGRES`.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use defer_core::{
    BoxFuture, Runner,
    testing::{Note, Place, Retried, check_queue},
};
use defer_sqlx::{SqlxQueue, Worker};

/// A database of its own.
struct Database {
    url: String,
    /// Deleted at the end.
    _folder: Option<tempfile::TempDir>,
}

impl Place for Database {
    type Queue = SqlxQueue;

    async fn connect(&self) -> SqlxQueue {
        SqlxQueue::connect(&self.url).await.unwrap()
    }

    async fn work(queue: SqlxQueue, runner: Runner) {
        worker(&queue, runner).run_until_empty().await.unwrap();
    }

    async fn work_until(queue: SqlxQueue, runner: Runner, stop: BoxFuture<'static, ()>) {
        worker(&queue, runner).run_until(stop).await.unwrap();
    }
}

fn worker(queue: &SqlxQueue, runner: Runner) -> Worker {
    queue.worker(runner).job::<Note>().job::<Retried>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_conforms() {
    check_queue(async || {
        let folder = tempfile::tempdir().unwrap();
        Database { url: format!("sqlite:{}/jobs.db", folder.path().display()), _folder: Some(folder) }
    })
    .await;
}

#[cfg(feature = "_servers")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_conforms() {
    use defer_core::JobId;
    use defer_sqlx::sqlx::{AssertSqlSafe, Connection, PgConnection, query};

    check_queue(async || {
        let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
        let name = format!("test_{}", JobId::unique()).to_lowercase();
        let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
        Database { url: format!("{server}/{name}"), _folder: None }
    })
    .await;
}

//! The suite for queues, on SQLite and on the Postgres of `DEFER_TEST_POSTGRES`.

#![cfg(feature = "sqlite")]
// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use defer_core::{
    Runner,
    testing::{Note, Place, Retried, check_queue},
};
use defer_river::RiverQueue;

/// A database of its own.
struct Database {
    url: String,
    /// Deleted at the end.
    _folder: Option<tempfile::TempDir>,
}

impl Place for Database {
    type Queue = RiverQueue;

    // The table in the crate's documentation says what there is instead.
    const LEFT_OUT: &'static [&'static str] = &[
        "a_job_that_replaces_takes_the_place_of_the_one_that_waits",
        "a_job_starts_no_more_often_than_it_may",
        "jobs_with_a_serial_key_run_one_at_a_time_in_their_order",
    ];

    async fn connect(&self) -> RiverQueue {
        RiverQueue::connect(&self.url).await.unwrap()
    }

    async fn work(queue: RiverQueue, runner: Runner) {
        queue.worker(runner).job::<Note>().job::<Retried>().run_until_empty().await.unwrap();
    }
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
    use defer_river::sqlx::{AssertSqlSafe, Connection, PgConnection, query};

    check_queue(async || {
        let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
        let name = format!("test_{}", JobId::unique()).to_lowercase();
        let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
        Database { url: format!("{server}/{name}"), _folder: None }
    })
    .await;
}

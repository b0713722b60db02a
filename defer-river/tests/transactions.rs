//! Jobs in the caller's own transaction.

#![cfg(feature = "sqlite")]
// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod service;

use defer_core::JobStatus;
use defer_river::{
    RiverQueue,
    sqlx::{SqlitePool, query, sqlite::SqlitePoolOptions},
};

use self::service::{Mail, Service};

async fn sqlite_pool(service: &Service) -> SqlitePool {
    let pool = SqlitePoolOptions::new().connect(&service.url).await.unwrap();
    query("CREATE TABLE users (name TEXT)").execute(&pool).await.unwrap();
    pool
}

/// Stores a job in a transaction that is rolled back, and in one that is committed. A macro, because the two databases'
/// transactions have no trait in common.
macro_rules! assert_stored_with_its_rows {
    ($service:ident, $queue:ident, $begin:expr) => {
        for commits in [false, true] {
            let mut tx = $begin.await.unwrap();
            query("INSERT INTO users (name) VALUES ('ada')").execute(&mut *tx).await.unwrap();
            let note = format!("commits: {commits}");
            let id = $queue.push_in(&mut tx, Mail::new(&note)).unique("k").priority(1).await.unwrap();
            let duplicate = $queue.push_in(&mut *tx, Mail::new("duplicate")).unique("k").await.unwrap();
            if commits {
                tx.commit().await.unwrap();
                let status = $queue.status(duplicate).await.unwrap();
                assert_eq!(status, Some(JobStatus::duplicate(id)));
            } else {
                tx.rollback().await.unwrap();
                assert_eq!($queue.status(id).await.unwrap(), None);
            }
        }
        $service.worker().run_until_empty().await.unwrap();
        assert_eq!($service.lines(), ["commits: true 1 none"]);
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_stored_with_the_rows_of_its_transaction_or_not_at_all_on_sqlite() {
    let service = Service::on_sqlite().await;
    let pool = sqlite_pool(&service).await;
    let queue = RiverQueue::sqlite(&pool).await.unwrap();
    assert_stored_with_its_rows!(service, queue, pool.begin_with("BEGIN IMMEDIATE"));
}

#[cfg(feature = "_servers")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_stored_with_the_rows_of_its_transaction_or_not_at_all_on_postgres() {
    use defer_river::sqlx::PgPool;
    let service = Service::on_postgres().await;
    let pool = PgPool::connect(&service.url).await.unwrap();
    query("CREATE TABLE users (name text)").execute(&pool).await.unwrap();
    let queue = RiverQueue::postgres(&pool).await.unwrap();
    assert_stored_with_its_rows!(service, queue, pool.begin());
}

#[cfg(feature = "_servers")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_on_another_kind_of_database_is_refused() {
    use defer_river::Error;
    let service = Service::on_postgres().await;
    let other = Service::on_sqlite().await;
    let mut tx = sqlite_pool(&other).await.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let refused = service.queue.push_in(&mut tx, Mail::new("never")).await;
    assert!(matches!(refused, Err(Error::OtherDatabase { queue: "Postgres", .. })), "{refused:?}");
}

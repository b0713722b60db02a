//! The tables and the index of this crate.

#![cfg(feature = "sqlite")]
// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod service;

use defer_core::JobStatus;
use defer_river::RiverQueue;

use self::service::{Mail, Service};

/// Leaves River's tables and the index.
async fn has_only_the_index(service: &Service) {
    service.queue.close().await;
    for table in ["defer_river_holders", "defer_river_paused"] {
        let drop = format!("DROP TABLE {table}");
        service.execute(&drop, &drop).await;
    }
}

async fn works(url: &str) {
    let queue = RiverQueue::connect(url).await.unwrap();
    let id = queue.push(Mail::new("stored")).await.unwrap();
    assert_eq!(queue.status(id).await.unwrap(), Some(JobStatus::Pending));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_has_the_index_beforehand_gets_the_tables_on_sqlite() {
    let service = Service::on_sqlite().await;
    has_only_the_index(&service).await;
    works(&service.url).await;
    assert_eq!(RiverQueue::sqlite_migrations().len(), 3, "without a queue");
}

#[cfg(feature = "_servers")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_has_the_index_beforehand_gets_the_tables_on_postgres() {
    let service = Service::on_postgres().await;
    has_only_the_index(&service).await;
    works(&service.url).await;
    assert_eq!(RiverQueue::postgres_migrations().len(), 3, "without a queue");
}

#[cfg(feature = "_servers")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_whose_creation_has_failed_is_an_error_that_says_so() {
    let service = Service::on_postgres().await;
    service.queue.close().await;
    // As `CREATE INDEX CONCURRENTLY` leaves it.
    let fail = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'defer_river_job_id'::regclass";
    service.execute("", fail).await;
    let error = RiverQueue::connect(&service.url).await.unwrap_err().to_string();
    assert!(error.contains("defer_river_job_id") && error.contains("drop it"), "{error}");
}

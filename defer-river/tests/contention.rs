//! What other transactions do at the same time: on SQLite, and on the Postgres of `DEFER_TEST_POSTGRES` where that is set.

#![cfg(feature = "sqlite")]
// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[macro_use]
mod service;

use std::time::{Duration, Instant};

use defer_core::JobStatus;

use self::service::{Mail, Service, Sync};

async fn a_job_that_is_parked_although_its_type_is_not_paused_runs_all_the_same(service: Service) {
    let id = service.queue.push(Sync::new("parked")).await.unwrap();
    // As a process leaves it that parks while another resumes.
    let park = "UPDATE river_job SET state = 'pending'";
    service.execute(park, park).await;
    service.work_off().await;
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
}

async fn a_push_with_a_unique_key_is_stored_or_left_out_or_is_an_error(service: Service) {
    service.queue.push(Mail::new("first")).unique("k").await.unwrap();
    // As if each time that somebody asks, whoever had the key had just ended, and another had it.
    service
        .execute("UPDATE river_job SET metadata = jsonb('{}')", "UPDATE river_job SET metadata = '{}'")
        .await;
    let error = service.queue.push(Mail::new("second")).unique("k").await.unwrap_err();
    assert!(error.to_string().contains("come and go too fast"), "{error}");
}

async fn a_worker_of_one_queue_does_not_wait_for_the_jobs_of_another(service: Service) {
    let other = defer_river::RiverQueue::builder().name("other").connect(&service.url).await.unwrap();
    other.push(Mail::new("of the other")).await.unwrap();
    service.queue.push(Mail::new("its own")).await.unwrap();
    service.work_off().await;
    assert_eq!(service.lines(), ["its own 1 none"]);
}

scenarios! {
    a_job_that_is_parked_although_its_type_is_not_paused_runs_all_the_same,
    a_push_with_a_unique_key_is_stored_or_left_out_or_is_an_error,
    a_worker_of_one_queue_does_not_wait_for_the_jobs_of_another,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_whose_database_does_not_answer_is_closed_in_time() {
    use defer_river::sqlx::{Connection, SqliteConnection, query};
    let service = Service::on_sqlite().await;
    let mut other = SqliteConnection::connect(&service.url).await.unwrap();
    query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let push = async { service.queue.push(Mail::new("never stored")).await };
    tokio::time::timeout(Duration::from_millis(200), push).await.unwrap_err();
    let began = Instant::now();
    service.queue.close().await;
    // Two seconds for what is to be written, and two to take leave. A write alone waits five for the lock.
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
}

#[cfg(feature = "_servers")]
mod on_postgres {
    use defer_core::{defer, scope};
    use defer_river::sqlx::{PgPool, query, query_scalar};

    use super::{service::until, *};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_open_transaction_with_a_unique_key_stops_no_other_write() {
        let service = Service::on_postgres().await;
        let pool = PgPool::connect(&service.url).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        let first = service.queue.push_in(&mut tx, Mail::new("first")).unique("k").await.unwrap();
        let runner = service.runner.clone();
        let claim = tokio::spawn(async move {
            let mut id = None;
            scope(&runner, async { id = Some(defer(Mail::new("second")).unique("k").id()) }).await;
            runner.idle().await;
            id.unwrap()
        });
        until(async || {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                         AND datname = current_database()";
            query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() > 0
        })
        .await;
        // Awaited inside of the transaction, which could not end otherwise.
        let push = async { service.queue.push(Mail::new("other")).await };
        tokio::time::timeout(Duration::from_secs(20), push).await.expect("it is stored").unwrap();
        tx.commit().await.unwrap();
        let second = claim.await.unwrap();
        let duplicate = Some(JobStatus::duplicate(first));
        until(async || service.queue.status(second).await.unwrap() == duplicate).await;
        service.work_off().await;
        assert_eq!(service.sorted(), ["first 1 none", "other 1 none"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_job_that_is_stored_while_its_type_is_resumed_runs() {
        let service = Service::on_postgres().await;
        let pool = PgPool::connect(&service.url).await.unwrap();
        service.queue.pause("Sync").await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        service.queue.push_in(&mut tx, Sync::new("paused")).await.unwrap();
        service.queue.resume("Sync").await.unwrap();
        tx.commit().await.unwrap();
        service.work_off().await;
        assert_eq!(service.lines(), ["paused 1 none"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_delay_counts_from_the_push_and_not_from_the_beginning_of_its_transaction() {
        let service = Service::on_postgres().await;
        let pool = PgPool::connect(&service.url).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        // So long that `now()`, which is when the transaction began, is told from the time of the push. A slow machine only adds to it.
        query("SELECT pg_sleep(1.5)").execute(&mut *tx).await.unwrap();
        service.queue.push_in(&mut tx, Mail::new("late")).delay(Duration::from_secs(1)).await.unwrap();
        let is_late = "SELECT scheduled_at >= now() + interval '2.5 seconds' FROM river_job";
        assert!(query_scalar::<_, bool>(is_late).fetch_one(&mut *tx).await.unwrap());
    }
}

//! Concurrent transactions on Postgres: nothing waits for a user's transaction, and no change is missed.

#![cfg(feature = "servers")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use defer_core::JobId;
use defer_sqlx::sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, Row, postgres::PgListener, query, query_scalar,
};
use defer_transactions_tests::{
    Ship,
    place::{Backend, Place},
};

/// Connects with a lock timeout, so that a statement that waits for another fails.
async fn impatient(place: &Place) -> PgConnection {
    let mut connection = place.postgres().await;
    connection.execute("SET lock_timeout = '1s'").await.unwrap();
    connection
}

async fn push(place: &Place, connection: &mut PgConnection, key: &str) -> String {
    place.queue.push_in(connection, Ship::order("one")).unique(key).await.unwrap().to_string()
}

/// Returns the job's state, its claim, and the job it duplicates.
async fn job(place: &Place, id: &str) -> (i64, Option<String>, Option<String>) {
    let jobs = place.jobs().await;
    let job = jobs.into_iter().find(|job| job.id == id).unwrap();
    (job.state, job.unique_claim, job.duplicate_of)
}

/// Returns the jobs that a worker could take.
async fn takeable(place: &Place) -> Vec<String> {
    let sql = "SELECT id FROM defer_jobs WHERE state = 1 ORDER BY id FOR UPDATE SKIP LOCKED";
    query_scalar(sql).fetch_all(&mut place.postgres().await).await.unwrap()
}

#[tokio::test]
async fn transactions_with_the_same_unique_key_do_not_wait_for_each_other_and_both_jobs_run() {
    let place = Backend::Postgres.place().await;
    let (mut one, mut other) = (impatient(&place).await, impatient(&place).await);
    let (mut one, mut other) = (one.begin().await.unwrap(), other.begin().await.unwrap());
    let first = push(&place, &mut one, "sync:1").await;
    let second = push(&place, &mut other, "sync:1").await;
    other.commit().await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(job(&place, &first).await, (1, Some("sync:1".to_owned()), None));
    assert_eq!(job(&place, &second).await, (1, None, None));
    // Once both are committed, later ones are left out again.
    let third = push(&place, &mut impatient(&place).await, "sync:1").await;
    assert_eq!(job(&place, &third).await, (7, None, Some(first)));
}

#[tokio::test]
async fn keys_in_opposite_orders_do_not_deadlock() {
    let place = Backend::Postgres.place().await;
    let (mut one, mut other) = (impatient(&place).await, impatient(&place).await);
    let (mut one, mut other) = (one.begin().await.unwrap(), other.begin().await.unwrap());
    push(&place, &mut one, "a").await;
    push(&place, &mut other, "b").await;
    push(&place, &mut one, "b").await;
    push(&place, &mut other, "a").await;
    one.commit().await.unwrap();
    other.commit().await.unwrap();
    assert_eq!(takeable(&place).await.len(), 4);
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_its_key_to_others() {
    let place = Backend::Postgres.place().await;
    let mut one = impatient(&place).await;
    let mut one = one.begin().await.unwrap();
    push(&place, &mut one, "sync:1").await;
    one.rollback().await.unwrap();
    let second = push(&place, &mut impatient(&place).await, "sync:1").await;
    assert_eq!(job(&place, &second).await, (1, Some("sync:1".to_owned()), None));
}

#[tokio::test]
async fn a_transaction_finds_its_own_job() {
    let place = Backend::Postgres.place().await;
    let mut connection = impatient(&place).await;
    let mut tx = connection.begin().await.unwrap();
    let first = push(&place, &mut tx, "sync:1").await;
    let second = push(&place, &mut tx, "sync:1").await;
    tx.commit().await.unwrap();
    assert_eq!(job(&place, &second).await, (7, None, Some(first)));
}

#[tokio::test]
async fn a_job_is_not_taken_before_the_transactions_have_ended_whose_jobs_were_left_out_for_it() {
    let place = Backend::Postgres.place().await;
    let waits = push(&place, &mut impatient(&place).await, "sync:1").await;
    assert_eq!(takeable(&place).await, std::slice::from_ref(&waits));
    let (mut one, mut other) = (impatient(&place).await, impatient(&place).await);
    let (mut one, mut other) = (one.begin().await.unwrap(), other.begin().await.unwrap());
    // They share the key, and do not wait for each other.
    push(&place, &mut one, "sync:1").await;
    push(&place, &mut other, "sync:1").await;
    assert_eq!(takeable(&place).await, [""; 0]);
    one.commit().await.unwrap();
    assert_eq!(takeable(&place).await, [""; 0]);
    other.rollback().await.unwrap();
    assert_eq!(takeable(&place).await, [waits]);
}

/// Waits until one connection is waiting for another.
async fn blocked(place: &Place) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut connection = place.postgres().await;
    while query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.unwrap() == 0 {
        // Polled: Postgres does not notify anyone of a lock wait.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An insert by another kind of client, without the key's lock: the claim is committed between the check and the insert.
#[tokio::test]
async fn a_claim_that_is_committed_meanwhile_leaves_the_job_out() {
    let place = Backend::Postgres.place().await;
    let first = JobId::unique().to_string();
    let mut one = place.postgres().await;
    let mut one = one.begin().await.unwrap();
    query("INSERT INTO defer_jobs (id, name, payload, unique_key, unique_claim) VALUES ($1, 'Ship', '{}', 'sync:1', 'sync:1')")
        .bind(&first)
        .execute(&mut *one)
        .await
        .unwrap();
    let mut other = place.postgres().await;
    let second = tokio::join!(push(&place, &mut other, "sync:1"), async {
        blocked(&place).await;
        one.commit().await.unwrap();
    });
    assert_eq!(job(&place, &second.0).await, (7, None, Some(first)));
}

#[tokio::test]
async fn a_key_that_is_given_up_meanwhile_is_claimed() {
    let place = Backend::Postgres.place().await;
    let first = push(&place, &mut place.postgres().await, "sync:1").await;
    let mut worker = place.postgres().await;
    let mut worker = worker.begin().await.unwrap();
    query("UPDATE defer_jobs SET state = 2, holder = 'worker', unique_claim = NULL WHERE id = $1")
        .bind(&first)
        .execute(&mut *worker)
        .await
        .unwrap();
    let mut other = place.postgres().await;
    let second = tokio::join!(push(&place, &mut other, "sync:1"), async {
        blocked(&place).await;
        worker.commit().await.unwrap();
    });
    assert_eq!(job(&place, &second.0).await, (1, Some("sync:1".to_owned()), None));
}

#[tokio::test]
async fn workers_are_notified_of_the_commit() {
    let place = Backend::Postgres.place().await;
    let mut listener = PgListener::connect(&place.url).await.unwrap();
    listener.listen("defer_jobs").await.unwrap();
    let mut connection = place.postgres().await;
    for key in [None, Some("sync:1"), Some("sync:1")] {
        // Late enough after the previous one not to be left out.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut tx = connection.begin().await.unwrap();
        let job = place.queue.push_in(&mut tx, Ship::order("one"));
        match key {
            Some(key) => job.unique(key).await.unwrap(),
            None => job.await.unwrap(),
        };
        // Sent after the push, and received before its commit.
        place.execute("SELECT pg_notify('defer_jobs', 'before')").await;
        assert_eq!(listener.recv().await.unwrap().payload(), "before");
        tx.commit().await.unwrap();
        assert_eq!(listener.recv().await.unwrap().payload(), "default");
    }
}

#[tokio::test]
async fn transactions_in_a_row_notify_once() {
    let place = Backend::Postgres.place().await;
    let insert = || place.queue.insert(Ship::order("one")).unwrap();
    let since = std::time::Instant::now();
    let notify = (0..100).filter(|_| insert().sql().contains("pg_notify")).count();
    assert!((1..=1 + since.elapsed().as_millis() / 10).contains(&(notify as u128)), "{notify}");
}

#[tokio::test]
async fn the_table_is_found_wherever_the_connection_looks() {
    let place = Backend::Postgres.place().await;
    let mut connection = place.postgres().await;
    connection.execute("CREATE SCHEMA elsewhere; SET search_path = elsewhere").await.unwrap();
    for key in ["a", "a", "b"] {
        push(&place, &mut connection, key).await;
        place.queue.push_in(&mut connection, Ship::order("one")).serial(key).await.unwrap();
    }
    assert_eq!(place.jobs().await.len(), 6);
}

#[tokio::test]
async fn a_role_that_may_insert_can_store_a_job_without_keys() {
    let place = Backend::Postgres.place().await;
    let role = format!("role_{}", JobId::unique()).to_lowercase();
    let mut connection = place.postgres().await;
    let sql = format!("CREATE ROLE {role}; GRANT INSERT ON defer_jobs TO {role}; SET ROLE {role}");
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    place.queue.push_in(&mut connection, Ship::order("one")).await.unwrap();
    let error = place.queue.push_in(&mut connection, Ship::order("one")).unique("a").await.unwrap_err();
    assert!(error.to_string().contains("permission denied for table defer_jobs"), "{error}");
    connection.execute("RESET ROLE").await.unwrap();
    let sql = format!("GRANT SELECT, UPDATE ON defer_jobs TO {role}; SET ROLE {role}");
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    push(&place, &mut connection, "a").await;
    place.queue.push_in(&mut connection, Ship::order("one")).serial("a").await.unwrap();
    connection
        .execute(AssertSqlSafe(format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")))
        .await
        .unwrap();
}

#[tokio::test]
async fn each_isolation_level_will_do() {
    let place = Backend::Postgres.place().await;
    let mut connection = place.postgres().await;
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let mut tx =
            connection.begin_with(AssertSqlSafe(format!("BEGIN ISOLATION LEVEL {level}"))).await.unwrap();
        let first = push(&place, &mut tx, level).await;
        let second = push(&place, &mut tx, level).await;
        place.queue.push_in(&mut tx, Ship::order("one")).serial(level).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(job(&place, &second).await, (7, None, Some(first)));
    }
}

/// A client that prepares a statement sees the documented types.
#[tokio::test]
async fn integers_are_bigint_and_all_others_are_text() {
    let place = Backend::Postgres.place().await;
    let (client, connection) = tokio_postgres::connect(&place.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    for needs in 0..4 {
        let mut insert = place.queue.insert(Ship::order("one")).unwrap();
        if needs & 1 == 1 {
            insert = insert.serial("a");
        }
        if needs & 2 == 2 {
            insert = insert.unique("a");
        }
        let statement = client.prepare(insert.sql()).await.unwrap();
        let types: Vec<_> = statement.params().iter().map(|known| known.name().to_owned()).collect();
        assert_eq!(
            types,
            ["text", "text", "text", "text", "text", "int8", "int8", "text", "text"],
            "{}",
            insert.sql()
        );
        assert!(statement.columns().is_empty(), "{}", insert.sql());
    }
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lookup_of_a_key_reads_an_index() {
    let place = Backend::Postgres.place().await;
    let mut connection = place.postgres().await;
    let insert = place.queue.insert(Ship::order("one")).unwrap().unique("a").serial("a");
    connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan").await.unwrap();
    let prepare = format!("PREPARE job AS {}", insert.sql());
    connection.execute(AssertSqlSafe(prepare)).await.unwrap();
    let plan =
        connection.fetch_all("EXPLAIN EXECUTE job ('', '', '', '', '', 1, 1, 'a', 'a')").await.unwrap();
    let plan: Vec<String> = plan.into_iter().map(|row| row.get(0)).collect();
    assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{}", plan.join("\n"));
}

//! The queue's tables: creating them, finding them, and inserting into them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use defer_axum::JobId;
use defer_queue_tests::{
    backend::{Backend, on_each},
    jobs::{Fails, Note},
    service::Service,
    waiting::{until, until_line},
};
use defer_sqlx::{Error, SqlxQueue, sqlx};
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_another_language_inserts_runs() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let works = service.works();
        let [least, all] = [JobId::unique(), JobId::unique()];
        let insert = format!(
            "INSERT INTO defer_jobs (id, name, payload) VALUES ('{least}', 'Note', '{{\"number\":1}}')"
        );
        service.place.execute(&insert).await;
        let insert = format!(
            "INSERT INTO defer_jobs (id, queue, name, payload, due, priority, serial_key) \
             VALUES ('{all}', 'default', 'Note', '{{\"number\":2}}', 0, 3, 'k')"
        );
        service.place.execute(&insert).await;
        service.until_succeeded(least).await;
        service.until_succeeded(all).await;
        assert_eq!(service.log.sorted(), ["1", "2"]);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_start_at_once_all_connect() {
    on_each(async |backend| {
        let place = backend.place().await;
        let queues = join_all((0..8).map(|_| SqlxQueue::connect(&place.url))).await;
        let queues: Vec<_> = queues.into_iter().map(|queue| queue.unwrap()).collect();
        for (number, queue) in (0..).zip(&queues) {
            queue.push(Note { number }).await.unwrap();
        }
        assert_eq!(queues[0].counts().await.unwrap().pending, 8);
        assert_eq!(place.number("SELECT count(*) FROM defer_migrations WHERE version = 1").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_works_on_a_newer_schema() {
    on_each(async |backend| {
        let place = backend.place().await;
        Service::at(&place, "log").await.close().await;
        place.execute("ALTER TABLE defer_jobs ADD COLUMN of_later TEXT; INSERT INTO defer_migrations (version) VALUES (99)").await;
        let service = Service::at(&place, "log").await;
        service.queue.push(Note { number: 1 }).await.unwrap();
        service.worker().run_until_empty().await.unwrap();
        assert_eq!(service.log.lines(), ["1"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_s_own_migrations_are_left_alone() {
    on_each(async |backend| {
        let place = backend.place().await;
        let name = match backend {
            Backend::Sqlite => "name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
            Backend::Postgres => "tablename::text FROM pg_tables WHERE schemaname = 'public'",
        };
        if backend == Backend::Sqlite {
            sqlx::SqlitePool::connect(&format!("{}?mode=rwc", place.url)).await.unwrap().close().await;
        }
        place
            .execute(
                "CREATE TABLE _sqlx_migrations (version BIGINT); INSERT INTO _sqlx_migrations VALUES (7)",
            )
            .await;
        Service::at(&place, "log").await.close().await;
        assert_eq!(place.number("SELECT sum(version) FROM _sqlx_migrations").await, 7);
        let mut tables = place.texts(&format!("SELECT {name}")).await;
        tables.sort();
        let ours = tables.iter().filter(|name| name.starts_with("defer_")).count();
        assert_eq!(ours, tables.len() - 1, "{tables:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_of_different_names_do_not_see_each_other() {
    on_each(async |backend| {
        let place = backend.place().await;
        let one = Service::at(&place, "one").await;
        let other = Service::with(&place, "other", |queue| queue.name("billing"), |runner| runner).await;
        let id = one.queue.push(Note { number: 1 }).unique("k").await.unwrap();
        let of_other = other.queue.push(Note { number: 2 }).unique("k").await.unwrap();
        assert_eq!((one.counts().await[0], other.counts().await[0]), (1, 1));
        one.queue.pause("Note").await.unwrap();
        other.worker().run_until_empty().await.unwrap();
        assert_eq!(other.log.lines(), ["2"]);
        other.until_succeeded(of_other).await;
        assert_eq!((one.counts().await[0], other.counts().await), (1, [0, 0, 1, 0]));
        one.queue.resume("Note").await.unwrap();
        one.worker().run_until_empty().await.unwrap();
        one.until_succeeded(id).await;
        assert_eq!(one.log.lines(), ["1"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_jobs_are_deleted_after_their_time() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        service.queue.push(Note { number: 1 }).await.unwrap();
        service.queue.push(Fails { error: "no".to_owned() }).await.unwrap();
        service.worker().run_until_empty().await.unwrap();
        let age = async |minutes: u64| {
            let millis = Duration::from_secs(60 * minutes).as_millis();
            service.place.execute(&format!("UPDATE defer_jobs SET ended = ended - {millis}")).await;
        };
        age(11).await;
        until("what is done is forgotten", async || service.counts().await == [0, 0, 0, 1]).await;
        // A job that is done now survives the next cleanup, which removes those that failed a month ago.
        service.queue.push(Note { number: 2 }).await.unwrap();
        age(31 * 24 * 60).await;
        service.worker().run_until_empty().await.unwrap();
        until("what failed is forgotten", async || service.counts().await == [0, 0, 1, 0]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_in_memory_is_refused() {
    let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
    let error = SqlxQueue::sqlite(&pool).await.unwrap_err();
    assert!(error.to_string().contains("in memory"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_another_database_is_refused() {
    let error = SqlxQueue::connect("mysql://localhost").await.unwrap_err();
    assert!(matches!(error, Error::UnknownUrl { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_s_database_is_the_queue_s() {
    on_each(async |backend| {
        let place = backend.place().await;
        let queue = match backend {
            Backend::Sqlite => {
                let pool = sqlx::SqlitePool::connect(&format!("{}?mode=rwc", place.url)).await.unwrap();
                SqlxQueue::sqlite(&pool).await.unwrap()
            }
            #[cfg(feature = "servers")]
            Backend::Postgres => {
                let pool = sqlx::PgPool::connect(&place.url).await.unwrap();
                SqlxQueue::postgres(&pool).await.unwrap()
            }
            #[cfg(not(feature = "servers"))]
            Backend::Postgres => unreachable!("there is no server"),
        };
        queue.push(Note { number: 1 }).await.unwrap();
        assert_eq!(place.number("SELECT count(*) FROM defer_jobs").await, 1);
    })
    .await;
}

#[cfg(feature = "servers")]
mod postgres {
    use defer_queue_tests::backend::Place;

    use super::*;

    /// Creates a role in this database, and returns its URL.
    async fn role(place: &Place, name: &str) -> Place {
        let database = place.url.rsplit('/').next().unwrap();
        let role = format!("{name}_{database}");
        place.execute(&format!("CREATE ROLE {role} LOGIN")).await;
        Place { url: place.url.replace("postgres@", &format!("{role}@")), ..place.clone() }
    }

    fn user(place: &Place) -> &str {
        place.url.split_once("://").unwrap().1.split('@').next().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_role_that_may_not_create_works_where_the_tables_are() {
        let place = Backend::Postgres.place().await;
        let role = role(&place, "worker").await;
        let error = SqlxQueue::connect(&role.url).await.unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{error}");
        Service::at(&place, "log").await.close().await;
        let name = user(&role);
        place
            .execute(&format!(
                "REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
            ))
            .await;
        let service = Service::at(&role, "log").await;
        let works = service.works();
        service.queue.push(Note { number: 1 }).await.unwrap();
        until_line(&service.log, "1").await;
        service.until_idle().await;
        works.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_tables_are_found_by_another_search_path() {
        let place = Backend::Postgres.place().await;
        let role = role(&place, "app").await;
        let name = user(&role);
        place
            .execute(&format!("CREATE SCHEMA \"App's\" AUTHORIZATION {name}; ALTER ROLE {name} SET search_path = \"App's\", public"))
            .await;
        let service = Service::at(&role, "log").await;
        assert_eq!(place.number("SELECT count(*) FROM \"App's\".defer_jobs").await, 0);
        // The tables are found wherever the search path leads later, and not created again.
        place
            .execute(&format!(
                "GRANT ALL ON SCHEMA public TO {name}; ALTER ROLE {name} SET search_path = public, \"App's\""
            ))
            .await;
        let later = Service::at(&role, "log").await;
        later.queue.push(Note { number: 1 }).await.unwrap();
        let pool = sqlx::PgPool::connect(&role.url).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("SET LOCAL search_path = pg_catalog").execute(&mut *tx).await.unwrap();
        later.queue.push_in(&mut tx, Note { number: 2 }).await.unwrap();
        tx.commit().await.unwrap();
        service.worker().run_until_empty().await.unwrap();
        assert_eq!(service.log.sorted(), ["1", "2"]);
        let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'defer_jobs'";
        assert_eq!(place.number(tables).await, 1);
        assert_eq!(place.number("SELECT count(*) FROM pg_extension WHERE extname <> 'plpgsql'").await, 0);
    }
}

//! The promises that hold in a transaction of each client, on each of its databases.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use defer_core::Runner;
use defer_sqlx::{Error, Insert, Push, QueueTransaction, Value, sqlx};
use defer_transactions_tests::{
    Ship, Shipped, Urgent,
    client::{ALL, Client, Order},
    place::{Backend, Place},
    rows::JobRow,
};

/// Stores an order in its own transaction.
async fn order(client: Client, place: &Place, order: Order) -> String {
    let id = client.order(place, &place.queue, order).await;
    id.unwrap_or_else(|error| panic!("{client:?} on {:?}: {error}", place.backend)).to_string()
}

/// Returns the row of a job that was stored without options.
fn job(id: &str, order: &str) -> JobRow {
    JobRow {
        id: id.to_owned(),
        queue: "default".to_owned(),
        name: Ship::NAME_IN_THE_QUEUE.to_owned(),
        payload: format!(r#"{{"order":"{order}"}}"#),
        metadata: "{}".to_owned(),
        state: 1,
        ..JobRow::default()
    }
}

#[tokio::test]
async fn a_job_is_stored_with_the_rows_of_its_transaction() {
    for &(client, backend) in ALL {
        let place = backend.place().await;
        let id = order(client, &place, Order::new("one")).await;
        assert_eq!(place.jobs().await, [job(&id, "one")], "{client:?} {backend:?}");
        assert_eq!(place.orders().await, ["one"], "{client:?} {backend:?}");
    }
}

#[tokio::test]
async fn a_job_of_a_transaction_that_is_rolled_back_is_not_stored() {
    for &(client, backend) in ALL {
        let place = backend.place().await;
        order(client, &place, Order { commits: false, ..Order::new("one") }).await;
        assert_eq!(place.jobs().await, [], "{client:?} {backend:?}");
        assert_eq!(place.orders().await, [""; 0], "{client:?} {backend:?}");
    }
}

#[tokio::test]
async fn a_job_has_what_its_builder_was_told() {
    for &(client, backend) in ALL {
        let place = backend.place().await;
        let asked = Order {
            with: |push| {
                push.delay(Duration::from_secs(90)).unique("sync:1").serial("account:1").priority(-7)
            },
            ..Order::new("one")
        };
        let id = order(client, &place, asked).await;
        let expected = JobRow {
            delay: 90_000,
            priority: -7,
            serial_key: Some("account:1".to_owned()),
            unique_key: Some("sync:1".to_owned()),
            unique_claim: Some("sync:1".to_owned()),
            ..job(&id, "one")
        };
        assert_eq!(place.jobs().await, [expected], "{client:?} {backend:?}");
    }
}

#[tokio::test]
async fn a_worker_runs_the_jobs_of_a_transaction() {
    for &(client, backend) in ALL {
        let place = backend.place().await;
        for id in ["one", "two", "three"] {
            let with: for<'a> fn(Push<'a>) -> Push<'a> = match id {
                "three" => |push| push.serial("account:1").priority(1),
                _ => |push| push.unique("sync:1").serial("account:1"),
            };
            order(client, &place, Order { with, ..Order::new(id) }).await;
        }
        let shipped = Shipped::default();
        let runner = Runner::builder().state(shipped.clone()).build();
        place.queue.worker(runner).job::<Ship>().run_until_empty().await.unwrap();
        // They run in turn, whatever their priorities. The second is a duplicate.
        assert_eq!(shipped.orders(), ["one", "three"], "{client:?} {backend:?}");
    }
}

#[tokio::test]
async fn a_duplicate_ends_as_one_and_its_transaction_goes_on() {
    for &(client, backend) in ALL {
        let place = backend.place().await;
        let order = async |id| {
            order(client, &place, Order { with: |push| push.unique("sync:1"), ..Order::new(id) }).await
        };
        let (first, second) = (order("one").await, order("two").await);
        let waits = JobRow {
            unique_key: Some("sync:1".to_owned()),
            unique_claim: Some("sync:1".to_owned()),
            ..job(&first, "one")
        };
        let duplicate = JobRow {
            unique_key: Some("sync:1".to_owned()),
            state: 7,
            duplicate_of: Some(first),
            is_ended: true,
            ..job(&second, "two")
        };
        assert_eq!(place.jobs().await, [waits, duplicate], "{client:?} {backend:?}");
        assert_eq!(place.orders().await, ["one", "two"], "{client:?} {backend:?}");
    }
}

#[tokio::test]
async fn jobs_with_a_serial_key_have_turns_in_the_order_in_which_they_were_stored() {
    for &(client, backend) in ALL {
        let place = backend.place().await;
        for id in ["one", "two", "three"] {
            order(client, &place, Order { with: |push| push.serial("account:1"), ..Order::new(id) }).await;
        }
        let turns = place.turns().await;
        assert!(turns.is_sorted_by(|one, other| one < other), "{client:?} {backend:?}: {turns:?}");
    }
}

#[tokio::test]
async fn a_transaction_of_another_kind_of_database_is_refused() {
    let backends: Vec<_> = ALL.iter().map(|(_, backend)| *backend).collect();
    for &(client, backend) in ALL {
        let place = backend.place().await;
        for other in [Backend::Sqlite, Backend::Postgres] {
            if other == backend || !backends.contains(&other) {
                continue;
            }
            let queue = other.place().await.queue;
            let error = client.order(&place, &queue, Order::new("one")).await.unwrap_err();
            let error = error.downcast::<Error>().unwrap();
            assert!(matches!(*error, Error::OtherDatabase { .. }), "{client:?} {backend:?}: {error}");
            assert_eq!(
                error.to_string(),
                format!("the queue is on {other:?}, and the transaction is not").replace("Sqlite", "SQLite")
            );
        }
    }
}

#[tokio::test]
async fn an_error_of_the_database_has_the_clients_own_inside() {
    for &(client, backend) in ALL {
        let place = backend.place().await;
        place.execute("DROP TABLE defer_jobs").await;
        let error = client.order(&place, &place.queue, Order::new("one")).await.unwrap_err();
        let Error::Store(source) = *error.downcast::<Error>().unwrap() else { panic!("another error") };
        let is_the_clients = match client {
            Client::Sqlx => source.is::<sqlx::Error>(),
            Client::Sqlx0_8 => source.is::<sqlx_0_8::Error>(),
            Client::SeaOrm => source.is::<sea_orm::DbErr>(),
            Client::SeaOrm2 => source.is::<sea_orm_2::DbErr>(),
            Client::Diesel => source.is::<diesel::result::Error>(),
            Client::TokioPostgres => source.is::<tokio_postgres::Error>(),
        };
        assert!(is_the_clients, "{client:?} {backend:?}: {source:?}");
    }
}

#[tokio::test]
async fn keys_and_payloads_are_stored_whatever_is_in_them() {
    for &(client, backend) in ALL {
        let place = backend.place().await;
        let asked = Order {
            with: |push| push.unique("it's \"quoted\" \0 $1 ?1 ü").serial("\0"),
            has_row: false,
            ..Order::new("one\0two")
        };
        order(client, &place, asked).await;
        let rows = place.jobs().await;
        assert_eq!(
            rows[0].unique_claim.as_deref(),
            Some("it's \"quoted\" \u{fffd} $1 ?1 ü"),
            "{client:?} {backend:?}"
        );
        assert_eq!(rows[0].serial_key.as_deref(), Some("\u{fffd}"), "{client:?} {backend:?}");
        assert_eq!(rows[0].payload, r#"{"order":"one\u0000two"}"#, "{client:?} {backend:?}");
    }
}

#[tokio::test]
async fn the_longest_delay_is_one() {
    const AGES: i64 = 100_000 * 365 * 24 * 60 * 60 * 1000;
    for &(client, backend) in ALL {
        let place = backend.place().await;
        order(client, &place, Order { with: |push| push.delay(Duration::MAX), ..Order::new("one") }).await;
        assert!(place.jobs().await[0].delay > AGES, "{client:?} {backend:?}");
    }
}

/// Executes a statement by hand.
async fn execute(place: &Place, insert: &Insert) {
    macro_rules! execute {
        ($connection:expr) => {{
            let sql = sqlx::AssertSqlSafe(insert.sql());
            let mut query = sqlx::query(sql);
            for value in insert.values() {
                query = match value {
                    Value::Text(text) => query.bind(text),
                    Value::Int(int) => query.bind(int),
                    _ => query.bind(None::<&str>),
                };
            }
            query.execute(&mut $connection).await.unwrap();
        }};
    }
    match place.backend {
        Backend::Sqlite => execute!(place.sqlite().await),
        Backend::Postgres => execute!(place.postgres().await),
    }
}

#[tokio::test]
async fn a_statement_and_its_values_store_a_job() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        if !ALL.iter().any(|(_, known)| *known == backend) {
            continue;
        }
        let place = backend.place().await;
        let plain = place.queue.insert(Ship::order("one")).unwrap();
        let all = place.queue.insert(Ship::order("two")).unwrap();
        let all = all.delay(Duration::from_millis(1500)).unique("sync:1").serial("account:1").priority(3);
        for insert in [&plain, &all] {
            execute(&place, insert).await;
        }
        let expected = JobRow {
            delay: 1500,
            priority: 3,
            serial_key: Some("account:1".to_owned()),
            unique_key: Some("sync:1".to_owned()),
            unique_claim: Some("sync:1".to_owned()),
            ..job(&all.id().to_string(), "two")
        };
        assert_eq!(place.jobs().await, [job(&plain.id().to_string(), "one"), expected], "{backend:?}");
    }
}

#[tokio::test]
async fn a_payload_that_is_too_large_is_refused_before_it_is_sent() {
    let place = Backend::Sqlite.place().await;
    let error = place.queue.insert(Ship::order("x".repeat(2 << 20))).unwrap_err();
    assert!(matches!(error, Error::Encode(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the job cannot be stored: it has 2097164 bytes, and the queue takes 1048576: see `max_payload`"
    );
    let mut connection = place.sqlite().await;
    let error = place.queue.push_in(&mut connection, Ship::order("x".repeat(2 << 20))).await.unwrap_err();
    assert!(matches!(error, Error::Encode(_)), "{error:?}");
    assert_eq!(place.jobs().await, []);
}

#[tokio::test]
async fn a_job_has_the_priority_of_its_type_unless_it_was_given_another() {
    let place = Backend::Sqlite.place().await;
    let mut connection = place.sqlite().await;
    place.queue.push_in(&mut connection, Urgent).await.unwrap();
    place.queue.push_in(&mut connection, Urgent).priority(2).await.unwrap();
    let priorities: Vec<_> = place.jobs().await.iter().map(|job| job.priority).collect();
    assert_eq!(priorities, [9, 2]);
}

/// Every type in the documentation.
#[test]
fn each_type_of_a_client_is_known() {
    fn knows<T: QueueTransaction>() {}
    knows::<sqlx::SqliteConnection>();
    knows::<sqlx::PgConnection>();
    knows::<sqlx::Transaction<'_, sqlx::Sqlite>>();
    knows::<sqlx::Transaction<'_, sqlx::Postgres>>();
    knows::<sqlx::pool::PoolConnection<sqlx::Sqlite>>();
    knows::<sqlx::pool::PoolConnection<sqlx::Postgres>>();
    knows::<sqlx_0_8::SqliteConnection>();
    knows::<sqlx_0_8::PgConnection>();
    knows::<sqlx_0_8::Transaction<'_, sqlx_0_8::Sqlite>>();
    knows::<sqlx_0_8::Transaction<'_, sqlx_0_8::Postgres>>();
    knows::<sqlx_0_8::pool::PoolConnection<sqlx_0_8::Sqlite>>();
    knows::<sqlx_0_8::pool::PoolConnection<sqlx_0_8::Postgres>>();
    knows::<sea_orm::DatabaseTransaction>();
    knows::<&sea_orm::DatabaseTransaction>();
    knows::<sea_orm::DatabaseConnection>();
    knows::<&sea_orm::DatabaseConnection>();
    knows::<sea_orm_2::DatabaseTransaction>();
    knows::<&sea_orm_2::DatabaseTransaction>();
    knows::<sea_orm_2::DatabaseConnection>();
    knows::<&sea_orm_2::DatabaseConnection>();
    knows::<diesel_async::AsyncPgConnection>();
    knows::<diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>>();
    knows::<tokio_postgres::Client>();
    knows::<&tokio_postgres::Client>();
    knows::<tokio_postgres::Transaction<'_>>();
    knows::<&tokio_postgres::Transaction<'_>>();
}

#[tokio::test]
async fn the_closure_of_a_transaction_can_push() {
    let place = Backend::Sqlite.place().await;

    let database = sea_orm::Database::connect(&place.url).await.unwrap();
    let queue = place.queue.clone();
    let stored = sea_orm::TransactionTrait::transaction::<_, _, Error>(&database, |tx| {
        Box::pin(async move { queue.push_in(&mut &*tx, Ship::order("one")).await })
    });
    let id = stored.await.unwrap();

    assert_eq!(place.jobs().await, [job(&id.to_string(), "one")]);
}

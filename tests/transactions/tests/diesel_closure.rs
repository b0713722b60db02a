//! The closure of a Diesel transaction. `scripts/lowest.sh` leaves it out: before 0.9, diesel-async takes closures of another kind.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use defer_core::BoxError;
use defer_transactions_tests::{Ship, place::Backend};
use diesel_async::{AsyncConnection, SimpleAsyncConnection, sync_connection_wrapper::SyncConnectionWrapper};

#[tokio::test]
async fn the_closure_of_a_transaction_can_push() {
    let place = Backend::Sqlite.place().await;
    let connection = SyncConnectionWrapper::<diesel::SqliteConnection>::establish(place.file());
    let mut connection = connection.await.unwrap();
    // Diesel sets no busy timeout, and the queue writes too.
    connection.batch_execute("PRAGMA busy_timeout = 60000").await.unwrap();
    let queue = &place.queue;
    let stored = connection.transaction(async |connection| {
        Ok::<_, BoxError>(queue.push_in(connection, Ship::order("one")).await?)
    });
    let id = stored.await.unwrap();

    let jobs = place.jobs().await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].id, id.to_string());
}

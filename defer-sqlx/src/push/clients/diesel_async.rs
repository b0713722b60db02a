//! Diesel, through diesel-async.

use defer_core::{BoxError, BoxFuture};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;

use crate::push::{
    insert::{Insert, Value},
    statements::Database,
    transaction::{QueueTransaction, sealed::Sealed},
};

macro_rules! transactions {
    ($feature:literal, $connection:ty, $backend:ty, $database:expr) => {
        #[cfg(feature = $feature)]
        impl Sealed for $connection {
            fn database(&self) -> Option<Database> {
                Some($database)
            }

            fn insert<'a>(&'a mut self, insert: &'a Insert) -> BoxFuture<'a, Result<(), BoxError>> {
                Box::pin(async move {
                    let mut query = diesel::sql_query(insert.sql()).into_boxed::<$backend>();
                    for value in insert.values() {
                        query = match value {
                            Value::Text(text) => query.bind::<Text, _>(text),
                            Value::Int(int) => query.bind::<BigInt, _>(int),
                            Value::Null => query.bind::<Nullable<Text>, _>(None::<&str>),
                        };
                    }
                    query.execute(self).await?;
                    Ok(())
                })
            }
        }

        #[cfg(feature = $feature)]
        impl QueueTransaction for $connection {}
    };
}

transactions!("diesel-async-postgres", diesel_async::AsyncPgConnection, diesel::pg::Pg, Database::Postgres);
transactions!(
    "diesel-async-sqlite",
    diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>,
    diesel::sqlite::Sqlite,
    Database::Sqlite
);

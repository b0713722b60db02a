//! sqlx, in each supported version.

use std::sync::Arc;

use defer_core::{BoxError, BoxFuture};

use crate::push::{
    insert::{Insert, Value},
    statements::Database,
    transaction::{QueueTransaction, sealed::Sealed},
};

/// Implements the trait for one version of sqlx and one database. The given function makes a statement for its connections.
macro_rules! transactions {
    ($feature:literal, $sqlx:ident, $driver:ident, $connection:ident, $database:expr, $statement:expr) => {
        #[cfg(feature = $feature)]
        impl Sealed for $sqlx::$connection {
            fn database(&self) -> Option<Database> {
                Some($database)
            }

            fn insert<'a>(&'a mut self, insert: &'a Insert) -> BoxFuture<'a, Result<(), BoxError>> {
                Box::pin(async move {
                    let statement = $statement;
                    let mut query = $sqlx::query(statement(insert.statement()));
                    for value in insert.values() {
                        query = match value {
                            Value::Text(text) => query.bind(text),
                            Value::Int(int) => query.bind(int),
                            Value::Null => query.bind(None::<&str>),
                        };
                    }
                    query.execute(self).await?;
                    Ok(())
                })
            }
        }

        #[cfg(feature = $feature)]
        impl QueueTransaction for $sqlx::$connection {}

        transactions!($feature, $sqlx::Transaction<'_, $sqlx::$driver>, $database);
        transactions!($feature, $sqlx::pool::PoolConnection<$sqlx::$driver>, $database);
    };
    // For types that contain a connection behind `DerefMut`.
    ($feature:literal, $type:ty, $database:expr) => {
        #[cfg(feature = $feature)]
        impl Sealed for $type {
            fn database(&self) -> Option<Database> {
                Some($database)
            }

            fn insert<'a>(&'a mut self, insert: &'a Insert) -> BoxFuture<'a, Result<(), BoxError>> {
                (**self).insert(insert)
            }
        }

        #[cfg(feature = $feature)]
        impl QueueTransaction for $type {}
    };
}

/// Marks the statement as safe: it contains nothing from a user.
fn safe(statement: &Arc<str>) -> sqlx::AssertSqlSafe<Arc<str>> {
    sqlx::AssertSqlSafe(statement.clone())
}

transactions!("sqlite", sqlx, Sqlite, SqliteConnection, Database::Sqlite, safe);
transactions!("postgres", sqlx, Postgres, PgConnection, Database::Postgres, safe);
transactions!("sqlx-0_8-sqlite", sqlx_0_8, Sqlite, SqliteConnection, Database::Sqlite, Arc::as_ref);
transactions!("sqlx-0_8-postgres", sqlx_0_8, Postgres, PgConnection, Database::Postgres, Arc::as_ref);

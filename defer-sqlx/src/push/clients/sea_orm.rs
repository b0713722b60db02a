//! SeaORM, in each supported version. The user's program chooses the databases.

use defer_core::{BoxError, BoxFuture};

use crate::push::{
    insert::{Insert, Value},
    statements::Database,
    transaction::{QueueTransaction, sealed::Sealed},
};

/// Implements the trait for one version of SeaORM, whose method for executing a statement is given.
macro_rules! transactions {
    ($feature:literal, $orm:ident, $execute:ident) => {
        transactions!($feature, $orm, $execute, $orm::DatabaseTransaction, $orm::DatabaseTransaction);
        transactions!($feature, $orm, $execute, &$orm::DatabaseTransaction, $orm::DatabaseTransaction);
        transactions!($feature, $orm, $execute, $orm::DatabaseConnection, $orm::DatabaseConnection);
        transactions!($feature, $orm, $execute, &$orm::DatabaseConnection, $orm::DatabaseConnection);
    };
    ($feature:literal, $orm:ident, $execute:ident, $type:ty, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Sealed for $type {
            fn database(&self) -> Option<Database> {
                let connection: &$connection = self;
                match $orm::ConnectionTrait::get_database_backend(connection) {
                    $orm::DatabaseBackend::Sqlite => Some(Database::Sqlite),
                    $orm::DatabaseBackend::Postgres => Some(Database::Postgres),
                    _ => None,
                }
            }

            fn insert<'a>(&'a mut self, insert: &'a Insert) -> BoxFuture<'a, Result<(), BoxError>> {
                let connection: &$connection = self;
                let values = insert.values().iter().map(|value| match value {
                    Value::Text(text) => $orm::Value::from(text.clone()),
                    Value::Int(int) => $orm::Value::from(*int),
                    Value::Null => $orm::Value::String(None),
                });
                let backend = $orm::ConnectionTrait::get_database_backend(connection);
                let statement = $orm::Statement::from_sql_and_values(backend, insert.sql(), values);
                Box::pin(async move {
                    $orm::ConnectionTrait::$execute(connection, statement).await?;
                    Ok(())
                })
            }
        }

        #[cfg(feature = $feature)]
        impl QueueTransaction for $type {}
    };
}

transactions!("sea-orm", sea_orm, execute);
transactions!("sea-orm-2", sea_orm_2, execute_raw);

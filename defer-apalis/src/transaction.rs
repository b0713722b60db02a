//! Storing jobs in a transaction of the caller's.

use defer_core::{BoxFuture, queue::Envelope};

use crate::error::Error;

/// A connection or transaction that a job can be stored in: sqlx's for SQLite and Postgres.
pub trait QueueTransaction: sealed::Sealed + Send {
    /// The database's name.
    #[doc(hidden)]
    const DATABASE: &'static str;

    /// Stores jobs.
    #[doc(hidden)]
    fn push<'a>(&'a mut self, queue: &'a str, jobs: &'a [Envelope]) -> BoxFuture<'a, Result<(), Error>>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! transaction {
    ($feature:literal, $name:literal, $database:ty, $connection:ty, $store:ty) => {
        #[cfg(feature = $feature)]
        impl sealed::Sealed for $connection {}
        #[cfg(feature = $feature)]
        impl QueueTransaction for $connection {
            const DATABASE: &'static str = $name;

            fn push<'a>(
                &'a mut self,
                queue: &'a str,
                jobs: &'a [Envelope],
            ) -> BoxFuture<'a, Result<(), Error>> {
                Box::pin(<$store>::push_in(self, queue, jobs))
            }
        }
        #[cfg(feature = $feature)]
        impl sealed::Sealed for sqlx::Transaction<'_, $database> {}
        #[cfg(feature = $feature)]
        impl QueueTransaction for sqlx::Transaction<'_, $database> {
            const DATABASE: &'static str = $name;

            fn push<'a>(
                &'a mut self,
                queue: &'a str,
                jobs: &'a [Envelope],
            ) -> BoxFuture<'a, Result<(), Error>> {
                QueueTransaction::push(&mut **self, queue, jobs)
            }
        }
    };
}

transaction!("sqlite", "SQLite", sqlx::Sqlite, sqlx::SqliteConnection, crate::store::sqlite::Sqlite);
transaction!("postgres", "Postgres", sqlx::Postgres, sqlx::PgConnection, crate::store::postgres::Postgres);

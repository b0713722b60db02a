//! The supported database clients, and how each executes the statement.

#[cfg(any(feature = "diesel-async-postgres", feature = "diesel-async-sqlite"))]
mod diesel_async;
#[cfg(any(feature = "sea-orm", feature = "sea-orm-2"))]
mod sea_orm;
mod sqlx;
#[cfg(feature = "tokio-postgres")]
mod tokio_postgres;

//! Transactions and connections in which jobs can be stored.

use defer_core::{BoxError, BoxFuture};

use super::{insert::Insert, statements::Database};

/// A transaction or connection in which a job can be [stored](crate::SqlxQueue::push_in). On a connection without a
/// transaction, the job is stored immediately.
///
/// | client | types | feature |
/// |---|---|---|
/// | sqlx 0.9 | `Transaction`, `SqliteConnection`, `PgConnection`, `PoolConnection` | `sqlite`, `postgres` |
/// | sqlx 0.8 | the same | `sqlx-0_8-sqlite`, `sqlx-0_8-postgres` |
/// | SeaORM 1.1 | `DatabaseTransaction`, `DatabaseConnection`, and references to them | `sea-orm` |
/// | SeaORM 2 | the same | `sea-orm-2` |
/// | Diesel 2.2 and 2.3, diesel-async 0.6 to 0.9 | `AsyncPgConnection`, `SyncConnectionWrapper<SqliteConnection>` | `diesel-async-postgres`, `diesel-async-sqlite` |
/// | tokio-postgres 0.7 | `Transaction`, `Client`, and references to them | `tokio-postgres` |
///
/// For any other client, use [`SqlxQueue::insert`](crate::SqlxQueue::insert). To pass a connection from a pool, write `&mut
/// *connection`. To pass a reference that a closure was given, as with SeaORM, write `&mut &*transaction`.
///
/// The role needs the privilege to `INSERT` into `defer_jobs`. Jobs with a serial key also need `SELECT`, and jobs with a
/// unique key `SELECT` and `UPDATE`.
///
/// # Which versions resolve together
///
/// A program can link only one libsqlite3. sqlx 0.9 works with libsqlite3-sys 0.30 to 0.37, sqlx 0.8 for SQLite (and so SeaORM
/// 1.1) only with 0.30, and Diesel 2.3 with all of these, so these clients can be combined. If `Cargo.lock` already has a newer
/// libsqlite3-sys, run `cargo update libsqlite3-sys --precise 0.30.1` before you add a client on sqlx 0.8. rusqlite can be
/// combined with sqlx 0.9 from version 0.32 to 0.39, and with sqlx 0.8 only at version 0.32. If your jobs are on Postgres,
/// leave libsqlite3-sys out: `default-features = false`.
#[diagnostic::on_unimplemented(
    message = "a job cannot be stored in `{Self}`",
    label = "not a transaction or connection that `defer-sqlx` knows",
    note = "turn on the feature of `defer-sqlx` for your database client, such as `sea-orm` or `tokio-postgres`",
    note = "`&mut *` turns what comes out of a pool into the client's own type",
    note = "for any other client, `queue.insert(job)` returns the statement and its values"
)]
pub trait QueueTransaction: Send + sealed::Sealed {}

pub(super) mod sealed {
    use super::{BoxError, BoxFuture, Database, Insert};

    pub trait Sealed {
        /// Returns the kind of database that the connection is on. `None` if a queue cannot be on that kind.
        fn database(&self) -> Option<Database>;

        /// Executes the statement.
        fn insert<'a>(&'a mut self, insert: &'a Insert) -> BoxFuture<'a, Result<(), BoxError>>;
    }
}

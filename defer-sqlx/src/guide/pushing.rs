//! Pushing: store a job without a request, from a command, a timer or a message consumer.
//!
//! ```
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use std::time::Duration;
//!
//! use defer_sqlx::SqlxQueue;
//!
//! async fn remind(queue: &SqlxQueue) -> Result<(), defer_sqlx::Error> {
//!     queue.push(SendWelcome { to: "ada@example.com".into() }).await?;
//!     queue.push(SendWelcome { to: "grace@example.com".into() }).delay(Duration::from_secs(3600)).await?;
//!     Ok(())
//! }
//! ```
//!
//! The job is ready as soon as it is stored. It has no request and no response. [Jobs from a
//! command](super::recipes#jobs-from-a-command) is a whole program.
//!
//! # In your own transaction
//!
//! A job that belongs to a row is stored with that row, or not at all:
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_sqlx::{SqlxQueue, sqlx::{self, SqlitePool}};
//!
//! async fn sign_up(pool: &SqlitePool, queue: &SqlxQueue, email: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
//!     sqlx::query("INSERT INTO users (email) VALUES (?1)").bind(email).execute(&mut *tx).await?;
//!     queue.push_in(&mut tx, SendWelcome { to: email.to_owned() }).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! The queue has to be in the same database. [`SqlxQueue::sqlite(&pool)`](crate::SqlxQueue::sqlite) and
//! [`SqlxQueue::postgres(&pool)`](crate::SqlxQueue::postgres) connect to the database of the pool. They use the pool's options
//! but none of its connections, so the queue and the pool never wait for each other's connections.
//!
//! Each of the other clients has a feature. [`QueueTransaction`](crate::QueueTransaction) lists the types and versions.
//!
//! SeaORM, with `sea-orm` or `sea-orm-2`:
//!
#![cfg_attr(feature = "sea-orm", doc = "```")]
#![cfg_attr(not(feature = "sea-orm"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_sqlx::SqlxQueue;
//! use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
//!
//! async fn sign_up(db: &DatabaseConnection, queue: &SqlxQueue) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tx = db.begin().await?;
//!     tx.execute_unprepared("INSERT INTO users (email) VALUES ('ada@example.com')").await?;
//!     queue.push_in(&mut tx, SendWelcome { to: "ada@example.com".into() }).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! Diesel, through diesel-async, with `diesel-async-postgres` or `diesel-async-sqlite`. On SQLite, run `PRAGMA busy_timeout = 5000`
//! on its connections. Otherwise they fail as soon as another connection writes. Before diesel-async 0.9, the closure is
//! `|connection| async move { .. }.scope_boxed()`, with its `scoped_futures::ScopedFutureExt`:
//!
#![cfg_attr(feature = "diesel-async-postgres", doc = "```")]
#![cfg_attr(not(feature = "diesel-async-postgres"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_sqlx::SqlxQueue;
//! use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
//!
//! type Error = Box<dyn std::error::Error + Send + Sync>;
//!
//! async fn sign_up(connection: &mut AsyncPgConnection, queue: &SqlxQueue) -> Result<(), Error> {
//!     connection
//!         .transaction::<_, Error, _>(async |connection| {
//!             diesel::sql_query("INSERT INTO users (email) VALUES ('ada@example.com')").execute(connection).await?;
//!             queue.push_in(connection, SendWelcome { to: "ada@example.com".into() }).await?;
//!             Ok(())
//!         })
//!         .await
//! }
//! ```
//!
//! tokio-postgres, with `tokio-postgres`:
//!
#![cfg_attr(feature = "tokio-postgres", doc = "```")]
#![cfg_attr(not(feature = "tokio-postgres"), doc = "```text")]
//! # use defer_axum::{Deferrable, Job, JobContext, JobResult};
//! # #[derive(Deferrable, serde::Serialize, serde::Deserialize)]
//! # #[defer(queue)]
//! # struct SendWelcome { to: String }
//! # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { let _ = &self.to; Ok(()) } }
//! use defer_sqlx::SqlxQueue;
//!
//! async fn sign_up(client: &mut tokio_postgres::Client, queue: &SqlxQueue) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tx = client.transaction().await?;
//!     tx.execute("INSERT INTO users (email) VALUES ($1)", &[&"ada@example.com"]).await?;
//!     queue.push_in(&mut tx, SendWelcome { to: "ada@example.com".into() }).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! sqlx 0.8, with `sqlx-0_8-sqlite` or `sqlx-0_8-postgres`, looks like sqlx 0.9. For any other client,
//! [`insert`](crate::SqlxQueue::insert) returns the statement and its values.
//!
//! # In another language
//!
//! The table is documented, so programs in other languages can insert jobs. A job needs an id, a name and a payload:
//!
//! ```python
//! import json, secrets, sqlite3, time
//!
//! LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
//!
//! def new_id():  # a ULID: 48 bits of time, and 80 random ones
//!     number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
//!     return "".join(LETTERS[number >> shift & 31] for shift in range(125, -1, -5))
//!
//! with sqlite3.connect("jobs.db") as connection:  # commits at its end
//!     connection.execute(
//!         "INSERT INTO defer_jobs (id, name, payload) VALUES (?, ?, ?)",
//!         (new_id(), "SendWelcome", json.dumps({"to": "ada@example.com"})),
//!     )
//! ```
//!
//! The name is that of the job type, and the payload is the JSON that `serde` writes for it. [The
//! tables](super::operating#the-tables) lists the other columns that you may set.

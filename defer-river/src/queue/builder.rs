//! Sets up and connects a queue.

use std::sync::Arc;

use super::queue::RiverQueue;
use crate::{
    engine::{Settings, start},
    error::Error,
    store::Database,
};

impl RiverQueue {
    /// Connects to a database, and creates missing tables: River's, and two of this crate's.
    ///
    /// `sqlite:jobs.db` is a file, which is created if it does not exist. `postgres:` is a server.
    ///
    /// # Errors
    ///
    /// If the URL's scheme is unknown, or its feature is not enabled, or if the database fails.
    ///
    /// # Cancel safety
    ///
    /// If dropped, nothing stays behind except tables.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// Connects to the SQLite file of this pool, and creates missing tables. Use it to store jobs in transactions of the pool,
    /// with [`push_in`](Self::push_in).
    ///
    /// The queue copies the pool's current options, and uses none of its connections.
    ///
    /// # Errors
    ///
    /// If the pool's database is in memory, or if the database fails.
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Self::connect).
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(pool: &sqlx::SqlitePool) -> Result<Self, Error> {
        Self::builder().sqlite(pool).await
    }

    /// Connects to the Postgres server of this pool, and creates missing tables. Use it to store jobs in transactions of the
    /// pool, with [`push_in`](Self::push_in).
    ///
    /// The queue copies the pool's current options, and uses none of its connections.
    ///
    /// # Errors
    ///
    /// If the database fails.
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Self::connect).
    #[cfg(feature = "postgres")]
    pub async fn postgres(pool: &sqlx::PgPool) -> Result<Self, Error> {
        Self::builder().postgres(pool).await
    }

    /// Returns a builder, to set the name of River's queue.
    pub fn builder() -> RiverQueueBuilder {
        RiverQueueBuilder::default()
    }
}

/// Builds a [`RiverQueue`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct RiverQueueBuilder {
    settings: Settings,
    migrate: bool,
}

impl Default for RiverQueueBuilder {
    fn default() -> Self {
        let settings = Settings { queue: riverqueue::QUEUE_DEFAULT.to_owned(), max_payload: 1 << 20 };
        Self { settings, migrate: true }
    }
}

impl RiverQueueBuilder {
    /// Sets the name of River's queue (`default` by default): small letters, digits, and single `-`, `_` or `|` between them,
    /// at most 64 bytes. Services that share a database need queues with different names.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.queue = name.into();
        self
    }

    /// Sets the maximum size of a job as JSON: 1 MiB by default. A larger job runs in memory, in the process that defers it;
    /// [`push`](RiverQueue::push) returns an error for it.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.settings.max_payload = bytes;
        self
    }

    /// Sets whether to create missing tables, for which the role needs the privilege: true by default. Otherwise run River's
    /// migrations yourself, and then those of this crate: `RiverQueue::sqlite_migrations()` or
    /// `RiverQueue::postgres_migrations()`.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Connects to the database at this URL, like [`RiverQueue::connect`].
    ///
    /// # Errors
    ///
    /// As [`RiverQueue::connect`].
    pub async fn connect(self, url: &str) -> Result<RiverQueue, Error> {
        let database = Database::of_url(url)?;
        self.connect_to(database).await
    }

    /// Connects to the database of this pool, like [`RiverQueue::sqlite`].
    ///
    /// # Errors
    ///
    /// As [`RiverQueue::sqlite`].
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(self, pool: &sqlx::SqlitePool) -> Result<RiverQueue, Error> {
        let options = pool.connect_options();
        let name = options.get_filename().to_string_lossy().into_owned();
        let database = Database::sqlite((*options).clone(), &name)?;
        self.connect_to(database).await
    }

    /// Connects to the database of this pool, like [`RiverQueue::postgres`].
    ///
    /// # Errors
    ///
    /// As [`RiverQueue::postgres`].
    #[cfg(feature = "postgres")]
    pub async fn postgres(self, pool: &sqlx::PgPool) -> Result<RiverQueue, Error> {
        let database = Database::Postgres(Box::new((*pool.connect_options()).clone()));
        self.connect_to(database).await
    }

    async fn connect_to(self, database: Database) -> Result<RiverQueue, Error> {
        let Self { settings, migrate } = self;
        // River checks the name of the queue when a client works it, and not before.
        let check = database.river().queue(&*settings.queue, riverqueue::QueueConfig::new(1));
        let mut none = riverqueue::Workers::new();
        none.add_fn(|_, _: riverqueue::Job<Nothing>| async {
            Ok::<_, Error>(riverqueue::WorkOutcome::Complete)
        })?;
        drop(check.workers(none).build()?);
        let river = database.river().build()?;
        let engine = start(database, settings, migrate).await?;
        Ok(RiverQueue::new(engine, river))
    }
}

/// The arguments of no job.
#[derive(serde::Serialize, serde::Deserialize)]
struct Nothing {}

impl riverqueue::JobArgs for Nothing {
    const KIND: &'static str = "defer_nothing";
}

impl RiverQueue {
    pub(super) fn new(engine: Arc<crate::engine::Engine>, river: riverqueue::Client) -> Self {
        Self { engine, river }
    }
}

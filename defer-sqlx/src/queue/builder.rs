//! Sets up and connects a queue.

use std::{str::FromStr, sync::Arc, time::Duration};

use super::queue::SqlxQueue;
use crate::{
    engine::{Settings, start},
    error::Error,
    push::{Database, Table},
    store::Store,
};

impl SqlxQueue {
    /// Connects to a database, and creates missing tables.
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
    /// The queue copies the pool's current options, and uses none of its connections. For durability, it sets WAL and syncs to
    /// disk at each commit.
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
    /// The queue copies the pool's current options, and uses none of its connections: it opens at most four of its own. They
    /// may go through PgBouncer, in any mode; in transaction mode, other processes find jobs up to a second later.
    ///
    /// The queue uses the first schema of the role's `search_path` that has the tables. If there is none, it creates them in
    /// the first schema.
    ///
    /// # Errors
    ///
    /// If the database fails, or is older than Postgres 12.
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Self::connect).
    #[cfg(feature = "postgres")]
    pub async fn postgres(pool: &sqlx::PgPool) -> Result<Self, Error> {
        Self::builder().postgres(pool).await
    }

    /// Returns a builder, to set the queue's name and how long jobs are kept.
    pub fn builder() -> SqlxQueueBuilder {
        SqlxQueueBuilder::default()
    }
}

/// Configures and connects a [`SqlxQueue`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct SqlxQueueBuilder {
    settings: Settings,
    migrate: bool,
}

impl Default for SqlxQueueBuilder {
    fn default() -> Self {
        let settings = Settings {
            name: "default".to_owned(),
            max_payload: 1 << 20,
            keep_done: Duration::from_secs(600),
            keep_failed: Duration::from_secs(30 * 24 * 3600),
        };
        Self { settings, migrate: true }
    }
}

impl SqlxQueueBuilder {
    /// Sets the queue's name (`default` by default). Services that share a database need queues with different names.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into().replace('\0', "\u{fffd}");
        self
    }

    /// Sets how long to keep jobs that succeeded, were skipped or were cancelled: 10 minutes by default, and at least 2.
    pub fn keep_done(mut self, time: Duration) -> Self {
        self.settings.keep_done = time.max(Duration::from_secs(120));
        self
    }

    /// Sets how long to keep failed jobs: 30 days by default, and at least 2 minutes.
    pub fn keep_failed(mut self, time: Duration) -> Self {
        self.settings.keep_failed = time.max(Duration::from_secs(120));
        self
    }

    /// Sets the maximum size of a job as JSON: 1 MiB by default. A larger job runs in memory, in the process that defers it;
    /// [`push`](SqlxQueue::push) returns an error for it.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.settings.max_payload = bytes;
        self
    }

    /// Sets whether to create missing tables, for which the role needs the privilege: true by default.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Connects to the database at this URL, like [`SqlxQueue::connect`].
    ///
    /// # Errors
    ///
    /// As [`SqlxQueue::connect`].
    pub async fn connect(self, url: &str) -> Result<SqlxQueue, Error> {
        match url.split(':').next().unwrap_or_default() {
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                let options = sqlx::sqlite::SqliteConnectOptions::from_str(url)
                    .map_err(|error| Error::Store(error.into()))?;
                self.connect_sqlite(options, is_in_memory(url)).await
            }
            #[cfg(not(feature = "sqlite"))]
            "sqlite" => Err(Error::MissingFeature { feature: "sqlite" }),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let options = sqlx::postgres::PgConnectOptions::from_str(url)
                    .map_err(|error| Error::Store(error.into()))?;
                self.connect_postgres(options).await
            }
            #[cfg(not(feature = "postgres"))]
            "postgres" | "postgresql" => Err(Error::MissingFeature { feature: "postgres" }),
            scheme => Err(Error::UnknownUrl { scheme: scheme.to_owned() }),
        }
    }

    /// Connects to the database of this pool, like [`SqlxQueue::sqlite`].
    ///
    /// # Errors
    ///
    /// As [`SqlxQueue::sqlite`].
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(self, pool: &sqlx::SqlitePool) -> Result<SqlxQueue, Error> {
        let options = pool.connect_options();
        // Nothing else shows this. Converting such options to a URL panics (sqlx 0.9).
        let in_memory = format!("{options:?}").contains("in_memory: true");
        if in_memory || is_in_memory(&options.get_filename().to_string_lossy()) {
            let reason = "the pool's database is in memory, where no other connection finds it: use a file, or \
                          `SqlxQueue::connect(\"sqlite::memory:\")` without `push_in`";
            return Err(Error::Unusable { reason: reason.to_owned() });
        }
        self.connect_sqlite((*options).clone(), false).await
    }

    /// Connects to the database of this pool, like [`SqlxQueue::postgres`].
    ///
    /// # Errors
    ///
    /// As [`SqlxQueue::postgres`].
    #[cfg(feature = "postgres")]
    pub async fn postgres(self, pool: &sqlx::PgPool) -> Result<SqlxQueue, Error> {
        self.connect_postgres((*pool.connect_options()).clone()).await
    }

    #[cfg(feature = "postgres")]
    async fn connect_postgres(self, options: sqlx::postgres::PgConnectOptions) -> Result<SqlxQueue, Error> {
        let Self { settings, migrate } = self;
        let (name, max_payload) = (settings.name.clone(), settings.max_payload);
        let of_store = name.clone();
        let connect = move || async move {
            let store = crate::store::postgres::Postgres::connect(options, of_store, migrate).await?;
            Ok(Arc::new(store) as Arc<dyn Store>)
        };
        let owner = start(connect, settings).await?;
        let table = Table::new(Database::Postgres, owner.engine().store().schema(), &name, max_payload);
        Ok(SqlxQueue::new(owner, table))
    }

    #[cfg(feature = "sqlite")]
    async fn connect_sqlite(
        self,
        options: sqlx::sqlite::SqliteConnectOptions,
        in_memory: bool,
    ) -> Result<SqlxQueue, Error> {
        let Self { settings, migrate } = self;
        let name = settings.name.clone();
        let connect = move || async move {
            let store = crate::store::sqlite::Sqlite::connect(options, in_memory, name, migrate).await?;
            Ok(Arc::new(store) as Arc<dyn Store>)
        };
        let table = Table::new(Database::Sqlite, None, &settings.name, settings.max_payload);
        Ok(SqlxQueue::new(start(connect, settings).await?, table))
    }
}

#[cfg(feature = "sqlite")]
fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

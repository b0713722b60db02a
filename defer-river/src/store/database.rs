//! The database, and its connections.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, Connection as _};
#[cfg(feature = "postgres")]
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
#[cfg(feature = "sqlite")]
use sqlx::{
    SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::statements::Statements;
use crate::error::Error;

/// How many connections River's client has.
const CONNECTIONS: u32 = 4;
/// How often River's migrations are tried: another process may be at it.
const MIGRATION_TRIES: u32 = 20;
const MIGRATION_PAUSE: Duration = Duration::from_millis(100);
/// For how long a SQLite file may be locked before that is an error. SQLite waits for the busy timeout, in no fair order, and not at
/// all where two that wait for each other would never go on: some of many processes that start at once would fail.
const BUSY_FOR: Duration = Duration::from_secs(30);

/// Where River's tables are.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    #[cfg(feature = "sqlite")]
    Sqlite(Box<SqliteConnectOptions>),
    #[cfg(feature = "postgres")]
    Postgres(Box<PgConnectOptions>),
}

/// A connection of the queue's own.
#[derive(Debug)]
pub(crate) enum Connection {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
}

/// A connection of anybody's, to do something on.
pub(crate) enum Target<'a> {
    #[cfg(feature = "sqlite")]
    Sqlite(&'a mut SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(&'a mut PgConnection),
}

impl Database {
    pub(crate) fn of_url(url: &str) -> Result<Self, Error> {
        match url.split(':').next().unwrap_or_default() {
            #[cfg(feature = "sqlite")]
            "sqlite" => Self::sqlite(SqliteConnectOptions::from_str(url)?, url),
            #[cfg(not(feature = "sqlite"))]
            "sqlite" => Err(Error::MissingFeature { feature: "sqlite" }),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Ok(Self::Postgres(Box::new(PgConnectOptions::from_str(url)?))),
            #[cfg(not(feature = "postgres"))]
            "postgres" | "postgresql" => Err(Error::MissingFeature { feature: "postgres" }),
            scheme => Err(Error::UnknownUrl { scheme: scheme.to_owned() }),
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite(options: SqliteConnectOptions, name: &str) -> Result<Self, Error> {
        // Told by nothing else: as a URL such options are a panic (sqlx 0.9).
        let in_memory = format!("{options:?}").contains("in_memory: true");
        if in_memory || name.contains(":memory:") || name.contains("mode=memory") {
            let reason = "River and the queue have several connections, and each would have its own database \
                          in memory: use a file";
            return Err(Error::Unusable { reason: reason.to_owned() });
        }
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Its commits survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        Ok(Self::Sqlite(Box::new(options)))
    }

    pub(crate) fn statements(&self) -> &'static Statements {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => &super::sqlite::STATEMENTS,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => &super::postgres::STATEMENTS,
        }
    }

    /// Returns whether this is a connection to such a database.
    pub(crate) fn is_like(&self, target: &Target<'_>) -> bool {
        match (self, target) {
            #[cfg(feature = "sqlite")]
            (Self::Sqlite(_), Target::Sqlite(_)) => true,
            #[cfg(feature = "postgres")]
            (Self::Postgres(_), Target::Postgres(_)) => true,
            #[cfg(all(feature = "sqlite", feature = "postgres"))]
            _ => false,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "SQLite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "Postgres",
        }
    }

    pub(crate) async fn open(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) => {
                let busy = Busy::new();
                loop {
                    match SqliteConnection::connect_with(options).await {
                        Ok(connection) => break Connection::Sqlite(connection),
                        Err(error) => busy.pause(error).await?,
                    }
                }
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => {
                let options = options.as_ref().clone().disable_statement_logging();
                Connection::Postgres(PgConnection::connect_with(&options).await?)
            }
        })
    }

    /// Creates River's tables and ours, where they are missing. Any number of processes may do so at once.
    pub(crate) async fn migrate(&self) -> Result<(), Error> {
        let mut connection = self.open().await?;
        let statements = self.statements();
        if let Some(lock) = statements.lock {
            // Held until the end of the transaction, and so through a PgBouncer too.
            connection.execute(statements.begin_migration).await?;
            connection.execute(lock).await?;
        }
        let mut tries = 1;
        while let Err(error) = self.migrate_river().await {
            if tries == MIGRATION_TRIES {
                return Err(error);
            }
            tries += 1;
            // Another process creates them at the same time: it is done soon.
            tokio::time::sleep(MIGRATION_PAUSE).await;
        }
        if statements.lock.is_none() {
            let busy = Busy::new();
            while let Err(error) = connection.execute(statements.begin_migration).await {
                busy.pause(error).await?;
            }
        }
        // To create what exists would wait for everybody who writes.
        if !connection.is_migrated(statements).await? {
            for statement in statements.migrations {
                connection.execute(statement).await?;
            }
        }
        connection.execute("COMMIT").await?;
        let is_migrated = connection.is_migrated(statements).await?;
        connection.close().await?;
        if is_migrated {
            return Ok(());
        }
        // Only an index that is there and not valid is left out.
        let reason = "the index `defer_river_job_id` is not valid, because its creation has failed: drop it, and create it again";
        Err(Error::Unusable { reason: reason.to_owned() })
    }

    async fn migrate_river(&self) -> Result<(), Error> {
        let failed = |error: riverqueue_migrate::Error| Error::Store(error.into());
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) => {
                let options = options.as_ref().clone();
                let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
                let migrated = riverqueue_migrate::SqliteMigrator::new(pool.clone()).migrate_up().await;
                pool.close().await;
                migrated.map(drop).map_err(failed)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => {
                let options = options.as_ref().clone();
                let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
                let migrated = riverqueue_migrate::PostgresMigrator::new(pool.clone()).migrate_up().await;
                pool.close().await;
                migrated.map(drop).map_err(failed)
            }
        }
    }

    /// Returns a client of River's on this database, on connections of its own.
    pub(crate) fn river(&self) -> riverqueue::ClientBuilder {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) => {
                let pool: SqlitePool = SqlitePoolOptions::new()
                    .max_connections(CONNECTIONS)
                    .connect_lazy_with(options.as_ref().clone());
                riverqueue::Client::builder(pool)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => {
                let pool: PgPool = PgPoolOptions::new()
                    .max_connections(CONNECTIONS)
                    .connect_lazy_with(options.as_ref().clone().disable_statement_logging());
                riverqueue::Client::builder(pool)
            }
        }
    }
}

/// Waits while another process has a SQLite file locked.
struct Busy {
    since: Instant,
}

impl Busy {
    fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Waits before the next try. Returns the error if that would be no use.
    async fn pause(&self, error: sqlx::Error) -> Result<(), sqlx::Error> {
        if !is_busy(&error) || self.since.elapsed() > BUSY_FOR {
            return Err(error);
        }
        tokio::time::sleep(MIGRATION_PAUSE).await;
        Ok(())
    }
}

/// Returns whether this is SQLite's BUSY, in any of its extended forms. The codes of Postgres have five characters.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.len() < 5 && code.parse::<i32>().is_ok_and(|code| code & 0xff == 5))
}

impl Connection {
    pub(crate) fn target(&mut self) -> Target<'_> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => Target::Sqlite(connection),
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => Target::Postgres(connection),
        }
    }

    async fn close(self) -> Result<(), Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => connection.close().await?,
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.close().await?,
        }
        Ok(())
    }

    /// Returns whether everything that is ours is there.
    async fn is_migrated(&mut self, statements: &Statements) -> Result<bool, sqlx::Error> {
        Ok(!self.target().ask(statements.is_migrated, &serde_json::Value::Null).await?.is_empty())
    }

    pub(crate) async fn begin(&mut self, statements: &Statements) -> Result<(), sqlx::Error> {
        self.execute(statements.begin).await
    }

    pub(crate) async fn execute(&mut self, statements: &'static str) -> Result<(), sqlx::Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => sqlx::raw_sql(statements).execute(connection).await.map(drop),
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => sqlx::raw_sql(statements).execute(connection).await.map(drop),
        }
    }
}

impl Target<'_> {
    /// Executes a statement with its parameter, and returns the texts that it returns.
    pub(crate) async fn ask(
        &mut self,
        statement: &'static str,
        parameter: &serde_json::Value,
    ) -> Result<Vec<String>, sqlx::Error> {
        let parameter = parameter.to_string();
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => {
                sqlx::query_scalar(statement).bind(parameter).fetch_all(&mut **connection).await
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => {
                sqlx::query_scalar(statement).bind(parameter).fetch_all(&mut **connection).await
            }
        }
    }
}

//! Opens connections.

use defer_core::BoxFuture;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};

use super::tables::quoted;
use crate::{
    error::Error,
    store::connection::{Control, Database},
};

/// The migrations, in order. Later ones only add.
const MIGRATIONS: [(i64, &str); 4] = [
    (1, include_str!("../../../migrations/postgres/0001_jobs.sql")),
    (2, include_str!("../../../migrations/postgres/0002_progress.sql")),
    (3, include_str!("../../../migrations/postgres/0003_failures.sql")),
    (4, include_str!("../../../migrations/postgres/0004_replace.sql")),
];

/// The first version with `MATERIALIZED`.
const OLDEST_VERSION: u32 = 120_000;

/// Sets everything that statements depend on, so that no setting of the role or the server breaks them. Each statement walks an
/// index in its order, whatever the statistics of a newly filled table say, and is planned once.
macro_rules! settings {
    ($set:literal) => {
        concat!(
            $set,
            " statement_timeout = 4000; ",
            $set,
            " lock_timeout = 1000; ",
            $set,
            " idle_in_transaction_session_timeout = 10000; ",
            $set,
            " jit = off; ",
            $set,
            " enable_seqscan = off; ",
            $set,
            " enable_bitmapscan = off; ",
            $set,
            " enable_indexscan = on; ",
            $set,
            " enable_indexonlyscan = on; ",
            $set,
            " enable_nestloop = on; ",
            $set,
            " plan_cache_mode = force_generic_plan"
        )
    };
}

macro_rules! begin {
    () => {
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
    };
}

macro_rules! look {
    () => {
        "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
    };
}

/// Makes each commit wait for the disk, even if the role's commits do not.
macro_rules! synchronous {
    ($is_local:literal) => {
        concat!(
            "SELECT set_config('synchronous_commit', 'on', ",
            $is_local,
            ") WHERE current_setting('synchronous_commit') = 'off'"
        )
    };
}

/// Begins a transaction behind a pooler. The settings are local to the transaction, so that none remains on the server's
/// connection.
pub(super) const BEGIN: &str = concat!(begin!(), "; ", settings!("SET LOCAL"), "; ", synchronous!("true"));

/// Like [`BEGIN`], for a transaction that only reads.
const LOOK: &str = concat!(look!(), "; ", settings!("SET LOCAL"));

/// Sets up a direct connection to the server, once.
const SETTINGS: &str = concat!(
    settings!("SET"),
    "; SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; \
     SET default_transaction_deferrable = off; ",
    synchronous!("false")
);

/// A setting of our own that a server accepts with the connection, and a pooler does not.
const IS_DIRECT: &str = "defer.is_direct";

/// Settings that a server accepts with the connection. Its own limits may be too short for a statement that changes them.
const DIRECT: [(&str, &str); 4] = [
    (IS_DIRECT, "yes"),
    ("statement_timeout", "4000"),
    ("lock_timeout", "1000"),
    ("idle_in_transaction_session_timeout", "10000"),
];

#[derive(Debug)]
pub(super) struct Server {
    /// Includes [`DIRECT`] once the server itself is known to answer.
    options: PgConnectOptions,
    /// Whether the server itself answers. A pooler may give each transaction a different server connection.
    is_direct: bool,
}

impl Server {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let options = options
            .application_name("defer")
            // A pooler refuses this setting.
            .extra_float_digits(None)
            .disable_statement_logging();
        Self { options, is_direct: false }
    }

    /// Opens the first connection, and finds out whether the server itself answers.
    pub(super) async fn open_first(&mut self) -> Result<PgConnection, sqlx::Error> {
        let asking = self.options.clone().options(DIRECT);
        match PgConnection::connect_with(&asking).await {
            Ok(mut connection) => {
                let ask = "BEGIN; SET LOCAL statement_timeout = 4000; SELECT current_setting('defer.is_direct', true); COMMIT";
                let row = sqlx::raw_sql(ask).fetch_one(&mut connection).await?;
                self.is_direct = row.try_get::<Option<String>, _>(0)?.as_deref() == Some("yes");
                if self.is_direct {
                    self.options = asking;
                }
                Ok(connection)
            }
            // A pooler may refuse settings that it does not know.
            Err(sqlx::Error::Database(_) | sqlx::Error::Protocol(_)) => self.open().await,
            Err(error) => Err(error),
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Returns a pool of one connection for the listener. It does not connect yet.
    pub(super) fn listener_pool(&self) -> PgPool {
        let options = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        options.connect_lazy_with(self.options.clone())
    }

    /// Creates missing tables, and returns their schema. Locks nothing if none is missing.
    pub(super) async fn prepare(
        &self,
        connection: &mut PgConnection,
        migrate: bool,
    ) -> Result<String, Error> {
        if connection.server_version_num().is_some_and(|version| version < OLDEST_VERSION) {
            return Err(unusable("defer-sqlx needs Postgres 12 or later"));
        }
        let no_schema = || unusable("the search_path of this role has no schema that it may use: set one");
        let (schema, done) = look(connection).await.map_err(store)?.ok_or_else(no_schema)?;
        if schema.has_tables && (!migrate || done >= MIGRATIONS.len()) {
            return Ok(schema.name);
        }
        if !migrate {
            let reason = "the search_path of this role leads to no tables of defer-sqlx, and `migrate(false)` creates none";
            return Err(unusable(reason));
        }
        run_migrations(connection).await.map_err(store)?.ok_or_else(no_schema)
    }
}

fn store(error: sqlx::Error) -> Error {
    Error::Store(error.into())
}

fn unusable(reason: &str) -> Error {
    Error::Unusable { reason: reason.to_owned() }
}

/// Returns the schema, and the number of applied migrations.
async fn look(connection: &mut PgConnection) -> Result<Option<(Schema, usize)>, sqlx::Error> {
    sqlx::raw_sql(BEGIN).execute(&mut *connection).await?;
    let Some(schema) = schema(connection).await? else { return Ok(None) };
    let done = applied(connection, &schema.name).await?;
    sqlx::raw_sql("COMMIT").execute(connection).await?;
    Ok(Some((schema, done)))
}

/// Runs missing migrations, in one transaction. Returns the schema.
async fn run_migrations(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    // With the timeout, a process that is cut off during this does not keep the lock.
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 60000; \
                 SET LOCAL lock_timeout = 60000; SET LOCAL idle_in_transaction_session_timeout = 10000";
    sqlx::raw_sql(begin).execute(&mut *connection).await?;
    sqlx::raw_sql("SELECT pg_advisory_xact_lock(hashtextextended('defer_migrations', 0))")
        .execute(&mut *connection)
        .await?;
    // Another process may have been faster.
    let Some(Schema { name, .. }) = schema(connection).await? else { return Ok(None) };
    let done = applied(connection, &name).await?;
    let prepare = format!(
        "SET LOCAL search_path TO {}; CREATE TABLE IF NOT EXISTS defer_migrations \
         (version bigint PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())",
        quoted(&name)
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await?;
    for (version, sql) in MIGRATIONS.into_iter().skip(done) {
        sqlx::raw_sql(sql).execute(&mut *connection).await?;
        let record = format!("INSERT INTO defer_migrations (version) VALUES ({version})");
        sqlx::raw_sql(AssertSqlSafe(record)).execute(&mut *connection).await?;
    }
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    Ok(Some(name))
}

struct Schema {
    name: String,
    has_tables: bool,
}

/// Returns the first schema of the search path that has the tables. If none has, returns the schema for new tables.
async fn schema(connection: &mut PgConnection) -> Result<Option<Schema>, sqlx::Error> {
    let sql = "SELECT s.name::text, EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
               ON n.oid = c.relnamespace WHERE n.nspname = s.name AND c.relname = 'defer_jobs' AND c.relkind IN ('r', 'p')) \
               FROM unnest(current_schemas(false)) WITH ORDINALITY AS s (name, at) ORDER BY 2 DESC, s.at LIMIT 1";
    let row = sqlx::query(sql).persistent(false).fetch_optional(connection).await?;
    row.map(|row| Ok(Schema { name: row.try_get(0)?, has_tables: row.try_get(1)? })).transpose()
}

/// Returns the number of applied migrations. A newer version of this crate may have applied more.
async fn applied(connection: &mut PgConnection, schema: &str) -> Result<usize, sqlx::Error> {
    let table = format!("{}.defer_migrations", quoted(schema));
    let exists: bool = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(&table)
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    if !exists {
        return Ok(0);
    }
    let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let count: i64 = sqlx::query(sql).persistent(false).fetch_one(connection).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or_default())
}

impl Database for Server {
    type Connection = PgConnection;

    fn open(&self) -> BoxFuture<'_, Result<PgConnection, sqlx::Error>> {
        Box::pin(async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            if self.is_direct {
                sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
            }
            Ok(connection)
        })
    }

    fn execute<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        statement: Control,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        let statement = match statement {
            Control::Begin if self.is_direct => begin!(),
            Control::Begin => BEGIN,
            Control::Look if self.is_direct => look!(),
            Control::Look => LOOK,
            Control::Commit => "COMMIT",
            Control::Rollback => "ROLLBACK",
        };
        Box::pin(async move { sqlx::raw_sql(statement).execute(connection).await.map(drop) })
    }

    fn is_locked(&self, error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
    }

    fn is_refused(&self, error: &sqlx::Error) -> bool {
        // Other errors may come after the commit: those of a connection, an operator or the system.
        let is_about_it = |code: &str| !["08", "57", "58", "XX"].iter().any(|class| code.starts_with(class));
        matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| is_about_it(&code)))
    }

    fn is_data(&self, error: &sqlx::Error) -> bool {
        match error {
            // Errors about a value, a constraint or a limit.
            sqlx::Error::Database(error) => error
                .code()
                .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class))),
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => true,
            _ => false,
        }
    }
}

//! A fresh database for each test.

use std::sync::Arc;

use defer_sqlx::sqlx::{
    AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection, query, query_scalar, raw_sql,
};
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::jobs::Log;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// The databases that the tests run on.
    pub const ALL: &[Self] =
        if cfg!(feature = "servers") { &[Self::Sqlite, Self::Postgres] } else { &[Self::Sqlite] };

    pub async fn place(self) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let url = match self {
            Self::Sqlite => format!("sqlite:{}", folder.path().join("queue.db").display()),
            Self::Postgres => {
                let server = server();
                let name = format!("test_{}", defer_axum::JobId::unique()).to_lowercase();
                let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
                raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
                    .execute(&mut connection)
                    .await
                    .unwrap();
                format!("{server}/{name}")
            }
        };
        Place { url, backend: self, folder: Arc::new(folder) }
    }
}

/// Runs a scenario on every database at the same time.
pub async fn on_each(scenario: impl AsyncFn(Backend)) {
    /// Names the databases on which it failed.
    struct On(Backend);
    impl Drop for On {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("on {:?}, or on another at the same time", self.0);
            }
        }
    }
    join_all(Backend::ALL.iter().map(async |backend| {
        let _on = On(*backend);
        scenario(*backend).await;
    }))
    .await;
}

/// Returns the URL of a Postgres server, without a database.
pub fn server() -> String {
    let variable = "DEFER_TEST_POSTGRES";
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run this by scripts/with-servers.sh, which starts a server")
    })
}

/// An empty database, and a folder.
#[derive(Clone, Debug)]
pub struct Place {
    pub url: String,
    pub backend: Backend,
    pub folder: Arc<TempDir>,
}

impl Place {
    pub fn log(&self) -> Log {
        self.log_named("log")
    }

    pub fn log_named(&self, name: &str) -> Log {
        Log(self.folder.path().join(name))
    }

    /// Creates an empty file that a job waits for.
    pub fn touch(&self, name: &str) {
        std::fs::write(self.folder.path().join(name), "").unwrap();
    }

    /// Executes statements, as any client of the database can.
    pub async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.unwrap();
    }

    /// Executes a statement that the database may reject.
    pub async fn try_execute(&self, sql: &str) -> Result<(), defer_sqlx::sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.backend {
            Backend::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await?;
                raw_sql(sql).execute(&mut connection).await?;
                connection.close().await
            }
            Backend::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await?;
                raw_sql(sql).execute(&mut connection).await?;
                connection.close().await
            }
        }
    }

    /// Returns the number that a query selects.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT CAST(({sql}) AS BIGINT)"));
        match self.backend {
            Backend::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
                query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
            Backend::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// Returns the strings that a query selects.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.backend {
            Backend::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
                let rows = query(sql).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            Backend::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                let rows = query(sql).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// Waits until a query selects this number.
    pub async fn until_number(&self, sql: &str, number: i64) {
        crate::waiting::until(&format!("{sql} is {number}"), async || self.number(sql).await == number).await;
    }
}

/// Another client's write that blocks all others.
pub enum Lock {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Place {
    pub async fn lock(&self) -> Lock {
        match self.backend {
            Backend::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
                raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
                Lock::Sqlite(connection)
            }
            Backend::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                let lock = "BEGIN; LOCK TABLE defer_jobs IN EXCLUSIVE MODE";
                raw_sql(lock).execute(&mut connection).await.unwrap();
                Lock::Postgres(connection)
            }
        }
    }

    /// Blocks the heartbeats of all holders.
    pub async fn lock_holders(&self) -> Lock {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let lock = "BEGIN; LOCK TABLE defer_holders IN ACCESS EXCLUSIVE MODE";
        raw_sql(lock).execute(&mut connection).await.unwrap();
        Lock::Postgres(connection)
    }

    /// Makes the database reject jobs with this text in their payload.
    pub async fn refuse(&self, text: &str) {
        self.execute(&match self.backend {
            Backend::Sqlite => format!(
                "CREATE TRIGGER refuses BEFORE INSERT ON defer_jobs WHEN NEW.payload LIKE '%{text}%' \
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            ),
            Backend::Postgres => {
                format!("ALTER TABLE defer_jobs ADD CONSTRAINT refuses CHECK (payload NOT LIKE '%{text}%') NOT VALID")
            }
        })
        .await;
    }

    /// Undoes [`refuse`](Self::refuse).
    pub async fn refuse_nothing(&self) {
        self.execute(match self.backend {
            Backend::Sqlite => "DROP TRIGGER refuses",
            Backend::Postgres => "ALTER TABLE defer_jobs DROP CONSTRAINT refuses",
        })
        .await;
    }
}

impl Lock {
    pub async fn release(self) {
        match self {
            Self::Sqlite(mut connection) => drop(raw_sql("COMMIT").execute(&mut connection).await.unwrap()),
            Self::Postgres(mut connection) => drop(raw_sql("COMMIT").execute(&mut connection).await.unwrap()),
        }
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

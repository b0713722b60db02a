//! A fresh database for each test.

use defer_sqlx::{
    SqlxQueue,
    sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection},
};
use tempfile::TempDir;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// A database with a table of orders, and a queue.
#[derive(Debug)]
pub struct Place {
    pub backend: Backend,
    pub url: String,
    pub queue: SqlxQueue,
    _folder: TempDir,
}

impl Backend {
    pub async fn place(self) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let url = match self {
            Self::Sqlite => format!("sqlite:{}", folder.path().join("service.db").display()),
            Self::Postgres => {
                let server = std::env::var("DEFER_TEST_POSTGRES").unwrap_or_else(|_| {
                    panic!("DEFER_TEST_POSTGRES is not set: run scripts/test.sh, which starts a server")
                });
                let name = format!("test_{}", defer_core::JobId::unique()).to_lowercase();
                let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
                connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
                format!("{server}/{name}")
            }
        };
        // Creates its tables.
        let queue = SqlxQueue::connect(&url).await.unwrap();
        let place = Place { backend: self, url, queue, _folder: folder };
        place.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)").await;
        place
    }
}

impl Place {
    /// The file of a SQLite database.
    pub fn file(&self) -> &str {
        self.url.strip_prefix("sqlite:").unwrap()
    }

    pub async fn execute(&self, sql: &'static str) {
        match self.backend {
            Backend::Sqlite => drop(self.sqlite().await.execute(sql).await.unwrap()),
            Backend::Postgres => drop(self.postgres().await.execute(sql).await.unwrap()),
        }
    }

    pub async fn postgres(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    pub async fn sqlite(&self) -> SqliteConnection {
        SqliteConnection::connect(&self.url).await.unwrap()
    }
}

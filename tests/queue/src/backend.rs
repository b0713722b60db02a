//! A fresh queue for each test.

use tempfile::TempDir;

#[cfg(feature = "servers")]
use crate::waiting::PATIENCE;

/// A kind of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    #[cfg(feature = "servers")]
    Postgres,
    #[cfg(feature = "servers")]
    Redis,
}

/// An empty queue's place, and a folder.
#[derive(Debug)]
pub struct Place {
    pub url: String,
    pub folder: TempDir,
}

impl Place {
    pub fn log(&self) -> crate::jobs::Log {
        crate::jobs::Log(self.folder.path().join("log"))
    }
}

#[cfg(feature = "servers")]
fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run scripts/test.sh, which starts the servers"))
}

/// A connection that waits for an answer for longer than half a second, which is what one does by itself.
#[cfg(feature = "servers")]
pub async fn redis_connection(url: &str) -> redis::aio::MultiplexedConnection {
    let patient = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}

impl Backend {
    /// Those that there are servers for.
    #[cfg(feature = "servers")]
    pub const ALL: &[Self] = &[Self::Sqlite, Self::Postgres, Self::Redis];
    #[cfg(not(feature = "servers"))]
    pub const ALL: &[Self] = &[Self::Sqlite];

    /// Returns whether it leaves out a job whose unique key another has that waits.
    pub fn knows_unique_keys(self) -> bool {
        #[cfg(feature = "servers")]
        return self != Self::Redis;
        #[cfg(not(feature = "servers"))]
        true
    }

    pub async fn place(self) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let url = match self {
            Self::Sqlite => format!("sqlite:{}", folder.path().join("queue.db").display()),
            #[cfg(feature = "servers")]
            Self::Postgres => {
                use defer_apalis::sqlx::{AssertSqlSafe, Connection, PgConnection, query};
                let server = server("DEFER_TEST_POSTGRES");
                let name = format!("test_{}", defer_axum::JobId::unique()).to_lowercase();
                let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
                query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
                    .execute(&mut connection)
                    .await
                    .unwrap();
                format!("{server}/{name}")
            }
            #[cfg(feature = "servers")]
            Self::Redis => {
                // The first database counts the others: several test programs run at once.
                let server = server("DEFER_TEST_REDIS");
                let mut connection = redis_connection(&server).await;
                let next: u32 = redis::cmd("INCR").arg("next").query_async(&mut connection).await.unwrap();
                format!("{server}/{next}")
            }
        };
        Place { url, folder }
    }
}

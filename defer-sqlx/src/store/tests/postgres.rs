//! Runs the scenarios on the Postgres server of `DEFER_TEST_POSTGRES`.

use std::sync::Arc;

use defer_core::JobId;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::Place;
use crate::store::{interface::Store, postgres::Postgres};

async fn open(url: &str, queue: &str) -> Arc<dyn Store> {
    Arc::new(Postgres::connect(url.parse().unwrap(), queue.to_owned(), true).await.unwrap())
}

async fn place() -> (Place, ()) {
    let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
    let name = format!("test_{}", JobId::unique()).to_lowercase();
    let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let url = format!("{server}/{name}");
    let (a, b, other) = tokio::join!(open(&url, "jobs"), open(&url, "jobs"), open(&url, "other"));
    (Place { a, b, other }, ())
}

crate::store::tests::scenarios!(place());

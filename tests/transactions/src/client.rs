//! The clients that a service may use. Each stores an order and its job in one transaction.

use defer_core::{BoxError, JobId};
use defer_sqlx::{Push, SqlxQueue, sqlx};

use crate::{
    Ship,
    place::{Backend, Place},
};

/// A client, with one of its kinds of transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Sqlx,
    Sqlx0_8,
    SeaOrm,
    SeaOrm2,
    Diesel,
    TokioPostgres,
}

/// Each client, on each of its databases.
#[cfg(feature = "servers")]
pub const ALL: &[(Client, Backend)] = &[
    (Client::Sqlx, Backend::Sqlite),
    (Client::Sqlx0_8, Backend::Sqlite),
    (Client::SeaOrm, Backend::Sqlite),
    (Client::SeaOrm2, Backend::Sqlite),
    (Client::Diesel, Backend::Sqlite),
    (Client::Sqlx, Backend::Postgres),
    (Client::Sqlx0_8, Backend::Postgres),
    (Client::SeaOrm, Backend::Postgres),
    (Client::SeaOrm2, Backend::Postgres),
    (Client::Diesel, Backend::Postgres),
    (Client::TokioPostgres, Backend::Postgres),
];
#[cfg(not(feature = "servers"))]
pub const ALL: &[(Client, Backend)] = &[
    (Client::Sqlx, Backend::Sqlite),
    (Client::Sqlx0_8, Backend::Sqlite),
    (Client::SeaOrm, Backend::Sqlite),
    (Client::SeaOrm2, Backend::Sqlite),
    (Client::Diesel, Backend::Sqlite),
];

/// What a transaction stores, and how it ends.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub id: &'static str,
    /// The options of the job.
    pub with: for<'a> fn(Push<'a>) -> Push<'a>,
    pub commits: bool,
    /// Stores the order's row, too.
    pub has_row: bool,
}

impl Order {
    pub fn new(id: &'static str) -> Self {
        Self { id, with: |push| push, commits: true, has_row: true }
    }

    fn insert(&self) -> String {
        if !self.has_row {
            return "SELECT 1".to_owned();
        }
        format!("INSERT INTO orders (id) VALUES ('{}')", self.id)
    }

    fn job(&self) -> Ship {
        Ship::order(self.id)
    }
}

impl Client {
    /// Stores an order, and its job through this queue.
    pub async fn order(self, place: &Place, queue: &SqlxQueue, order: Order) -> Result<JobId, BoxError> {
        match (self, place.backend) {
            (Self::Sqlx, Backend::Sqlite) => sqlx_sqlite(place, queue, order).await,
            (Self::Sqlx, Backend::Postgres) => sqlx_postgres(place, queue, order).await,
            (Self::Sqlx0_8, Backend::Sqlite) => sqlx_0_8_sqlite(place, queue, order).await,
            (Self::Sqlx0_8, Backend::Postgres) => sqlx_0_8_postgres(place, queue, order).await,
            (Self::SeaOrm, _) => sea_orm(place, queue, order).await,
            (Self::SeaOrm2, _) => sea_orm_2(place, queue, order).await,
            (Self::Diesel, Backend::Sqlite) => diesel_sqlite(place, queue, order).await,
            (Self::Diesel, Backend::Postgres) => diesel_postgres(place, queue, order).await,
            (Self::TokioPostgres, _) => tokio_postgres(place, queue, order).await,
        }
    }
}

macro_rules! with_sqlx {
    ($name:ident, $sqlx:ident, $connection:ident, $sql:expr) => {
        async fn $name(place: &Place, queue: &SqlxQueue, order: Order) -> Result<JobId, BoxError> {
            use $sqlx::{Connection, Executor};

            let mut connection = $sqlx::$connection::connect(&place.url).await?;
            let mut tx = connection.begin().await?;
            let sql = $sql;
            tx.execute(sql(&order.insert())).await?;
            let id = (order.with)(queue.push_in(&mut tx, order.job())).await?;
            if order.commits {
                tx.commit().await?;
            } else {
                tx.rollback().await?;
            }
            Ok(id)
        }
    };
}

#[allow(clippy::ptr_arg, reason = "as the other versions are given it")]
fn safe(sql: &String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(sql.clone())
}

with_sqlx!(sqlx_sqlite, sqlx, SqliteConnection, safe);
with_sqlx!(sqlx_postgres, sqlx, PgConnection, safe);
with_sqlx!(sqlx_0_8_sqlite, sqlx_0_8, SqliteConnection, String::as_str);
with_sqlx!(sqlx_0_8_postgres, sqlx_0_8, PgConnection, String::as_str);

macro_rules! with_sea_orm {
    ($name:ident, $orm:ident) => {
        async fn $name(place: &Place, queue: &SqlxQueue, order: Order) -> Result<JobId, BoxError> {
            use $orm::{ConnectionTrait, TransactionTrait};

            let database = $orm::Database::connect(&place.url).await?;
            let mut tx = database.begin().await?;
            tx.execute_unprepared(&order.insert()).await?;
            let id = (order.with)(queue.push_in(&mut tx, order.job())).await?;
            if order.commits {
                tx.commit().await?;
            } else {
                tx.rollback().await?;
            }
            Ok(id)
        }
    };
}

with_sea_orm!(sea_orm, sea_orm);
with_sea_orm!(sea_orm_2, sea_orm_2);

type DieselSqlite = diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>;

macro_rules! with_diesel {
    ($name:ident, $connection:ty, $place:ident => $address:expr, $begin:literal) => {
        async fn $name(place: &Place, queue: &SqlxQueue, order: Order) -> Result<JobId, BoxError> {
            use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};

            let $place = place;
            let mut connection = <$connection>::establish($address).await?;
            connection.batch_execute($begin).await?;
            diesel::sql_query(order.insert()).execute(&mut connection).await?;
            let id = (order.with)(queue.push_in(&mut connection, order.job())).await?;
            connection.batch_execute(if order.commits { "COMMIT" } else { "ROLLBACK" }).await?;
            Ok(id)
        }
    };
}

// Earlier connections may still be closing.
with_diesel!(diesel_sqlite, DieselSqlite, place => place.file(), "PRAGMA busy_timeout = 60000; BEGIN");
with_diesel!(diesel_postgres, diesel_async::AsyncPgConnection, place => &place.url, "BEGIN");

async fn tokio_postgres(place: &Place, queue: &SqlxQueue, order: Order) -> Result<JobId, BoxError> {
    let (mut client, connection) = tokio_postgres::connect(&place.url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let mut tx = client.transaction().await?;
    tx.execute(&order.insert(), &[]).await?;
    let id = (order.with)(queue.push_in(&mut tx, order.job())).await?;
    if order.commits {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    drop(client);
    connection.await??;
    Ok(id)
}

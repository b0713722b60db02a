//! Reads the tables.

use defer_sqlx::sqlx::{Row, query, query_scalar};

use crate::place::{Backend, Place};

/// The columns of `defer_jobs` that an insert sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobRow {
    pub id: String,
    pub queue: String,
    pub name: String,
    pub payload: String,
    pub metadata: String,
    pub state: i64,
    pub priority: i64,
    /// The time from its creation until it is due.
    pub delay: i64,
    pub serial_key: Option<String>,
    pub unique_key: Option<String>,
    pub unique_claim: Option<String>,
    pub duplicate_of: Option<String>,
    pub is_ended: bool,
}

const JOBS: &str = "SELECT id, queue, name, payload, metadata, CAST(state AS bigint) AS state, CAST(priority AS bigint) AS priority, \
    due - created AS delay, serial_key, unique_key, unique_claim, duplicate_of, ended IS NOT NULL AS is_ended \
    FROM defer_jobs ORDER BY id";

macro_rules! rows {
    ($connection:expr) => {
        query(JOBS)
            .fetch_all(&mut $connection)
            .await
            .unwrap()
            .into_iter()
            .map(|row| JobRow {
                id: row.get("id"),
                queue: row.get("queue"),
                name: row.get("name"),
                payload: row.get("payload"),
                metadata: row.get("metadata"),
                state: row.get("state"),
                priority: row.get("priority"),
                delay: row.get("delay"),
                serial_key: row.get("serial_key"),
                unique_key: row.get("unique_key"),
                unique_claim: row.get("unique_claim"),
                duplicate_of: row.get("duplicate_of"),
                is_ended: row.get("is_ended"),
            })
            .collect()
    };
}

impl Place {
    /// Returns the jobs in the order in which they were created.
    pub async fn jobs(&self) -> Vec<JobRow> {
        match self.backend {
            Backend::Sqlite => rows!(self.sqlite().await),
            Backend::Postgres => rows!(self.postgres().await),
        }
    }

    pub async fn orders(&self) -> Vec<String> {
        const ORDERS: &str = "SELECT id FROM orders ORDER BY id";
        match self.backend {
            Backend::Sqlite => query_scalar(ORDERS).fetch_all(&mut self.sqlite().await).await.unwrap(),
            Backend::Postgres => query_scalar(ORDERS).fetch_all(&mut self.postgres().await).await.unwrap(),
        }
    }

    /// Returns the turns of the jobs, in the order in which the jobs were created.
    pub async fn turns(&self) -> Vec<i64> {
        const TURNS: &str = "SELECT turn FROM defer_jobs ORDER BY id";
        match self.backend {
            Backend::Sqlite => query_scalar(TURNS).fetch_all(&mut self.sqlite().await).await.unwrap(),
            Backend::Postgres => query_scalar(TURNS).fetch_all(&mut self.postgres().await).await.unwrap(),
        }
    }
}

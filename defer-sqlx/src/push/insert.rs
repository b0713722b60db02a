//! A job as a statement and its values.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use defer_core::{Deferrable, JobId, queue::Envelope};
use serde::Serialize;

use super::statements::{Database, Needs, Statements};
use crate::{
    engine::{millis, new_job, text},
    error::Error,
    store::NewJob,
};

/// The table that a queue's jobs are inserted into.
pub(crate) struct Table {
    pub(super) database: Database,
    queue: String,
    max_payload: usize,
    statements: Statements,
    notifications: Notifications,
}

impl Table {
    /// Creates the table of a queue. Without a schema, its name is not qualified.
    pub(crate) fn new(database: Database, schema: Option<&str>, queue: &str, max_payload: usize) -> Self {
        let table = match schema {
            Some(schema) => format!("\"{}\".defer_jobs", schema.replace('"', "\"\"")),
            None => "defer_jobs".to_owned(),
        };
        Self {
            database,
            queue: queue.to_owned(),
            max_payload,
            statements: Statements::new(database, &table),
            notifications: Notifications::default(),
        }
    }

    /// Converts a job to the row that stores it.
    pub(crate) fn job<J: Deferrable + Serialize>(&self, job: &J) -> Result<NewJob, Error> {
        new_job(Envelope::of(job).map_err(Error::Encode)?, self.max_payload)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("queue", &self.queue)
            .field("statements", &self.statements)
            .finish_non_exhaustive()
    }
}

/// A job as one `INSERT` statement and its values, for a database client that this crate does not support. Returned by
/// [`SqlxQueue::insert`](crate::SqlxQueue::insert).
///
/// Execute the statement in your transaction: the job is stored with your rows or not at all, and runs after the commit. The
/// statement returns no rows. Do not rely on the number of affected rows, which may be 0 for a job with a
/// [unique](Self::unique) key.
///
/// The statement has one placeholder for each of the [values](Self::values): `?1` to `?9` on SQLite; `$1` to `$9` on Postgres,
/// where integers are `bigint` and all others `text`. It is the same for all jobs without keys, so a client can keep it
/// prepared.
///
/// It contains the job's id, so execute it once.
///
/// ```
/// # use defer_sqlx::SqlxQueue;
/// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy};
/// use defer_sqlx::Value;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendWelcome { to: String }
/// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
/// # impl Deferrable for SendWelcome { const NAME: &'static str = "SendWelcome"; const POLICY: Policy = Policy::new(); }
/// # fn example(queue: &SqlxQueue) -> Result<(), Box<dyn std::error::Error>> {
/// let insert = queue.insert(SendWelcome { to: "ada@example.com".to_owned() })?;
/// println!("{}", insert.sql());
/// for value in insert.values() {
///     match value {
///         Value::Text(text) => println!("{text}"),
///         Value::Int(int) => println!("{int}"),
///         _ => println!("NULL"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "the job is stored when you execute the statement"]
pub struct Insert {
    id: JobId,
    table: Arc<Table>,
    notify: bool,
    values: [Value; 9],
}

/// The positions of the values.
const PRIORITY: usize = 5;
const DELAY: usize = 6;
const SERIAL: usize = 7;
const UNIQUE: usize = 8;

/// A value of an [`Insert`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// A text.
    Text(String),
    /// A 64-bit integer.
    Int(i64),
    /// `NULL`, of the type `text`.
    Null,
}

impl Insert {
    pub(crate) fn new(table: Arc<Table>, job: NewJob) -> Self {
        let values = [
            Value::Text(job.id.to_string()),
            Value::Text(table.queue.clone()),
            Value::Text(job.name),
            Value::Text(job.payload),
            Value::Text(job.metadata),
            Value::Int(job.priority.into()),
            Value::Int(job.delay),
            job.serial.map_or(Value::Null, Value::Text),
            job.unique.map_or(Value::Null, Value::Text),
        ];
        let notify = table.database == Database::Postgres && table.notifications.is_due();
        Self { id: job.id, table, notify, values }
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Runs the job no sooner than this long after the statement was executed. See [`Push::delay`](crate::Push::delay).
    pub fn delay(mut self, delay: Duration) -> Self {
        self.values[DELAY] = Value::Int(millis(delay));
        self
    }

    /// Drops the job if another job with this key is waiting. See [`Push::unique`](crate::Push::unique).
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.values[UNIQUE] = Value::Text(text(&key.into()));
        self
    }

    /// Runs jobs with this key one at a time, in order. See [`Push::serial`](crate::Push::serial).
    pub fn serial(mut self, key: impl Into<String>) -> Self {
        self.values[SERIAL] = Value::Text(text(&key.into()));
        self
    }

    /// Sets the job's priority. See [`Push::priority`](crate::Push::priority).
    pub fn priority(mut self, priority: i16) -> Self {
        self.values[PRIORITY] = Value::Int(priority.into());
        self
    }

    /// Returns the statement.
    pub fn sql(&self) -> &str {
        self.statement()
    }

    /// Returns the values, in the order of the placeholders.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    pub(super) fn statement(&self) -> &Arc<str> {
        let has = |value: &Value| *value != Value::Null;
        let needs = Needs {
            serial: has(&self.values[SERIAL]),
            unique: has(&self.values[UNIQUE]),
            notify: self.notify,
        };
        self.table.statements.get(needs)
    }
}

/// Limits how often commits notify: a commit that notifies waits for others that do, including their wait for the disk. A worker
/// that is not notified looks within a second.
struct Notifications {
    since: Instant,
    /// The earliest time of the next notification, in milliseconds after `since`.
    next: AtomicU64,
}

impl Notifications {
    const INTERVAL: u64 = 10;

    fn is_due(&self) -> bool {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let taken = |next| {
            self.next.compare_exchange(next, now + Self::INTERVAL, Ordering::Relaxed, Ordering::Relaxed)
        };
        next <= now && taken(next).is_ok()
    }
}

impl Default for Notifications {
    fn default() -> Self {
        Self { since: Instant::now(), next: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_has_a_placeholder_for_each_value() {
        for (database, mark) in [(Database::Sqlite, '?'), (Database::Postgres, '$')] {
            let statements = Statements::new(database, "defer_jobs");
            for bits in 0..8 {
                let needs = Needs { serial: bits & 1 != 0, unique: bits & 2 != 0, notify: bits & 4 != 0 };
                let sql = statements.get(needs);
                for value in 1..=9 {
                    assert!(sql.contains(&format!("{mark}{value}")), "{value} is not in {sql}");
                }
                assert!(!sql.contains(&format!("{mark}10")), "{sql}");
                assert_eq!(
                    sql.contains("pg_notify"),
                    needs.notify && database == Database::Postgres,
                    "{sql}"
                );
            }
        }
    }

    #[test]
    fn the_name_of_a_schema_is_quoted() {
        let table = Table::new(Database::Postgres, Some("My \"Jobs\""), "default", 0);
        let sql = table.statements.get(Needs::default());
        assert!(sql.starts_with("INSERT INTO \"My \"\"Jobs\"\"\".defer_jobs ("), "{sql}");
    }
}

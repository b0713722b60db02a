//! The interface between the engine and a database.

use std::{fmt, sync::Arc};

use defer_core::{
    BoxFuture, JobId, JobStatus,
    queue::{FailedJob, FailureGroup, JobFilter, NameCounts, QueueCounts},
};

pub(crate) type Stored<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Why a transaction failed, or may have failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database refused a value, or a constraint was violated. Nothing is stored, and the connection is usable. Without the
    /// bad part, the transaction may succeed.
    #[error("{0}")]
    Data(String),
    /// Another connection has locked a row for long. Nothing is stored, and the connection is usable. Without that row, the
    /// transaction may succeed.
    #[error("{0}")]
    Locked(String),
    /// Nothing is stored: there was no connection, or the database refused before the commit. The transaction may succeed later.
    #[error("{0}")]
    Away(String),
    /// The answer to the commit is lost or late: the transaction is stored, or not, or may be stored later.
    #[error("{0}")]
    InDoubt(String),
}

/// 128 random bits, as 32 hexadecimal digits.
pub(crate) type HolderId = String;

/// A process that holds or runs jobs.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) id: HolderId,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) version: &'static str,
    /// The names of the jobs that it takes.
    pub(crate) names: Vec<String>,
}

/// A job to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub(crate) id: JobId,
    pub(crate) name: String,
    /// JSON.
    pub(crate) payload: String,
    /// A JSON object of strings.
    pub(crate) metadata: String,
    pub(crate) priority: i16,
    /// 0: always, 1: on success, 2: a predicate decides.
    pub(crate) condition: i16,
    /// The status of the response, if known.
    pub(crate) status: Option<u16>,
    /// Milliseconds from now. Only for a pushed job; that of a held job is in its `Ready`.
    pub(crate) delay: i64,
    pub(crate) serial: Option<String>,
    pub(crate) unique: Option<String>,
    pub(crate) replace: Option<Replace>,
    pub(crate) throttle: Option<Throttle>,
}

/// When a job is due that replaces the ready job with its unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    /// When the replaced job was due.
    AtItsTime,
    /// After its own delay, but no later than this many milliseconds after the first job in the chain of replacements became
    /// ready.
    Within(i64),
}

impl Replace {
    /// Returns the milliseconds, if there are any.
    pub(super) fn within(self) -> Option<i64> {
        match self {
            Self::AtItsTime => None,
            Self::Within(longest) => Some(longest),
        }
    }
}

/// A limit on how often jobs with a key start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Throttle {
    pub(crate) key: String,
    /// In milliseconds.
    pub(crate) every: i64,
}

#[cfg(test)]
impl NewJob {
    /// Returns a plain job of a type.
    pub(crate) fn of_type(name: &str) -> Self {
        Self {
            id: defer_core::JobId::unique(),
            name: name.to_owned(),
            payload: "{}".to_owned(),
            metadata: "{}".to_owned(),
            priority: 0,
            condition: 0,
            status: None,
            delay: 0,
            serial: None,
            unique: None,
            replace: None,
            throttle: None,
        }
    }
}

/// A change of one job. The changes in a transaction are independent of each other.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) id: JobId,
    /// The holder's claim: 1 for a job that it holds; that of [`Taken`] for a job that it took.
    pub(crate) claim: i64,
    pub(crate) kind: ChangeKind,
    /// Jobs to be stored as held by the holder if the change is made. If it is refused, they are not.
    pub(crate) children: Vec<NewJob>,
    /// Set if an earlier try of this change was in doubt, so it may have been made. It is then not refused for that reason.
    pub(crate) again: bool,
    /// The job itself, if its own insert is in doubt. If its row is missing, the change inserts it in its changed state.
    pub(crate) insert: Option<NewJob>,
}

/// The input of one writing transaction.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) holder: HolderId,
    pub(crate) held: Vec<NewJob>,
    pub(crate) changes: Vec<Change>,
}

impl Write {
    pub(crate) fn new(holder: &str, held: &[NewJob], changes: &[Change]) -> Arc<Self> {
        Arc::new(Self { holder: holder.to_owned(), held: held.to_vec(), changes: changes.to_vec() })
    }

    /// Returns the input for another try, when the first may have been stored.
    pub(crate) fn again(&self) -> Arc<Self> {
        let changes = self.changes.iter().map(|change| Change { again: true, ..change.clone() }).collect();
        Arc::new(Self { holder: self.holder.clone(), held: self.held.clone(), changes })
    }
}

#[derive(Clone, Debug)]
pub(crate) enum ChangeKind {
    /// The condition was true.
    Pass,
    /// The attempt reported this progress, as JSON.
    Progress { json: String },
    /// The job ended.
    End(StoredEnd),
    /// The attempt ended, and the next one follows after this many milliseconds. `attempts` is the number of attempts so far.
    Retry { delay: i64, attempts: i64, error: Option<String> },
    /// The job did not run, or did not finish: any process may take it.
    Ready {
        delay: i64,
        serial: Option<String>,
        unique: Option<String>,
        replace: Option<Replace>,
        throttle: Option<Throttle>,
        /// How its response ended, as JSON.
        outcome: Option<String>,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum StoredEnd {
    Done { attempts: i64 },
    Failed { attempts: i64, error: String },
    Skipped,
    Cancelled,
}

/// The result of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Made,
    /// The row is missing, has ended, or does not belong to the holder under this claim. Nothing was changed.
    Refused,
    /// The job has ended as a duplicate of this one.
    Duplicate(JobId),
}

/// A job that a worker took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) id: String,
    pub(crate) claim: i64,
    pub(crate) name: String,
    pub(crate) payload: String,
    pub(crate) metadata: String,
    pub(crate) attempts: i64,
    /// How its response ended, as JSON.
    pub(crate) outcome: Option<String>,
    pub(crate) status: Option<u16>,
    /// How long it has been due, in milliseconds.
    pub(crate) waited: i64,
    /// How long ago it was stored, in milliseconds.
    pub(crate) age: i64,
    /// Whether it has a serial key, so that another job may be waiting for its end.
    pub(crate) is_serial: bool,
    /// Whether it may be dropped because another job has started. The store checks this.
    pub(crate) is_throttled: bool,
}

/// A stored job.
#[derive(Clone, Debug)]
pub(crate) struct StoredRow {
    pub(crate) id: JobId,
    pub(crate) payload: String,
    pub(crate) status: JobStatus,
    pub(crate) serial: Option<String>,
    pub(crate) unique: Option<String>,
    /// In milliseconds, by the database's clock. Negative once it is due.
    pub(crate) due_in: i64,
}

/// A job, for callers that inspect the queue. Times are in milliseconds, by the database's clock.
#[derive(Clone, Debug)]
pub(crate) struct JobRow {
    pub(crate) id: JobId,
    pub(crate) name: String,
    pub(crate) state: i16,
    pub(crate) attempts: i64,
    /// Negative once it is due.
    pub(crate) due_in: i64,
    pub(crate) age: i64,
    /// How long ago it ended.
    pub(crate) ended: Option<i64>,
    pub(crate) claim: i64,
    pub(crate) error: Option<String>,
    pub(crate) progress: Option<String>,
    /// A JSON object of strings.
    pub(crate) metadata: String,
    /// How its response ended, as JSON.
    pub(crate) outcome: Option<String>,
    pub(crate) status: Option<i64>,
    /// The process that has it, if known.
    pub(crate) host: Option<String>,
    pub(crate) pid: Option<i64>,
    pub(crate) is_paused: bool,
}

/// A holder, for callers that inspect the queue.
#[derive(Clone, Debug)]
pub(crate) struct HolderRow {
    pub(crate) id: HolderId,
    pub(crate) host: String,
    pub(crate) pid: i64,
    pub(crate) version: String,
    /// How long ago it was registered, in milliseconds.
    pub(crate) age: i64,
    /// JSON.
    pub(crate) names: String,
    pub(crate) count: i64,
    /// The number of its jobs, at most 10,000.
    pub(crate) jobs: i64,
}

/// Failed jobs with this name whose errors begin with this line.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    pub(crate) name: String,
    pub(crate) error: String,
    /// The latest failure to include, in milliseconds since 1970 by the database's clock. Jobs that fail again meanwhile are left
    /// alone.
    pub(crate) until: i64,
}

/// The answer to a beat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beat {
    /// Whether the holder's own row was found. If not, it was judged dead.
    pub(crate) is_alive: bool,
    /// The other holders of the queue, and their counts.
    pub(crate) others: Vec<(HolderId, i64)>,
    /// The jobs that the holder has, according to the table.
    pub(crate) own: Vec<Own>,
    /// The paused job names.
    pub(crate) paused: Vec<String>,
    /// Whether there are jobs held or taken by a holder that is not in the table.
    pub(crate) has_orphans: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) id: String,
    pub(crate) claim: i64,
    pub(crate) cancel: bool,
}

/// A queue's database. A method that changes something does so in one transaction, on a connection of the store's own, and in a
/// task that dropping the future does not stop. After a deadline, the connection is closed. A method with more work may use
/// several transactions, and begins none after its future was dropped.
pub(crate) trait Store: Send + Sync + fmt::Debug + 'static {
    /// The schema of its tables, on a database with schemas.
    #[cfg(feature = "postgres")]
    fn schema(&self) -> Option<&str> {
        None
    }

    /// Adds a holder, with a count of 0.
    fn register(&self, holder: Holder) -> Stored<'_, ()>;

    /// Changes the job names of a known holder. A forgotten one stays forgotten, however late this arrives.
    fn rename(&self, holder: Holder) -> Stored<'_, ()>;

    /// Increments a holder's count, and returns what the tables say. Uses a connection of its own.
    fn beat(&self, holder: HolderId) -> Stored<'_, Beat>;

    /// Forgets a holder if its count is still this. Returns whether it did. The holder's jobs are then orphans.
    fn bury(&self, holder: HolderId, count: i64) -> Stored<'_, bool>;

    /// Makes up to 1,000 orphans ready, or ends them. Returns whether there may be more.
    fn recover(&self) -> Stored<'_, bool>;

    /// Forgets a holder that ends, after making ready the jobs that it still holds. This does not count as a death.
    fn unregister(&self, holder: HolderId) -> Stored<'_, ()>;

    /// Stores new jobs, held by the holder, and makes changes: all or nothing, except that a refused change does not affect the
    /// others. A job whose id is already stored is left unchanged. Returns the result of each change, in order.
    fn write<'a>(
        &'a self,
        holder: &'a str,
        held: &'a [NewJob],
        changes: &'a [Change],
    ) -> Stored<'a, Vec<Changed>>;

    /// Stores new jobs that any process may take once they are due. For each, returns the job that it duplicates, if any. That
    /// does not include a job that another one of these replaces.
    fn push<'a>(&'a self, jobs: &'a [NewJob]) -> Stored<'a, Vec<Option<JobId>>>;

    /// Takes up to this many due jobs with these names, those with the highest priority first. Drops jobs that would start too
    /// soon after another with their key.
    fn take(&self, holder: HolderId, names: Vec<String>, limit: usize) -> Stored<'_, Vec<Taken>>;

    /// Returns the time until the next job with these names is due, in milliseconds: 0 if one is due, `None` if none is waiting.
    fn next_due(&self, names: Vec<String>) -> Stored<'_, Option<i64>>;

    /// Waits until another process may have made jobs ready. Never completes on a database without notifications.
    fn notified(&self) -> BoxFuture<'_, ()>;

    /// Deletes up to 1,000 jobs that ended at least this many milliseconds ago. Returns whether there may be more.
    fn prune(&self, done: i64, failed: i64) -> Stored<'_, bool>;

    /// Returns the names of jobs that have been due for longer than this many milliseconds and that no holder takes, and the
    /// names of queues with jobs due that long but without a holder.
    fn unclaimed(&self, due: i64) -> Stored<'_, Vec<String>>;

    /// Counts no further than 10,000 jobs of each kind.
    fn counts(&self) -> Stored<'_, QueueCounts>;

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>>;

    fn status(&self, id: JobId) -> Stored<'_, Option<JobStatus>>;

    /// Returns up to this many jobs with these names, in the order of their ids.
    fn stored(&self, names: Vec<String>, limit: usize) -> Stored<'_, Vec<StoredRow>>;

    /// Runs a failed job again, with all its attempts.
    fn retry(&self, id: JobId) -> Stored<'_, bool>;

    /// Deletes a failed job.
    fn discard(&self, id: JobId) -> Stored<'_, bool>;

    /// Cancels a job that is waiting, or that `holder` holds and has not started (`started` is false). Asks the holder of any
    /// other job to cancel it.
    fn cancel<'a>(&'a self, id: JobId, holder: &'a str, started: bool) -> Stored<'a, Cancelling>;

    /// Pauses or resumes a job type.
    fn pause(&self, name: String, paused: bool) -> Stored<'_, ()>;

    fn paused(&self) -> Stored<'_, Vec<String>>;

    fn job(&self, id: JobId) -> Stored<'_, Option<JobRow>>;

    /// Looks at up to 1,000 jobs of each process.
    fn jobs(&self, filter: JobFilter, limit: usize) -> Stored<'_, Vec<JobRow>>;

    /// Looks at the latest 10,000 failures.
    fn failures(&self, limit: usize) -> Stored<'_, Vec<FailureGroup>>;

    /// Counts no further than 10,000 jobs of each kind and name, and less far if there are many names.
    fn counts_by_name(&self) -> Stored<'_, Vec<NameCounts>>;

    fn holders(&self) -> Stored<'_, Vec<HolderRow>>;

    /// Returns the current time, in milliseconds since 1970 by the database's clock.
    fn now(&self) -> Stored<'_, i64>;

    /// Runs up to 1,000 failed jobs again, with all their attempts. Returns their number.
    fn retry_some(&self, failures: Failures) -> Stored<'_, usize>;

    /// Deletes up to 1,000 failed jobs. Returns their number.
    fn discard_some(&self, failures: Failures) -> Stored<'_, usize>;
}

/// The result of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelling {
    Cancelled,
    Asked,
    Ended,
    Unknown,
}

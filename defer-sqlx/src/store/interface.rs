//! The interface of a database to the engine.

use std::{fmt, sync::Arc};

use defer_core::{
    BoxFuture, JobId, JobStatus,
    queue::{FailedJob, FailureGroup, JobFilter, NameCounts, QueueCounts},
};

pub(crate) type Stored<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Why a transaction did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database refused something in it for what it is: a value, a constraint. Nothing of it is stored, and the connection is
    /// well. Without the bad part it may succeed.
    #[error("{0}")]
    Data(String),
    /// A row in it is locked by somebody else for long. Nothing of it is stored, and the connection is well. Without that row it may
    /// succeed.
    #[error("{0}")]
    Locked(String),
    /// Nothing of it is stored: there was no connection, or the database refused before the commit. It may succeed later.
    #[error("{0}")]
    Away(String),
    /// The answer to the commit is lost, or late: it is stored or not, or will be yet.
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

/// A job that is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub(crate) id: JobId,
    pub(crate) name: String,
    /// JSON.
    pub(crate) payload: String,
    /// JSON: an object of texts.
    pub(crate) metadata: String,
    pub(crate) priority: i16,
    /// 0: always, 1: after a success, 2: a predicate is to be asked.
    pub(crate) condition: i16,
    /// The status of the response, if it is known.
    pub(crate) status: Option<u16>,
    /// Milliseconds from now. Only for a job that is pushed; a held one's is in its `Ready`.
    pub(crate) delay: i64,
    pub(crate) serial: Option<String>,
    pub(crate) unique: Option<String>,
    pub(crate) replace: Option<Replace>,
    pub(crate) throttle: Option<Throttle>,
}

/// When a job is due that takes the place of the ready one with its unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    /// When that one is.
    AtItsTime,
    /// After its own delay, but no later than so many milliseconds after the first of those that have replaced each other became
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

/// How often jobs with a key may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Throttle {
    pub(crate) key: String,
    /// In milliseconds.
    pub(crate) every: i64,
}

#[cfg(test)]
impl NewJob {
    /// A job of a type, with nothing special.
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

/// A change of one job. Changes of one transaction are independent of each other.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) id: JobId,
    /// The claim that the holder has: 1 for a job that it holds; that of [`Taken`] for one that it took.
    pub(crate) claim: i64,
    pub(crate) kind: ChangeKind,
    /// Jobs to be stored as held by the holder, if the change is made. Not if it is refused.
    pub(crate) children: Vec<NewJob>,
    /// Set if an earlier try of this very change was in doubt: it may have been made. Then it is not refused for that.
    pub(crate) again: bool,
    /// The job itself, if its own insert is in doubt: a change inserts it, already changed, where it is missing.
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

    /// Returns the same, after a first try that may have been stored.
    pub(crate) fn again(&self) -> Arc<Self> {
        let changes = self.changes.iter().map(|change| Change { again: true, ..change.clone() }).collect();
        Arc::new(Self { holder: self.holder.clone(), held: self.held.clone(), changes })
    }
}

#[derive(Clone, Debug)]
pub(crate) enum ChangeKind {
    /// The condition was true.
    Pass,
    /// The attempt says, as JSON, how far it is.
    Progress { json: String },
    /// The job ended.
    End(StoredEnd),
    /// The attempt ended, and another follows after this many milliseconds. `attempts` is how many the job has had then.
    Retry { delay: i64, attempts: i64, error: Option<String> },
    /// The job did not run, or not to its end: anyone may take it.
    Ready {
        delay: i64,
        serial: Option<String>,
        unique: Option<String>,
        replace: Option<Replace>,
        throttle: Option<Throttle>,
        /// JSON: how its response ended.
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
    /// The row is missing, has ended, or is not the holder's under this claim. Nothing was changed.
    Refused,
    /// It is a duplicate of this job, and has ended so.
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
    /// JSON: how its response ended.
    pub(crate) outcome: Option<String>,
    pub(crate) status: Option<u16>,
    /// How long it has been due, in milliseconds.
    pub(crate) waited: i64,
    /// How long ago it was stored, in milliseconds.
    pub(crate) age: i64,
    /// Whether it has a serial key: another job may wait for its end.
    pub(crate) is_serial: bool,
    /// Whether it may be left out because another has started. The store asks that.
    pub(crate) is_throttled: bool,
}

/// A job as it is stored.
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

/// A job, for those who look. Times are in milliseconds, by the database's clock.
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
    /// JSON: an object of texts.
    pub(crate) metadata: String,
    /// JSON: how its response ended.
    pub(crate) outcome: Option<String>,
    pub(crate) status: Option<i64>,
    /// The process that has it, if it is known.
    pub(crate) host: Option<String>,
    pub(crate) pid: Option<i64>,
    pub(crate) is_paused: bool,
}

/// A holder, for those who look.
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
    /// How many jobs it has, at most 10,000.
    pub(crate) jobs: i64,
}

/// Failed jobs of a name whose errors begin with this line.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    pub(crate) name: String,
    pub(crate) error: String,
    /// They failed no later than this, in milliseconds since 1970 by the database's clock: what fails again meanwhile is left.
    pub(crate) until: i64,
}

/// The answer to a beat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beat {
    /// Whether the holder's own row was there. If not, it was judged dead.
    pub(crate) is_alive: bool,
    /// The other holders of the queue, and their counts.
    pub(crate) others: Vec<(HolderId, i64)>,
    /// The jobs that the holder has, according to the table.
    pub(crate) own: Vec<Own>,
    /// The paused job names.
    pub(crate) paused: Vec<String>,
    /// Whether jobs are held or taken by a holder that is not in the table.
    pub(crate) has_orphans: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) id: String,
    pub(crate) claim: i64,
    pub(crate) cancel: bool,
}

/// A queue's database. What a method changes, it changes in one transaction, on a connection of the store's own, in a task that goes on
/// if the future is dropped, and within a deadline, after which the connection is closed. One that has more to do may do that in
/// several transactions, and begins no further one once its future is dropped.
pub(crate) trait Store: Send + Sync + fmt::Debug + 'static {
    /// The schema of its tables, on a database that has some.
    #[cfg(feature = "postgres")]
    fn schema(&self) -> Option<&str> {
        None
    }

    /// Makes a holder known, with a count of 0.
    fn register(&self, holder: Holder) -> Stored<'_, ()>;

    /// Changes the job names of a holder that is known. One that was forgotten stays so, however late this comes.
    fn rename(&self, holder: Holder) -> Stored<'_, ()>;

    /// Raises a holder's count, and looks around. On a connection of its own.
    fn beat(&self, holder: HolderId) -> Stored<'_, Beat>;

    /// Forgets a holder whose count is still this. Returns whether it was there. Its jobs are orphans then.
    fn bury(&self, holder: HolderId, count: i64) -> Stored<'_, bool>;

    /// Makes at most 1,000 orphans ready, or ends them. Returns whether there may be more.
    fn recover(&self) -> Stored<'_, bool>;

    /// Forgets a holder at its end, after making ready what it still holds. That is no death.
    fn unregister(&self, holder: HolderId) -> Stored<'_, ()>;

    /// Stores new jobs, held by the holder, and makes changes. All of it or nothing; but a change that is refused refuses no
    /// other. A job whose id is stored already is left as it is. Returns what became of each change, in their order.
    fn write<'a>(
        &'a self,
        holder: &'a str,
        held: &'a [NewJob],
        changes: &'a [Change],
    ) -> Stored<'a, Vec<Changed>>;

    /// Stores new jobs that anyone may take once they are due. Returns for each of which job it is a duplicate, if it is: not for one
    /// that another job of these replaces.
    fn push<'a>(&'a self, jobs: &'a [NewJob]) -> Stored<'a, Vec<Option<JobId>>>;

    /// Takes up to this many due jobs of these names, those with the highest priority first. Leaves those out that would start too soon
    /// after another with their key.
    fn take(&self, holder: HolderId, names: Vec<String>, limit: usize) -> Stored<'_, Vec<Taken>>;

    /// Returns how long until the next job of these names is due, in milliseconds: 0 if one is. `None` if none waits.
    fn next_due(&self, names: Vec<String>) -> Stored<'_, Option<i64>>;

    /// Waits until another process may have made jobs ready. Never completes on a database that does not notify.
    fn notified(&self) -> BoxFuture<'_, ()>;

    /// Deletes up to 1,000 jobs that ended this long ago, in milliseconds. Returns whether there may be more.
    fn prune(&self, done: i64, failed: i64) -> Stored<'_, bool>;

    /// Returns the names of jobs that have been due for longer than this, in milliseconds, and that no holder takes; and queue
    /// names with jobs that have been due so long and without any holder.
    fn unclaimed(&self, due: i64) -> Stored<'_, Vec<String>>;

    /// Looks no further than 10,000 jobs of each kind.
    fn counts(&self) -> Stored<'_, QueueCounts>;

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>>;

    fn status(&self, id: JobId) -> Stored<'_, Option<JobStatus>>;

    /// Returns at most so many jobs with these names, in the order of their ids.
    fn stored(&self, names: Vec<String>, limit: usize) -> Stored<'_, Vec<StoredRow>>;

    /// Runs a failed job again, with all its attempts.
    fn retry(&self, id: JobId) -> Stored<'_, bool>;

    /// Deletes a failed job.
    fn discard(&self, id: JobId) -> Stored<'_, bool>;

    /// Cancels a job that waits, or that `holder` holds and has not started (`started` false); asks the holder of any other.
    fn cancel<'a>(&'a self, id: JobId, holder: &'a str, started: bool) -> Stored<'a, Cancelling>;

    /// Pauses a type of jobs, or resumes it.
    fn pause(&self, name: String, paused: bool) -> Stored<'_, ()>;

    fn paused(&self) -> Stored<'_, Vec<String>>;

    fn job(&self, id: JobId) -> Stored<'_, Option<JobRow>>;

    /// Looks at no more than 1,000 jobs of a process.
    fn jobs(&self, filter: JobFilter, limit: usize) -> Stored<'_, Vec<JobRow>>;

    /// Looks at the latest 10,000 failures.
    fn failures(&self, limit: usize) -> Stored<'_, Vec<FailureGroup>>;

    /// Looks no further than 10,000 jobs of each kind and name, and less far if there are many names.
    fn counts_by_name(&self) -> Stored<'_, Vec<NameCounts>>;

    fn holders(&self) -> Stored<'_, Vec<HolderRow>>;

    /// Returns the time, in milliseconds since 1970 by the database's clock.
    fn now(&self) -> Stored<'_, i64>;

    /// Runs up to 1,000 failed jobs again, with all their attempts. Returns how many.
    fn retry_some(&self, failures: Failures) -> Stored<'_, usize>;

    /// Deletes up to 1,000 failed jobs. Returns how many.
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

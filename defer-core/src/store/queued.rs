//! What a queue tells of its jobs and of the processes that have them.

use std::time::Duration;

use http::StatusCode;

use crate::model::{id::JobId, progress::Progress, response::Delivery};

/// A job as its queue has it. Times are by the queue's clock. What a queue does not store is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuedJob {
    /// The job's id.
    pub id: JobId,
    /// The job's name.
    pub name: String,
    /// How far it has got.
    pub state: QueuedState,
    /// How many attempts it has had. One that runs is not among them.
    pub attempts: u32,
    /// How long until it is due. `None` if it is, or does not wait.
    pub due_in: Option<Duration>,
    /// How long it has been due. `None` unless it is due and waits.
    pub ready_for: Option<Duration>,
    /// How long ago it was stored.
    pub age: Option<Duration>,
    /// How long ago it ended. `None` unless it has.
    pub ended: Option<Duration>,
    /// The error of its last attempt, which may be cut.
    pub error: Option<String>,
    /// How far its attempt says that it is.
    pub progress: Option<Progress>,
    /// The method and the route's pattern of the request that it comes from, such as `POST /signup`.
    pub route: Option<String>,
    /// The id of that request.
    pub request_id: Option<String>,
    /// The id of that request's trace, as 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The status of that request's response.
    pub status: Option<StatusCode>,
    /// How that response ended.
    pub delivery: Option<Delivery>,
    /// The process that has it.
    pub process: Option<Process>,
}

impl QueuedJob {
    /// Creates a job of which nothing else is known.
    pub fn new(id: JobId, name: impl Into<String>, state: QueuedState) -> Self {
        Self {
            id,
            name: name.into(),
            state,
            attempts: 0,
            due_in: None,
            ready_for: None,
            age: None,
            ended: None,
            error: None,
            progress: None,
            route: None,
            request_id: None,
            trace_id: None,
            status: None,
            delivery: None,
            process: None,
        }
    }
}

/// How far a job in a queue has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueuedState {
    /// A process holds it: its response is not over, or it runs there after it.
    Held,
    /// It is due, and waits for a worker.
    Ready,
    /// It is not due yet.
    Delayed,
    /// It is not due yet, and has had an attempt: it waits for the next.
    Retrying,
    /// It is due, and its type is paused.
    Paused,
    /// A worker has taken it.
    Running,
    /// It has succeeded.
    Done,
    /// It has failed for good.
    Failed,
    /// Its condition was false.
    Skipped,
    /// It was cancelled.
    Cancelled,
    /// It was left out for another one with its unique key.
    Duplicate,
}

impl QueuedState {
    /// Returns the name in lower case, such as `ready`, for logs and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Which jobs to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobFilter {
    /// Those that are due and wait, the longest due first.
    Ready,
    /// Those that are not due yet, because they are delayed or wait for their next attempt: the next first.
    Delayed,
    /// Those that a process has, the oldest first.
    Running,
}

/// A process on a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Process {
    /// The name of its host, which may be empty.
    pub host: String,
    /// Its process id.
    pub pid: u32,
}

impl Process {
    /// Creates one.
    pub fn new(host: impl Into<String>, pid: u32) -> Self {
        Self { host: host.into(), pid }
    }
}

/// A process that holds or runs jobs of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its name in the queue.
    pub id: String,
    /// The process.
    pub process: Process,
    /// The version of the queue's crate.
    pub version: String,
    /// How long it has been known.
    pub age: Duration,
    /// How long ago it was heard of. A process that is well is heard of every few seconds.
    pub last_seen: Duration,
    /// The names of the jobs that it takes.
    pub names: Vec<String>,
    /// How many jobs it has: it holds or runs them.
    pub jobs: u64,
}

impl Holder {
    /// Creates one that was heard of just now, and has no jobs.
    pub fn new(id: impl Into<String>, process: Process, version: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            process,
            version: version.into(),
            age: Duration::ZERO,
            last_seen: Duration::ZERO,
            names: Vec::new(),
            jobs: 0,
        }
    }
}

/// Jobs with one name that have failed, and whose errors begin with the same line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureGroup {
    /// The name of the jobs.
    pub name: String,
    /// The first line of their errors, which may be cut.
    pub error: String,
    /// How many there are, among those that were looked at.
    pub count: u64,
    /// How long ago the first of them failed.
    pub first: Duration,
    /// How long ago the last of them failed.
    pub last: Duration,
    /// One of them.
    pub example: JobId,
}

impl FailureGroup {
    /// Creates a group of one job that failed just now.
    pub fn new(name: impl Into<String>, error: impl Into<String>, example: JobId) -> Self {
        Self {
            name: name.into(),
            error: error.into(),
            count: 1,
            first: Duration::ZERO,
            last: Duration::ZERO,
            example,
        }
    }
}

/// How many jobs with one name a queue has, without those that have succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameCounts {
    /// The name.
    pub name: String,
    /// Those that are due and wait.
    pub ready: u64,
    /// Those that are not due yet.
    pub delayed: u64,
    /// Those that a process has.
    pub running: u64,
    /// Those that have failed.
    pub failed: u64,
    /// How long the oldest due job has been ready to run.
    pub oldest_due: Option<Duration>,
}

impl NameCounts {
    /// Creates counts of no jobs.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ready: 0, delayed: 0, running: 0, failed: 0, oldest_due: None }
    }
}

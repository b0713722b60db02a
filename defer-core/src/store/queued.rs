//! A queue's reports about its jobs and the processes that have them.

use std::time::Duration;

use http::StatusCode;

use crate::model::{id::JobId, progress::Progress, response::Delivery};

/// A job in a queue. Times are by the queue's clock. Fields that a queue does not store are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuedJob {
    /// The job's id.
    pub id: JobId,
    /// The job's name.
    pub name: String,
    /// Its state.
    pub state: QueuedState,
    /// The number of attempts it has had, without one that is running.
    pub attempts: u32,
    /// How long until it is due. `None` if it is due, or does not wait.
    pub due_in: Option<Duration>,
    /// How long it has been due. `None` unless it is due and waits.
    pub ready_for: Option<Duration>,
    /// How long ago it was stored.
    pub age: Option<Duration>,
    /// How long ago it ended. `None` unless it has.
    pub ended: Option<Duration>,
    /// The error of its last attempt, which may be truncated.
    pub error: Option<String>,
    /// The progress of its attempt.
    pub progress: Option<Progress>,
    /// The method and the route's pattern of the request that deferred it, such as `POST /signup`.
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
    /// Creates a job with no other known data.
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

/// The state of a job in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueuedState {
    /// A process holds it: either its response is not over, or it is running there.
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
    /// It has failed permanently.
    Failed,
    /// Its condition was false.
    Skipped,
    /// It was cancelled.
    Cancelled,
    /// It was dropped as a duplicate of another job.
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

/// The jobs to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobFilter {
    /// Jobs that are due and waiting, the longest due first.
    Ready,
    /// Jobs that are not due yet, because they are delayed or wait for their next attempt. The next one comes first.
    Delayed,
    /// Jobs that a process has, the oldest first.
    Running,
}

/// A process on a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Process {
    /// The name of the host, which may be empty.
    pub host: String,
    /// Its process id.
    pub pid: u32,
}

impl Process {
    /// Creates a process.
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
    /// How long ago its last heartbeat was. A healthy process sends one every few seconds.
    pub last_seen: Duration,
    /// The names of the jobs that it runs.
    pub names: Vec<String>,
    /// The number of jobs that it holds or runs.
    pub jobs: u64,
}

impl Holder {
    /// A holder that has been silent for longer than this is dead or cut off.
    const SILENCE: Duration = Duration::from_secs(9);

    /// Returns whether it has sent no heartbeat for more than nine seconds: it is dead, or cut off from the queue.
    pub fn is_silent(&self) -> bool {
        self.last_seen > Self::SILENCE
    }

    /// Creates a holder that has just sent a heartbeat and has no jobs.
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

/// Failed jobs with the same name whose errors begin with the same line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureGroup {
    /// The name of the jobs.
    pub name: String,
    /// The first line of their errors, which may be truncated.
    pub error: String,
    /// The number of such jobs among those that the queue looked at.
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

/// The number of jobs of one name in a queue, without successful ones.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameCounts {
    /// The name.
    pub name: String,
    /// Jobs that are due and wait.
    pub ready: u64,
    /// Jobs that are not due yet.
    pub delayed: u64,
    /// Jobs that a process has.
    pub running: u64,
    /// Failed jobs.
    pub failed: u64,
    /// How long the oldest due job has been ready to run.
    pub oldest_due: Option<Duration>,
}

impl NameCounts {
    /// Creates counts that are all zero.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ready: 0, delayed: 0, running: 0, failed: 0, oldest_due: None }
    }
}

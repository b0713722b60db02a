//! Events of a job.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};

use super::stats::Final;
use crate::model::{error::JobError, failure::Failure, id::JobId, job_type::JobRef, response::Delivery};

/// An event of a job.
///
/// It carries none of the job's fields, which may contain addresses and tokens.
#[derive(Clone, Debug)]
pub struct JobEvent {
    job: JobRef,
    kind: JobEventKind,
    wait: Option<Duration>,
    request: EventRequest,
}

/// The properties of the job's request that are known at the time of an event.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventRequest {
    pub(crate) method: Option<Method>,
    pub(crate) matched_path: Option<Arc<str>>,
    pub(crate) request_id: Option<String>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) delivery: Option<Delivery>,
}

impl EventRequest {
    /// Returns the method and the route's pattern, such as `POST /signup`.
    pub(super) fn route(&self) -> Option<String> {
        let method = self.method.as_ref()?;
        Some(match &self.matched_path {
            Some(path) => format!("{method} {path}"),
            None => method.to_string(),
        })
    }
}

/// The kind of an event, with its data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JobEventKind {
    /// It was deferred.
    Deferred,
    /// A worker took it from a queue, for one attempt.
    Taken,
    /// An attempt started.
    Started,
    /// Final: an attempt returned `Ok`.
    #[non_exhaustive]
    Succeeded {
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// An attempt failed, panicked or timed out, and another attempt follows.
    #[non_exhaustive]
    Retrying {
        /// The error of the attempt.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
        /// How long until the next attempt.
        delay: Duration,
    },
    /// It [snoozed](JobError::snooze): it runs again later, without using up an attempt.
    #[non_exhaustive]
    Snoozed {
        /// How long the attempt took.
        elapsed: Duration,
        /// How long until it runs again.
        delay: Duration,
    },
    /// It has been blocking its thread for longer than [`stuck_after`](crate::RunnerBuilder::stuck_after) allows, and is still
    /// running. Reported from another thread, once for each such poll.
    #[non_exhaustive]
    Stuck {
        /// How long it has been blocking so far.
        elapsed: Duration,
    },
    /// Final: it returned an error and has no attempts left, or the error was fatal.
    #[non_exhaustive]
    Failed {
        /// The error.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: it panicked and has no attempts left, or its predicate panicked.
    #[non_exhaustive]
    Panicked {
        /// The panic's message, and its place in the source.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: it timed out and has no attempts left.
    #[non_exhaustive]
    TimedOut {
        /// An error that names the timeout.
        error: JobError,
        /// How long the attempt took.
        elapsed: Duration,
    },
    /// Final: its condition was false.
    Skipped,
    /// Final: it was cancelled, or replaced by a later job with the same key.
    Cancelled,
    /// Final: it was dropped because another job with its unique key was pending or has taken its place, or because one had just
    /// started.
    #[non_exhaustive]
    Duplicate {
        /// The other job.
        of: JobId,
    },
    /// Final: there was no room for it, and the runner sheds jobs.
    Shed,
    /// Final on this runner for now: it went to the queue, which may bring it back.
    Queued,
    /// The queue did not store it, or not everything that belongs to it. The job runs in this process. At the end of a
    /// shutdown, it is abandoned, or stored without its request's extensions.
    #[non_exhaustive]
    QueueFailed {
        /// The queue's error.
        error: JobError,
    },
    /// Final: it was stopped, or nothing was left to run it.
    Abandoned,
}

impl JobEvent {
    #[cold]
    pub(super) fn new(
        job: JobRef,
        kind: JobEventKind,
        wait: Option<Duration>,
        request: EventRequest,
    ) -> Self {
        Self { job, kind, wait, request }
    }

    /// Returns the job's name.
    pub fn name(&self) -> &'static str {
        self.job.name()
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// Returns the attempt that the event belongs to, counted from 1; 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.job.attempt
    }

    /// Returns what happened.
    pub fn kind(&self) -> JobEventKind {
        self.kind.clone()
    }

    /// Returns how long the job had waited when this attempt started: since its request's jobs were released, since it was
    /// deferred if that was later, or since its delay or backoff was over. Available at the start and at the end of an attempt,
    /// otherwise `None`.
    pub fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// Returns the method of the request that deferred the job, if it is already known.
    pub fn method(&self) -> Option<&Method> {
        self.request.method.as_ref()
    }

    /// Returns the route that the request matched, such as `/users/{id}`, if it is already known.
    pub fn matched_path(&self) -> Option<&str> {
        self.request.matched_path.as_deref()
    }

    /// Returns the id of the request, if the header `x-request-id` was captured.
    pub fn request_id(&self) -> Option<&str> {
        self.request.request_id.as_deref()
    }

    /// Returns the status of the outgoing response, if it is already known.
    pub fn status(&self) -> Option<StatusCode> {
        self.request.status
    }

    /// Returns how the response ended, if it has already ended.
    pub fn delivery(&self) -> Option<Delivery> {
        self.request.delivery
    }
}

impl JobEventKind {
    /// Returns the event of a job that ends with a failed attempt.
    pub(crate) fn ended(failure: Failure, elapsed: Duration) -> Self {
        match failure {
            Failure::Returned(error) => Self::Failed { error, elapsed },
            Failure::Panicked(error) => Self::Panicked { error, elapsed },
            Failure::TimedOut(error) => Self::TimedOut { error, elapsed },
        }
    }

    /// Returns how a job that ends with this event is counted; `None` if more events follow.
    pub(crate) fn final_count(&self) -> Option<Final> {
        match self {
            Self::Succeeded { .. } => Some(Final::Succeeded),
            Self::Failed { .. } | Self::Panicked { .. } | Self::TimedOut { .. } => Some(Final::Failed),
            Self::Skipped => Some(Final::Skipped),
            Self::Cancelled | Self::Duplicate { .. } => Some(Final::Cancelled),
            Self::Shed => Some(Final::Shed),
            Self::Queued => Some(Final::Queued),
            Self::Abandoned => Some(Final::Abandoned),
            Self::Deferred
            | Self::Taken
            | Self::Started
            | Self::Retrying { .. }
            | Self::Snoozed { .. }
            | Self::Stuck { .. }
            | Self::QueueFailed { .. } => None,
        }
    }
}

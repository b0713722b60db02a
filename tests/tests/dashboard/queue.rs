//! A queue whose replies a test controls.

#![allow(dead_code, reason = "each test crate uses a part of this")]

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use defer_axum::{
    BoxError, BoxFuture, Cancel, JobId, JobStatus,
    queue::{
        Envelope, FailedJob, FailureGroup, Holder, InspectQueue, JobFilter, NameCounts, Process, Queue,
        QueueCounts, QueuedJob, QueuedState,
    },
};

/// The ways in which a queue replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    Well,
    WithAnError,
    WithAPanic,
    WithAPanicLater,
}

/// A queue that two processes share, with failed jobs and one upcoming job.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) failed: JobId,
    pub(crate) delayed: JobId,
    state: Arc<Mutex<State>>,
}

struct State {
    answers: Answers,
    /// The actions that were requested.
    done: Vec<String>,
    paused: Vec<String>,
    /// The queue no longer has failed jobs.
    is_clean: bool,
}

/// The error of the failed jobs.
const ERROR: &str = "mailbox <full>";
/// The name of the jobs.
pub(crate) const NAME: &str = "Send<Mail>";

impl Fake {
    pub(crate) fn new(answers: Answers) -> Self {
        let id = |id: &str| id.parse().expect("an id");
        Self {
            failed: id("01M8AK9CQWBNEDV6SC000000YA"),
            delayed: id("01M8AK9CQWBNEDV6SC000000YC"),
            state: Arc::new(Mutex::new(State {
                answers,
                done: Vec::new(),
                paused: Vec::new(),
                is_clean: false,
            })),
        }
    }

    /// Replies like this from now on.
    pub(crate) fn turn(&self, answers: Answers) {
        self.state().answers = answers;
    }

    /// Reports no groups of failed jobs from now on.
    pub(crate) fn forget_failures(&self) {
        self.state().is_clean = true;
    }

    /// Returns the requested actions.
    pub(crate) fn done(&self) -> Vec<String> {
        self.state().done.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<T: Send + 'static>(&self, answer: T) -> BoxFuture<'_, Result<T, BoxError>> {
        let answers = self.state().answers;
        assert!(answers != Answers::WithAPanic, "on purpose");
        Box::pin(async move {
            match answers {
                Answers::Well => Ok(answer),
                Answers::WithAnError => Err("postgres://user:password@host refused".into()),
                _ => panic!("on purpose, later"),
            }
        })
    }

    fn act<T: Send + 'static>(&self, what: String, answer: T) -> BoxFuture<'_, Result<T, BoxError>> {
        self.state().done.push(what);
        self.answer(answer)
    }
}

impl Queue for Fake {
    fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async { Err("nothing is pushed here".into()) })
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl InspectQueue for Fake {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        let mut counts = QueueCounts::default();
        (counts.pending, counts.failed) = (17, 1);
        counts.oldest_due = Some(Duration::from_secs(200));
        self.answer(counts)
    }

    fn failed(&self, _limit: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        let error = format!("{ERROR}{}", ".".repeat(100_000));
        self.answer(vec![FailedJob::new(self.failed, NAME, 3, error); 100])
    }

    fn unclaimed(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        self.answer(vec!["Send<Sms>".to_owned(); 100])
    }

    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        self.answer((id == self.failed).then(|| JobStatus::failed(ERROR)))
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<QueuedJob>, BoxError>> {
        let job = |state| {
            let mut job = QueuedJob::new(id, NAME, state);
            job.route = Some("POST /signup".to_owned());
            job.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
            job.process = Some(Process::new("machine-2", 4711));
            job
        };
        let failed = || {
            let mut failed = job(QueuedState::Failed);
            (failed.attempts, failed.error) = (3, Some(ERROR.to_owned()));
            failed
        };
        self.answer(match id {
            id if id == self.failed => Some(failed()),
            id if id == self.delayed => Some(job(QueuedState::Retrying)),
            _ => None,
        })
    }

    fn jobs(&self, filter: JobFilter, _limit: usize) -> BoxFuture<'_, Result<Vec<QueuedJob>, BoxError>> {
        let mut job = QueuedJob::new(self.delayed, NAME, QueuedState::Retrying);
        (job.attempts, job.due_in) = (1, Some(Duration::from_secs(40)));
        self.answer(if filter == JobFilter::Delayed { vec![job] } else { Vec::new() })
    }

    fn failures(&self, _limit: usize) -> BoxFuture<'_, Result<Vec<FailureGroup>, BoxError>> {
        let mut group = FailureGroup::new(NAME, ERROR, self.failed);
        (group.count, group.first) = (12, Duration::from_secs(3_600));
        let is_clean = self.state().is_clean;
        self.answer(if is_clean { Vec::new() } else { vec![group] })
    }

    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        let mut counts = NameCounts::new(NAME);
        (counts.ready, counts.delayed) = (16, 1);
        self.answer(vec![counts])
    }

    fn holders(&self) -> BoxFuture<'_, Result<Vec<Holder>, BoxError>> {
        let mut alive = Holder::new("a", Process::new("machine-1", 17), "0.1.0");
        (alive.names, alive.jobs) = (vec![NAME.to_owned()], 13);
        let mut silent = Holder::new("b", Process::new("machine-2", 4711), "0.1.0");
        silent.last_seen = Duration::from_secs(60);
        self.answer(vec![alive, silent])
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        let paused = self.state().paused.clone();
        self.answer(paused)
    }

    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        self.act(format!("retry {id}"), id == self.failed)
    }

    fn discard(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        self.act(format!("discard {id}"), id == self.failed)
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<Cancel, BoxError>> {
        let answer = if id == self.delayed { Cancel::Cancelled } else { Cancel::Unknown };
        self.act(format!("cancel {id}"), answer)
    }

    fn retry_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        self.act(format!("retry all {name}: {error}"), 12)
    }

    fn discard_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        self.act(format!("discard all {name}: {error}"), 12)
    }

    fn pause<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        self.state().paused.push(name.to_owned());
        self.act(format!("pause {name}"), ())
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        self.state().paused.clear();
        self.act(format!("resume {name}"), ())
    }
}

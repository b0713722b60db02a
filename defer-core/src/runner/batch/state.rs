//! What a batch is.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{runtime::Handle, task::JoinHandle};
use tracing::{Span, level_filters::LevelFilter};

use crate::{
    collector::Collector,
    context::{Drain, Surroundings},
    error::DeferError,
    exchange::{RequestInfo, ResponseInfo},
    runner::{Runner, line::Line},
    state::State,
};

pub(crate) struct Batch {
    pub(super) runner: Runner,
    /// Where the runner's register has this batch.
    pub(super) key: AtomicUsize,
    pub(super) origin: Origin,
    pub(super) request: OnceLock<RequestInfo>,
    pub(super) response: OnceLock<ResponseInfo>,
    pub(super) jobs: Mutex<Jobs>,
}

/// Where a batch is from.
pub(crate) struct Origin {
    /// Its jobs run there.
    pub(super) runtime: Handle,
    /// The span of the request.
    pub(super) span: Option<tracing::span::Id>,
}

impl Origin {
    pub(crate) fn current() -> Result<Self, DeferError> {
        let runtime = Handle::try_current().map_err(|_| DeferError::NoRuntime)?;
        let traced = LevelFilter::current() != LevelFilter::OFF;
        Ok(Self { runtime, span: if traced { Span::current().id() } else { None } })
    }
}

pub(super) struct Jobs {
    pub(super) collector: Collector<Box<dyn Line>>,
    pub(super) phase: Phase,
    /// Whether the jobs collected so far were let in; those that follow then take room as they come.
    pub(super) admitted: bool,
    /// Room taken in the runner for jobs that have not started.
    pub(super) room: u32,
    pub(super) worker: Option<JoinHandle<()>>,
    /// Counts workers that are gone or were stopped, so that the handle of such a one is not kept.
    pub(super) workers: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The response has not been sent.
    Collecting,
    /// Released, and nothing is left to start.
    Idle,
    /// Released, and there is a worker, or one waits for its permit.
    Active,
}

impl Batch {
    pub(crate) fn new(runner: Runner, origin: Origin) -> Arc<Self> {
        let batch = Arc::new(Self {
            runner,
            key: AtomicUsize::new(usize::MAX),
            origin,
            request: OnceLock::new(),
            response: OnceLock::new(),
            jobs: Mutex::new(Jobs {
                collector: Collector::new(),
                phase: Phase::Collecting,
                admitted: false,
                room: 0,
                worker: None,
                workers: 0,
            }),
        });
        batch.key.store(batch.runner.register(&batch), Ordering::Relaxed);
        batch
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.origin.runtime
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }
}

impl Jobs {
    /// The next line for a worker, which is gone if there is none.
    pub(super) fn take_line(&mut self) -> Option<Box<dyn Line>> {
        let line = self.collector.take_line();
        if line.is_none() {
            self.workerless();
        }
        line
    }

    pub(super) fn workerless(&mut self) {
        self.phase = Phase::Idle;
        self.worker = None;
        self.workers = self.workers.wrapping_add(1);
    }
}

impl Drop for Batch {
    /// Nobody holds the batch any more, so that nothing of it can run.
    fn drop(&mut self) {
        self.runner.unregister(*self.key.get_mut());
        let lost = self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner).collector.open() > 0;
        if lost {
            self.worker_gone();
        }
    }
}

impl Surroundings for Batch {
    fn state(&self) -> &State {
        self.runner.state()
    }

    fn request(&self) -> Option<&RequestInfo> {
        self.request.get()
    }

    fn response(&self) -> Option<&ResponseInfo> {
        self.response.get()
    }

    fn drain(&self) -> &Drain {
        self.runner.drain()
    }
}

//! What a batch is.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use tokio::{runtime::Handle, task::JoinHandle};
use tracing::{Span, level_filters::LevelFilter};

use crate::{
    collector::Collector,
    context::{Drain, Surroundings},
    error::DeferError,
    exchange::{RequestInfo, ResponseInfo},
    runner::{
        Runner,
        gate::{Gate, Permit, Starts},
        line::Line,
    },
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
    /// For how many of the jobs that have not started the runner's room is taken, once the response is over. Not for more
    /// than there is room for: one request with many jobs would keep the others out until most of them had started.
    pub(super) room: usize,
    /// Wakes the response that is held back.
    pub(super) held: Option<Waker>,
    pub(super) worker: Option<JoinHandle<()>>,
    /// Counts workers that are gone or were stopped, so that the handle of such a one is not kept.
    pub(super) workers: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The response is not over.
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
                room: 0,
                held: None,
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
    /// What follows from jobs that no longer wait to start: the room of so many of them to give back, and the response
    /// to wake that is held for them. To be done without the lock.
    #[must_use]
    pub(super) fn left_line(&mut self, jobs: usize) -> LeftLine {
        let held = if jobs > 0 { self.held.take() } else { None };
        LeftLine { room: self.leave_room(jobs), held }
    }

    /// The room that these many jobs leave which no longer wait to start.
    pub(super) fn leave_room(&mut self, jobs: usize) -> usize {
        let left = jobs.min(self.room);
        self.room -= left;
        left
    }

    /// The next line for a worker, which is gone if there is none.
    pub(super) fn take_line(&mut self) -> Option<Box<dyn Line>> {
        let line = self.collector.take_line();
        if line.is_none() {
            self.workerless();
        }
        line
    }

    pub(super) fn workerless(&mut self) {
        if self.phase == Phase::Active {
            self.phase = Phase::Idle;
        }
        self.worker = None;
        self.workers = self.workers.wrapping_add(1);
    }
}

/// What follows from jobs that no longer wait to start.
pub(super) struct LeftLine {
    room: usize,
    held: Option<Waker>,
}

impl LeftLine {
    pub(super) fn apply(self, batch: &Batch) {
        if self.room > 0 {
            batch.give_back_room(self.room);
        }
        if let Some(held) = self.held {
            held.wake();
        }
    }
}

impl Starts for Arc<Batch> {
    fn gate(&self) -> &Gate<Self> {
        self.runner.gate()
    }

    fn start(self, permit: Permit<Self>) {
        self.spawn_worker(permit);
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

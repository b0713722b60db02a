//! A queue that holds jobs, in memory.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use defer_core::{
    BoxError, BoxFuture, JobId, JobStatus, Runner,
    queue::{
        End, Envelope, Hold, HoldJobs, InspectQueue, Lease, Queue, Ran, Ready, Resume, Settle, Settled,
        Start, Stop,
    },
    testing::Place,
};
use tokio::time::Instant;

use crate::{
    Broken,
    table::{State, Table},
    worker::run,
};

/// A queue in memory, as one process sees it.
#[derive(Clone)]
pub(crate) struct Holding {
    pub(crate) table: Arc<Table>,
    /// The runners that have a worker in this process.
    here: Arc<Mutex<Vec<usize>>>,
}

impl Queue for Holding {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        self.table.insert(jobs, |job| State::Ready(Instant::now() + job.delay));
        Box::pin(ready(Ok(())))
    }

    fn hold(&self) -> Option<&dyn HoldJobs> {
        Some(self)
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl HoldJobs for Holding {
    fn hold(&self, jobs: Vec<Envelope>) -> Hold {
        let starts = self.table.is(Broken::StartsAtOnce);
        let leases: Vec<_> = jobs.iter().map(|job| Leased::lease(&self.table, job.id)).collect();
        self.table.insert(jobs, |_| if starts { State::Ready(Instant::now()) } else { State::Held });
        let stored = leases.iter().map(|_| Ok(())).collect();
        Hold { leases, stored: Box::pin(ready(stored)) }
    }

    fn runs_here(&self, runner: usize, name: &str) -> bool {
        let is_paused = self.table.paused.lock().unwrap().iter().any(|paused| paused == name);
        !is_paused && self.here.lock().unwrap().contains(&runner)
    }
}

struct Leased {
    table: Arc<Table>,
    id: JobId,
    is_settled: Mutex<bool>,
}

impl Leased {
    fn lease(table: &Arc<Table>, id: JobId) -> Arc<dyn Lease> {
        Arc::new(Self { table: table.clone(), id, is_settled: Mutex::new(false) })
    }

    fn is_held(&self) -> bool {
        self.table.rows().iter().any(|row| row.job.id == self.id && row.state == State::Held)
    }
}

impl Lease for Leased {
    fn poll_start(&self, _: &mut Context<'_>) -> Poll<Start> {
        Poll::Ready(if self.is_held() { Start::Now } else { Start::Not(Stop::Lost) })
    }

    fn poll_stopped(&self, _: &mut Context<'_>) -> Poll<Stop> {
        Poll::Pending
    }

    fn pass(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    fn settle(&self, end: End, children: Vec<Envelope>) -> Settle {
        let was_settled = std::mem::replace(&mut *self.is_settled.lock().unwrap(), true);
        let mut from = State::Held;
        if was_settled && self.table.is(Broken::LastEndCounts) {
            from = State::Ended(JobStatus::Succeeded);
        } else if was_settled {
            return Settle { leases: Vec::new(), settled: Box::pin(ready(Settled::Done)) };
        }
        let is_lost = self.table.is(Broken::ForgetsEnds) && matches!(end, End::Succeeded);
        let end = if is_lost { End::Ready(Ready::default()) } else { end };
        let leases = children.iter().map(|child| Self::lease(&self.table, child.id)).collect();
        let settled = self.table.end(self.id, &from, end);
        if settled == Settled::Done && !self.table.is(Broken::LosesChildren) {
            self.table.insert(children, |_| State::Held);
        }
        Settle { leases, settled: Box::pin(ready(settled)) }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if !*self.is_settled.get_mut().unwrap() && !self.table.is(Broken::LosesDroppedLeases) {
            self.table.end(self.id, &State::Held, End::Ready(Ready::default()));
        }
    }
}

impl Holding {
    /// Works until `is_over` of whether any job waits or runs.
    async fn work(&self, runner: &Runner, mut is_over: impl FnMut(bool) -> bool) {
        loop {
            let any = match self.table.take() {
                Ok((job, resume)) => {
                    self.run(runner, &job, resume).await;
                    true
                }
                Err(any) => {
                    // Polled, as a database would be.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    any
                }
            };
            if is_over(any) {
                return;
            }
        }
    }

    async fn run(&self, runner: &Runner, job: &Envelope, resume: Resume) {
        let end = match run(runner, job, resume).await {
            Ran::Succeeded => End::Succeeded,
            Ran::Failed { error, .. } => End::Failed { error: error.to_string() },
            Ran::Retry { error, delay, .. } => End::Retry { error: error.to_string(), delay },
            Ran::Snoozed { delay, .. } => End::Snoozed { delay },
            _ => End::Ready(Ready::default()),
        };
        self.table.end(job.id, &State::Taken, end);
    }
}

pub(crate) struct HoldingPlace(Arc<Table>);

impl HoldingPlace {
    pub(crate) fn new(broken: Option<Broken>) -> Self {
        Self(Arc::new(Table::new(broken)))
    }
}

impl Place for HoldingPlace {
    type Queue = Holding;

    async fn connect(&self) -> Holding {
        Holding { table: self.0.clone(), here: Arc::default() }
    }

    async fn work(queue: Holding, runner: Runner) {
        queue.work(&runner, |any| !any).await;
    }

    async fn work_until(queue: Holding, runner: Runner, stop: BoxFuture<'static, ()>) {
        queue.here.lock().unwrap().push(runner.key());
        let stop = tokio::spawn(stop);
        queue.work(&runner, |_| stop.is_finished()).await;
        queue.here.lock().unwrap().clear();
    }
}

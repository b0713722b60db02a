//! Jobs that the queue holds for a runner.

use std::{
    future::ready,
    mem,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use super::{
    queue::TestQueue,
    table::{Fault, RowState, Table},
};
use crate::{
    model::{error::BoxError, id::JobId, status::JobStatus},
    primitives::{BoxFuture, sync::lock},
    store::{End, Envelope, Hold, HoldJobs, InspectQueue, Lease, Queue, Ready, Settle, Settled, Start, Stop},
};

impl Queue for TestQueue {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        if self.table.is_away() {
            return Box::pin(ready(Err(away())));
        }
        self.table.insert(jobs, |job| self.table.ready_after(job.delay));
        Box::pin(ready(Ok(())))
    }

    fn hold(&self) -> Option<&dyn HoldJobs> {
        Some(self)
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl HoldJobs for TestQueue {
    fn hold(&self, jobs: Vec<Envelope>) -> Hold {
        let leases: Vec<_> =
            jobs.iter().map(|job| Leased::lease(&self.table, job.id, RowState::Held)).collect();
        if self.table.is_away() {
            let stored = leases.iter().map(|_| Err(away())).collect();
            return Hold { leases, stored: Box::pin(ready(stored)) };
        }
        let starts = self.table.has(Fault::StartsAtOnce);
        let state = |job: &Envelope| if starts { self.table.ready_after(job.delay) } else { RowState::Held };
        self.table.insert(jobs, state);
        let stored = leases.iter().map(|_| Ok(())).collect();
        Hold { leases, stored: Box::pin(ready(stored)) }
    }

    fn runs_here(&self, runner: usize, name: &str) -> bool {
        self.table.runs_here(runner, name)
    }
}

fn away() -> BoxError {
    "the test queue is away".into()
}

/// The right to run one job, as long as its row is in this state.
pub(super) struct Leased {
    table: Arc<Table>,
    id: JobId,
    from: RowState,
    is_settled: Mutex<bool>,
}

impl Leased {
    pub(super) fn lease(table: &Arc<Table>, id: JobId, from: RowState) -> Arc<dyn Lease> {
        Arc::new(Self { table: table.clone(), id, from, is_settled: Mutex::new(false) })
    }

    fn poll_stop(&self, cx: &mut Context<'_>) -> Poll<Stop> {
        match self.table.poll_cancelled(self.id, &self.from, cx.waker()) {
            None => Poll::Pending,
            Some(true) => Poll::Ready(Stop::Cancelled),
            Some(false) => Poll::Ready(Stop::Lost),
        }
    }
}

impl Lease for Leased {
    fn poll_start(&self, cx: &mut Context<'_>) -> Poll<Start> {
        match self.poll_stop(cx) {
            Poll::Pending => Poll::Ready(Start::Now),
            Poll::Ready(stop) => Poll::Ready(Start::Not(stop)),
        }
    }

    fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<Stop> {
        self.poll_stop(cx)
    }

    fn is_stored(&self) -> bool {
        self.table.rows().iter().any(|row| row.job.id == self.id)
    }

    fn pass(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    fn settle(&self, end: End, children: Vec<Envelope>) -> Settle {
        let was_settled = mem::replace(&mut *lock(&self.is_settled), true);
        let mut from = self.from.clone();
        if was_settled && self.table.has(Fault::LastEndCounts) {
            from = RowState::Ended(JobStatus::Succeeded);
        } else if was_settled {
            return Settle { leases: Vec::new(), settled: Box::pin(ready(Settled::Done)) };
        }
        let is_lost =
            self.table.has(Fault::ForgetsEnds) && from == RowState::Held && matches!(end, End::Succeeded);
        let end = if is_lost { End::Ready(Ready::default()) } else { end };
        let leases =
            children.iter().map(|child| Self::lease(&self.table, child.id, RowState::Held)).collect();
        let settled = self.table.end(self.id, &from, end);
        if settled == Settled::Done && !self.table.has(Fault::LosesChildren) {
            self.table.insert(children, |_| RowState::Held);
        }
        Settle { leases, settled: Box::pin(ready(settled)) }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if !*lock(&self.is_settled) && !self.table.has(Fault::LosesDroppedLeases) {
            self.table.end(self.id, &self.from, End::Ready(Ready::default()));
        }
        self.table.wake_stopped(self.id);
    }
}

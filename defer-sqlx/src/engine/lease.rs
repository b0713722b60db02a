//! The leases of jobs.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use defer_core::{
    BoxError, BoxFuture,
    queue::{End, Envelope, Hold, Lease, Settle, Settled, Start, Stop},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    convert::new_job,
    engine::Engine,
    held::{Held, Settling, Stored},
    ops::Op,
    owner::Owner,
};
use crate::store::{ChangeKind, NewJob, Taken};

impl Owner {
    /// Starts storing jobs, held by this process.
    pub(crate) fn hold(self: &Arc<Self>, jobs: Vec<Envelope>) -> Hold {
        let mut leases: Vec<Arc<dyn Lease>> = Vec::with_capacity(jobs.len());
        let mut answers = Vec::with_capacity(jobs.len());
        let mut ops = Vec::with_capacity(jobs.len());
        for job in jobs {
            let id = job.id;
            let (done, answer) = oneshot::channel();
            let held = match new_job(job, self.engine().settings().max_payload) {
                Ok(job) => {
                    let held = self.engine().hold(job.clone());
                    ops.push(Op::Hold { job: Box::new(job), held: held.clone(), done });
                    held
                }
                Err(error) => {
                    let _ = done.send(Err(error.to_string()));
                    self.engine().hold_nothing(id)
                }
            };
            leases.push(Arc::new(JobLease::new(held, self)));
            answers.push(answer);
        }
        self.engine().enqueue_all(ops);
        let stored = Box::pin(async move {
            let mut results = Vec::with_capacity(answers.len());
            for answer in answers {
                let answer = answer.await.unwrap_or_else(|_| Err("the queue was closed".to_owned()));
                results.push(answer.map_err(BoxError::from));
            }
            results
        });
        Hold { leases, stored }
    }

    /// Returns the lease of a job that was [taken](Engine::take). `None` if this process no longer has it.
    pub(crate) fn lease(
        self: &Arc<Self>,
        taken: &Taken,
        place: OwnedSemaphorePermit,
    ) -> Option<Arc<dyn Lease>> {
        let held = self.engine().known(taken.id.parse().ok()?).filter(|held| held.claim == taken.claim)?;
        held.keep_place(place);
        Some(Arc::new(JobLease::new(held, self)))
    }
}

/// The lease of a job. Gives the job back if it is dropped before it is settled.
pub(super) struct JobLease {
    held: Arc<Held>,
    owner: Arc<Owner>,
}

impl JobLease {
    pub(super) fn new(held: Arc<Held>, owner: &Arc<Owner>) -> Self {
        Self { held, owner: owner.clone() }
    }

    fn engine(&self) -> &Arc<Engine> {
        self.owner.engine()
    }

    /// Starts writing a change. A child's change waits until its parent's end is stored.
    fn write(&self, kind: ChangeKind, children: Vec<(NewJob, Arc<Held>)>) -> oneshot::Receiver<Settled> {
        let (done, settled) = oneshot::channel();
        if let Some(settling) = self.held.park(Settling::new(kind, children, done)) {
            self.engine().enqueue(Op::change(&self.held, settling));
        }
        settled
    }
}

impl Lease for JobLease {
    fn poll_start(&self, cx: &mut Context<'_>) -> Poll<Start> {
        if let Some(stop) = self.held.stopped() {
            return Poll::Ready(Start::Not(stop));
        }
        // Without a row, no other process can start it.
        if !self.held.may_be_stored() {
            return Poll::Ready(Start::Now);
        }
        let (engine, holder) = (self.engine(), &self.held.holder);
        let start = |is_ours| if is_ours { self.held.start() } else { Start::Not(Stop::Lost) };
        if let Some(is_ours) = engine.identity.is_respected(holder, engine.clock.now()) {
            return Poll::Ready(start(is_ours));
        }
        self.held.wait_for_start(cx.waker().clone());
        engine.waits_for_beat();
        // A beat may have been answered since then, or the job may have been stopped.
        match (self.held.stopped(), engine.identity.is_respected(holder, engine.clock.now())) {
            (Some(stop), _) => Poll::Ready(Start::Not(stop)),
            (None, Some(is_ours)) => Poll::Ready(start(is_ours)),
            (None, None) => Poll::Pending,
        }
    }

    fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<Stop> {
        self.held.poll_stopped(cx.waker())
    }

    fn is_stored(&self) -> bool {
        self.held.may_be_stored()
    }

    fn pass(&self) -> BoxFuture<'static, ()> {
        let done = self.write(ChangeKind::Pass, Vec::new());
        Box::pin(async move { drop(done.await) })
    }

    fn set_progress(&self, json: &str) {
        let engine = self.engine();
        if let Some(at) = self.held.set_progress(json, engine.clock.now()) {
            engine.ops.add_progress(at, &self.held);
        }
    }

    fn settle(&self, end: End, children: Vec<Envelope>) -> Settle {
        if !self.held.settles() {
            return Settle { leases: Vec::new(), settled: Box::pin(async { Settled::Done }) };
        }
        let engine = self.engine();
        let mut leases: Vec<Arc<dyn Lease>> = Vec::with_capacity(children.len());
        let mut stored = Vec::with_capacity(children.len());
        for child in children {
            let id = child.id;
            let child = match new_job(child, engine.settings().max_payload) {
                Ok(job) => {
                    let held = engine.hold_child(id);
                    stored.push((job, held.clone()));
                    held
                }
                Err(error) => {
                    tracing::error!(target: "defer", %id, %error, "a job that a durable job deferred runs in this process only");
                    engine.hold_nothing(id)
                }
            };
            leases.push(Arc::new(Self::new(child, &self.owner)));
        }
        let done = self.write(self.held.change(end), stored);
        Settle { leases, settled: Box::pin(async move { done.await.unwrap_or(Settled::Unknown) }) }
    }
}

impl Drop for JobLease {
    fn drop(&mut self) {
        if !self.held.settles() {
            return;
        }
        let (serial, unique, replace, throttle) = match self.held.stored() {
            Stored::Asked(job) | Stored::InDoubt(job) => (job.serial, job.unique, job.replace, job.throttle),
            _ => (None, None, None, None),
        };
        let ready = ChangeKind::Ready { delay: 0, serial, unique, replace, throttle, outcome: None };
        drop(self.write(ready, Vec::new()));
    }
}

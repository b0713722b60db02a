//! A job that is held for a runner of this process.

use std::{
    future::{Future, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use defer_core::{
    BoxError, BoxFuture, JobId,
    queue::{End, Envelope, Hold, Lease, Ready, Settle, Settled, Start, Stop},
};
use tokio::sync::oneshot;

use super::{engine::Engine, ops::Settlement};
use crate::store::{Change, Changed, From, Response, Row, To, unique_key};

/// A row that nobody takes until this process says so, or is dead.
pub(crate) struct Held {
    engine: Arc<Engine>,
    id: JobId,
    /// Whether the database has refused it.
    is_refused: AtomicBool,
    is_settled: AtomicBool,
}

impl Held {
    /// Begins to store jobs that this process holds.
    pub(crate) fn hold(engine: &Arc<Engine>, jobs: Vec<Envelope>) -> Hold {
        let (leases, rows) = Self::prepare(engine, jobs);
        let errors: Vec<_> = rows.iter().map(|row| row.as_ref().err().map(ToString::to_string)).collect();
        let rows: Vec<_> = rows.into_iter().flatten().collect();
        let stored = (!rows.is_empty()).then(|| engine.insert(rows, true));
        let of_future = leases.clone();
        let stored = Box::pin(async move {
            let answers = match stored {
                Some(stored) => stored.await.unwrap_or_default(),
                None => Vec::new(),
            };
            let mut answers = answers.into_iter();
            let mut results = Vec::with_capacity(errors.len());
            for (error, lease) in errors.into_iter().zip(of_future) {
                let result = match error {
                    Some(error) => Err(error),
                    None => answers.next().unwrap_or_else(|| Err("the queue was closed".to_owned())),
                };
                lease.is_refused.store(result.is_err(), Ordering::Relaxed);
                results.push(result.map_err(BoxError::from));
            }
            results
        });
        Hold { leases: leases.into_iter().map(|lease| lease as Arc<dyn Lease>).collect(), stored }
    }

    /// Returns a lease and a row for each job. A row is an error if the queue cannot store it.
    pub(crate) fn prepare(
        engine: &Arc<Engine>,
        jobs: Vec<Envelope>,
    ) -> (Vec<Arc<Self>>, Vec<Result<Row, crate::Error>>) {
        let prepared = jobs.into_iter().map(|job| {
            let id = job.id;
            let row = engine.row(job).map(|row| row.held_by(&engine.holder));
            let is_refused = AtomicBool::new(row.is_err());
            let lease = Self { engine: engine.clone(), id, is_refused, is_settled: AtomicBool::new(false) };
            (Arc::new(lease), row)
        });
        prepared.unzip()
    }

    /// Begins to store what becomes of a job, with the jobs that it deferred.
    pub(crate) fn settle_with(
        engine: &Arc<Engine>,
        change: Change,
        children: Vec<Envelope>,
    ) -> (Vec<Arc<dyn Lease>>, impl Future<Output = Settled> + Send + 'static + use<>) {
        let (leases, rows) = Self::prepare(engine, children);
        let settled = engine.settle(change, rows.into_iter().flatten().collect());
        let of_future = leases.clone();
        let settled = async move {
            let settled = settled.await;
            if settled.as_ref().is_ok_and(|settlement| !settlement.has_children) {
                of_future.iter().for_each(|lease| lease.is_refused.store(true, Ordering::Relaxed));
            }
            read(settled)
        };
        (leases.into_iter().map(|lease| lease as Arc<dyn Lease>).collect(), settled)
    }

    fn change(&self, to: To) -> Change {
        Change::new(From::Held { id: self.id, holder: self.engine.holder.clone() }, to)
    }

    fn ready(&self, ready: Ready) -> Change {
        let Ready { delay, serial, unique, replace, at_most, response, .. } = ready;
        if serial.is_some() || replace.is_some() || at_most.is_some() {
            // Said too late: `hold` had refused the job.
            let id = self.id;
            tracing::warn!(target: "defer", %id, "River has neither serial keys, nor `at_most_every`, nor `replace`");
        }
        let mut change = self.change(To::Due { after: delay });
        // A text is always JSON.
        change.unique = unique.and_then(|key| unique_key(&key).ok());
        change.response = response.as_ref().map(Response::new);
        change
    }
}

fn read(settled: Result<Settlement, oneshot::error::RecvError>) -> Settled {
    match settled.map(|settlement| settlement.changed) {
        Ok(Changed::Made) => Settled::Done,
        Ok(Changed::Refused) => Settled::Refused,
        Ok(Changed::Duplicate(of)) => Settled::Duplicate(of),
        Err(_) => Settled::Unknown,
    }
}

impl Lease for Held {
    /// River's workers run it. It starts here only if its condition was asked here, and it does not leave for them.
    fn poll_start(&self, _: &mut Context<'_>) -> Poll<Start> {
        Poll::Ready(Start::Now)
    }

    fn poll_stopped(&self, _: &mut Context<'_>) -> Poll<Stop> {
        Poll::Pending
    }

    fn is_stored(&self) -> bool {
        !self.is_refused.load(Ordering::Relaxed)
    }

    /// Nothing is left to store: a job whose condition was true has left for River's workers.
    fn pass(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    fn settle(&self, end: End, children: Vec<Envelope>) -> Settle {
        if self.is_settled.swap(true, Ordering::Relaxed) {
            return Settle { leases: Vec::new(), settled: Box::pin(ready(Settled::Done)) };
        }
        let change = match end {
            End::Succeeded => self.change(To::Succeeded),
            End::Failed { error } => self.change(To::Failed { error }),
            End::Retry { error, delay } => self.change(To::Retry { after: delay, error }),
            End::Snoozed { delay } => self.change(To::Due { after: delay }),
            End::Skipped => self.change(To::Skipped),
            End::Cancelled => self.change(To::Cancelled),
            End::Ready(ready) => self.ready(ready),
        };
        let (leases, settled) = Self::settle_with(&self.engine, change, children);
        Settle { leases, settled: Box::pin(settled) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !*self.is_settled.get_mut() && !*self.is_refused.get_mut() {
            drop(self.engine.settle(self.change(To::Due { after: Duration::ZERO }), Vec::new()));
        }
    }
}

//! A job that a runner runs for River's client.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use defer_core::{
    BoxFuture,
    queue::{End, Envelope, Hold, Lease, Settle, Settled, Start, Stop},
};
use riverqueue::tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio::sync::oneshot;

use crate::{
    engine::{Engine, Held},
    store::{Change, From, To},
};

/// An attempt of River's client.
pub(super) struct Running {
    engine: Arc<Engine>,
    row: i64,
    attempt: i32,
    /// River's client wants it back, or somebody has cancelled the job.
    stop: Mutex<Pin<Box<WaitForCancellationFutureOwned>>>,
    is_stopped: CancellationToken,
    why: Box<dyn Fn() -> Stop + Send + Sync>,
    ended: Mutex<Option<oneshot::Sender<End>>>,
}

impl Running {
    /// Returns the lease, and what tells how the attempt has ended. An error there means that it has not.
    pub(super) fn lease(
        engine: Arc<Engine>,
        (row, attempt): (i64, i32),
        stop: CancellationToken,
        why: impl Fn() -> Stop + Send + Sync + 'static,
    ) -> (Arc<Self>, oneshot::Receiver<End>) {
        let (ended, receiver) = oneshot::channel();
        let is_stopped = stop.clone();
        let stop = Mutex::new(Box::pin(stop.cancelled_owned()));
        let ended = Mutex::new(Some(ended));
        (Arc::new(Self { engine, row, attempt, stop, is_stopped, why: Box::new(why), ended }), receiver)
    }

    fn poll_stop(&self, cx: &mut Context<'_>) -> Poll<Stop> {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        stop.as_mut().poll(cx).map(|()| (self.why)())
    }

    fn change(&self, to: To) -> Change {
        Change::new(From::Running { row: self.row, attempt: self.attempt }, to)
    }
}

impl Lease for Running {
    fn poll_start(&self, cx: &mut Context<'_>) -> Poll<Start> {
        Poll::Ready(match self.poll_stop(cx) {
            Poll::Ready(stop) => Start::Not(stop),
            Poll::Pending => Start::Now,
        })
    }

    fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<Stop> {
        self.poll_stop(cx)
    }

    fn pass(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    fn settle(&self, end: End, children: Vec<Envelope>) -> Settle {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ended) = ended else {
            return Settle { leases: Vec::new(), settled: Box::pin(ready(Settled::Done)) };
        };
        // River says of a discarded job only that it was discarded, and knows nothing of the jobs that another deferred.
        let to = match &end {
            End::Failed { error } => Some(To::Failed { error: error.clone() }),
            End::Succeeded if !children.is_empty() => Some(To::Succeeded),
            // What River has stopped, River ends: only it knows whether somebody has cancelled the job.
            End::Cancelled if !children.is_empty() && !self.is_stopped.is_cancelled() => Some(To::Cancelled),
            _ => None,
        };
        // River's client may be gone.
        if let Some(to) = to {
            let (leases, settled) = Held::settle_with(&self.engine, self.change(to), children);
            let settled = async move {
                let settled = settled.await;
                let _ = ended.send(end);
                settled
            };
            return Settle { leases, settled: Box::pin(settled) };
        }
        if children.is_empty() {
            let _ = ended.send(end);
            return Settle { leases: Vec::new(), settled: Box::pin(ready(Settled::Done)) };
        }
        let Hold { leases, stored } = Held::hold(&self.engine, children);
        let settled = async move {
            drop(stored.await);
            let _ = ended.send(end);
            Settled::Done
        };
        Settle { leases, settled: Box::pin(settled) }
    }
}

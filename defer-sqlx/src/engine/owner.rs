//! Keeps a holder alive as long as it is used.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use defer_core::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::engine::Engine;
use crate::error::Error;

/// Shared by the clones of a queue, its leases and its workers. The holder ends when the last of them is dropped, or when one
/// closes it.
pub(crate) struct Owner {
    engine: Arc<Engine>,
    /// Dropped with this owner.
    end: Mutex<Option<oneshot::Sender<()>>>,
    ended: watch::Receiver<bool>,
}

impl Owner {
    /// The holder ends when `end` is dropped, and reports that through `ended`.
    pub(super) fn new(engine: Arc<Engine>, end: oneshot::Sender<()>, ended: watch::Receiver<bool>) -> Self {
        Self { engine, end: Mutex::new(Some(end)), ended }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Ends the holder, even if it has other owners, and waits until it has ended.
    pub(crate) async fn close(&self) {
        drop(self.end.lock().unwrap_or_else(PoisonError::into_inner).take());
        // An error also means that it has ended.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Runs the queue's work where nothing can stop it.
    pub(crate) async fn run<T: Send + 'static>(&self, work: BoxFuture<'static, T>) -> Result<T, Error> {
        self.engine.runtime.spawn(work).await.map_err(|_| Error::Store("the queue was closed".into()))
    }

    /// Waits until all writes that are pending now are finished.
    pub(crate) async fn written(&self) {
        self.engine.ops.written().await;
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("store", &self.engine.store).finish_non_exhaustive()
    }
}

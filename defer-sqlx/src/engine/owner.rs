//! What keeps a holder alive.

use std::{fmt, sync::Arc};

use defer_core::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::engine::Engine;
use crate::error::Error;

/// What clones of a queue, its leases and its workers own together. When the last is gone, the holder ends.
pub(crate) struct Owner {
    engine: Arc<Engine>,
    /// Dropped with this.
    _end: oneshot::Sender<()>,
    ended: watch::Receiver<bool>,
}

impl Owner {
    /// `end` is dropped with the last owner, and `ended` tells that the holder has ended.
    pub(super) fn new(engine: Arc<Engine>, end: oneshot::Sender<()>, ended: watch::Receiver<bool>) -> Self {
        Self { engine, _end: end, ended }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Returns what tells that the holder has ended.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// Runs work of the queue where nothing stops it.
    pub(crate) async fn run<T: Send + 'static>(&self, work: BoxFuture<'static, T>) -> Result<T, Error> {
        self.engine.runtime.spawn(work).await.map_err(|_| Error::Store("the queue was closed".into()))
    }

    /// Waits until everything that was to be written by now is written.
    pub(crate) async fn written(&self) {
        self.engine.ops.written().await;
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("store", &self.engine.store).finish_non_exhaustive()
    }
}

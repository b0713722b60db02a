//! How a worker gets rid of what it has before it stops.
//!
//! An apalis worker that was told to stop takes no more acknowledgements until all its tasks have ended. Those that have ended wait
//! until their acknowledgement is taken, if more than four times the storage's batch size have: then the worker never ends
//! (apalis-core 1.0.0, seen on Redis). So its tasks have to end before it is told.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// By the third time that the worker asks the handler whether it is ready, its storage has taken each acknowledgement: it does so
/// once between two fetches, and the worker asks at the beginning and at the end of a fetch.
const ASKS: u64 = 3;
/// A storage that does not poll asks only when it has a task.
const ASKS_WITHIN: Duration = Duration::from_secs(1);

/// The tasks of a handler.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    running: watch::Sender<usize>,
    asks: watch::Sender<u64>,
    is_closing: watch::Sender<bool>,
}

/// A task that runs.
pub(crate) struct Running(Arc<Drain>);

impl Drain {
    /// Counts a task until the returned value is dropped. `None` if the worker is about to stop.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Running> {
        // Counted before the look, as `drained` closes before it counts: one of them sees the other.
        self.running.send_modify(|running| *running += 1);
        let running = Running(Arc::clone(self));
        (!self.is_closing()).then_some(running)
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.is_closing.borrow()
    }

    pub(crate) async fn closing(&self) {
        // The sender is its own.
        let _ = self.is_closing.subscribe().wait_for(|is_closing| *is_closing).await;
    }

    /// The worker asks whether the handler is ready.
    pub(crate) fn asked(&self) {
        self.asks.send_modify(|asks| *asks += 1);
    }

    /// Lets no more tasks begin, and waits until those that run have ended and are acknowledged.
    pub(crate) async fn drained(&self) {
        self.is_closing.send_replace(true);
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
        let mut asks = self.asks.subscribe();
        let enough = *asks.borrow_and_update() + ASKS;
        // Late, the worker stops with what is left.
        let _ = timeout(ASKS_WITHIN, asks.wait_for(|asks| *asks >= enough)).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

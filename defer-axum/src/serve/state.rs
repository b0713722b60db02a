//! Shared by a server and its connections: the phase of its shutdown, and the runners it drains.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use tokio::sync::Notify;

use crate::servers::Drained;

/// Shared by a server and its connections.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) drained: Arc<Drained>,
    phase: AtomicU8,
    /// The wakers of the tasks that poll the remaining connections' halves, by their keys.
    wakers: Mutex<HashMap<usize, Waker>>,
    /// The number of connections with anything left.
    connections: AtomicUsize,
    all_gone: Notify,
}

/// Connections are accepted and served.
const OPEN: u8 = 0;
/// Connections end by themselves, and leave their wakers here.
const CLOSING: u8 = 1;
/// The remaining connections fail.
const FAILED: u8 = 2;

impl Default for ServerState {
    fn default() -> Self {
        Self {
            drained: Drained::new(),
            phase: AtomicU8::new(OPEN),
            wakers: Mutex::default(),
            connections: AtomicUsize::new(0),
            all_gone: Notify::new(),
        }
    }
}

impl ServerState {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the shutdown. axum polls every connection once more, and from then on their tasks can be woken.
    pub(super) fn close(&self) {
        self.phase.store(CLOSING, Ordering::Release);
    }

    /// Makes the remaining connections fail.
    pub(super) fn fail(&self) {
        self.phase.store(FAILED, Ordering::Release);
        let wakers = std::mem::take(&mut *self.lock());
        wakers.into_values().for_each(Waker::wake);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.phase.load(Ordering::Acquire) == FAILED
    }

    pub(super) fn accepted(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn gone(&self) {
        if self.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_gone.notify_waiters();
        }
    }

    /// Waits until nothing is left of any connection: neither an HTTP/2 handler, which has its own task, nor an upgrade.
    pub(super) async fn all_gone(&self) {
        loop {
            let gone = self.all_gone.notified();
            // Every task that ends from here on notifies this.
            if self.connections.load(Ordering::Acquire) == 0 {
                return;
            }
            gone.await;
        }
    }

    /// Returns an error if the connection is polled after its time.
    ///
    /// At the end of a server, axum tells each connection to end, which polls it (axum 0.8.9). At each poll, hyper flushes, or
    /// waits for a read or a write (1.12). So each remaining connection has left its waker.
    #[inline]
    pub(super) fn poll(&self, half: usize, cx: &Context<'_>) -> io::Result<()> {
        if self.phase.load(Ordering::Acquire) == OPEN {
            return Ok(());
        }
        self.poll_late(half, cx)
    }

    #[cold]
    fn poll_late(&self, half: usize, cx: &Context<'_>) -> io::Result<()> {
        let mut wakers = self.lock();
        // Under the lock: `fail` takes the wakers after it has set the phase.
        if self.phase.load(Ordering::Acquire) == FAILED {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server has ended"));
        }
        let waker = wakers.entry(half).or_insert_with(|| cx.waker().clone());
        if !waker.will_wake(cx.waker()) {
            waker.clone_from(cx.waker());
        }
        Ok(())
    }

    /// Removes a connection that has ended.
    pub(super) fn forget(&self, halves: [usize; 2]) {
        if self.phase.load(Ordering::Acquire) == OPEN {
            return;
        }
        let wakers = {
            let mut wakers = self.lock();
            halves.map(|half| wakers.remove(&half))
        };
        drop(wakers);
    }
}

//! Waiting for a change, at no cost to who makes it while nobody waits.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Wakes who waits for a condition when it may have come true.
///
/// What the condition reads is to be written and read as `SeqCst`, as the count of listeners is: then either the one
/// who changes it sees the listener, or the listener the change.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    listeners: AtomicUsize,
    notify: Notify,
}

/// Somebody who waits, or is about to.
pub(crate) struct Listener<'a> {
    signal: &'a Signal,
}

impl Signal {
    pub(crate) fn listen(&self) -> Listener<'_> {
        self.listeners.fetch_add(1, Ordering::SeqCst);
        Listener { signal: self }
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.listeners.load(Ordering::SeqCst) > 0
    }

    /// The condition may have come true.
    pub(crate) fn send(&self) {
        if self.is_awaited() {
            self.notify.notify_waiters();
        }
    }
}

impl Listener<'_> {
    /// Waits until the condition is true. Cancel safe.
    pub(crate) async fn until<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        loop {
            // Wakes up at a signal that is sent from here on.
            let changed = self.signal.notify.notified();
            if let Some(met) = condition() {
                return met;
            }
            changed.await;
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.signal.listeners.fetch_sub(1, Ordering::SeqCst);
    }
}

//! The identity of this process in the database, and whether it is still valid.

use std::{
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::store::{Holder, HolderId};

/// A holder is judged dead after this long. A job starts here only if the last answered beat was sent less than this ago.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(9);

/// The holder that stands for this process until others judge it dead.
pub(super) struct Identity {
    current: Mutex<Current>,
    /// Notified when the database knows the holder.
    registered: Notify,
}

/// The name under which the database knows this process now.
struct Current {
    id: HolderId,
    /// The job names under which it is registered. `None` until the database has answered: others take over the jobs of an
    /// unknown holder.
    names: Option<Vec<String>>,
    /// When the last answered beat was sent.
    fresh: Option<Instant>,
}

static HOST: LazyLock<String> = LazyLock::new(|| {
    let host = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    host.unwrap_or_default().trim().to_owned()
});

/// Returns 128 random bits.
fn new_id() -> HolderId {
    format!("{:032x}", fastrand::u128(..))
}

impl Identity {
    pub(super) fn new() -> Self {
        let current = Current { id: new_id(), names: None, fresh: None };
        Self { current: Mutex::new(current), registered: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self) -> HolderId {
        self.lock().id.clone()
    }

    /// Returns the description of this process for the database.
    pub(super) fn described(&self, names: Vec<String>) -> Holder {
        Holder {
            id: self.id(),
            host: HOST.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            names,
        }
    }

    /// Notes that the database knows this holder.
    pub(super) fn set_registered(&self, holder: Holder) {
        let mut current = self.lock();
        if current.id == holder.id {
            current.names = Some(holder.names);
            self.registered.notify_waiters();
        }
    }

    /// Returns whether the database knows this holder, with these names.
    pub(super) fn is_registered_as(&self, holder: &Holder) -> bool {
        let current = self.lock();
        current.id == holder.id && current.names.as_ref() == Some(&holder.names)
    }

    /// Returns this holder, if the database knows it.
    pub(super) fn registered(&self) -> Option<HolderId> {
        let current = self.lock();
        current.names.is_some().then(|| current.id.clone())
    }

    /// Waits until the database knows this holder.
    pub(super) async fn wait_registered(&self) -> HolderId {
        loop {
            let notified = self.registered.notified();
            if let Some(holder) = self.registered() {
                return holder;
            }
            notified.await;
        }
    }

    /// Records that a beat sent at this moment was answered.
    pub(super) fn beaten(&self, sent: Instant) {
        let mut current = self.lock();
        current.fresh = current.fresh.max(Some(sent));
    }

    /// Returns when the last answered beat was sent. `None` if this process is no longer this holder.
    pub(super) fn fresh_as(&self, holder: &str) -> Option<Instant> {
        let current = self.lock();
        current.fresh.filter(|_| current.id == holder)
    }

    /// Takes a new name.
    pub(super) fn renew(&self) {
        *self.lock() = Current { id: new_id(), names: None, fresh: None };
    }

    /// Returns whether this process still is this holder. `None` if the last answered beat is too old to tell.
    pub(super) fn is_respected(&self, holder: &str, now: Instant) -> Option<bool> {
        let current = self.lock();
        if current.id != holder {
            return Some(false);
        }
        let is_fresh = current.fresh.is_some_and(|fresh| now.saturating_duration_since(fresh) < DEAD_AFTER);
        is_fresh.then_some(true)
    }
}

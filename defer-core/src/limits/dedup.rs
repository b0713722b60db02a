//! Which job of each unique key the others are left out for.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use crate::{model::id::JobId, primitives::sync::lock};

/// The last job of each key that was added.
#[derive(Default)]
pub(crate) struct Dedup {
    holders: Arc<Holders>,
}

type Holders = Mutex<HashMap<Arc<str>, Holder>>;

struct Holder {
    id: JobId,
    pin: PinJob,
}

/// Makes sure that a job runs, if it is pending and that can be. Called under a lock, so it must neither call user code nor
/// drop the last reference to the job's list: it returns what to drop.
pub(crate) type PinJob = Box<dyn Fn() -> Pinned + Send + Sync>;

/// Whether a job is pinned, and what to drop after unlocking.
pub(crate) type Pinned = (bool, Option<Arc<dyn Any + Send + Sync>>);

/// The right of a job that its duplicates are left out. Given up when it is dropped.
pub(crate) struct Claim {
    key: Arc<str>,
    id: JobId,
    holders: Weak<Holders>,
}

impl Dedup {
    /// Returns the job that this one is a duplicate of: one with this key, which is pending. That one is pinned: it can no
    /// longer be cancelled or put off.
    pub(crate) fn duplicate_of(&self, key: &str, id: JobId) -> Option<JobId> {
        let holders = lock(&self.holders);
        let (duplicate_of, pinned) = pin_other(&holders, key, id);
        drop(holders);
        drop(pinned);
        duplicate_of
    }

    /// Lets the others with this key be left out for a job.
    ///
    /// # Errors
    ///
    /// If the job is itself a duplicate, the job [that it is a duplicate of](Self::duplicate_of).
    pub(crate) fn claim(&self, key: Arc<str>, id: JobId, pin: PinJob) -> Result<Claim, JobId> {
        let mut holders = lock(&self.holders);
        let (duplicate_of, pinned) = pin_other(&holders, &key, id);
        if duplicate_of.is_none() {
            holders.insert(key.clone(), Holder { id, pin });
        }
        drop(holders);
        drop(pinned);
        match duplicate_of {
            Some(other) => Err(other),
            None => Ok(Claim { key, id, holders: Arc::downgrade(&self.holders) }),
        }
    }
}

fn pin_other(
    holders: &HashMap<Arc<str>, Holder>,
    key: &str,
    id: JobId,
) -> (Option<JobId>, Option<Arc<dyn Any + Send + Sync>>) {
    let Some(holder) = holders.get(key).filter(|holder| holder.id != id) else { return (None, None) };
    let (is_pinned, keep) = (holder.pin)();
    (is_pinned.then_some(holder.id), keep)
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(holders) = self.holders.upgrade() else { return };
        let mut holders = lock(&holders);
        if holders.get(&self.key).is_some_and(|holder| holder.id == self.id) {
            holders.remove(&self.key);
        }
    }
}

//! The job of each unique key that others are duplicates of, or replace.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use tokio::time::Instant;

use crate::{model::id::JobId, primitives::sync::lock};

/// The last job that was added for each key.
#[derive(Default)]
pub(crate) struct Dedup {
    holders: Arc<Holders>,
}

type Holders = Mutex<HashMap<Arc<str>, Holder>>;

struct Holder {
    id: JobId,
    job: Box<dyn KeyedJob>,
}

/// A job with a unique key. All methods are called under a lock, so they must neither call user code nor drop the last reference
/// to the job's list. They return the work that is left to do.
pub(crate) trait KeyedJob: Send + Sync {
    /// Ensures that the job runs, if it is pending and this is possible.
    fn pin(&self) -> Pinned;

    /// Ends the job as replaced by another, if it is pending and would have run.
    fn replace(&self, by: JobId) -> Replaced;

    /// Gives the job, which now has the key, a place: that of the job that it has replaced, or a new one.
    fn take_place(&self, of: Option<Place>) -> Left;
}

/// Whether a job is pinned, and what to do after unlocking.
pub(crate) type Pinned = (bool, Left);

/// The place of a replaced job, if it was replaced, and what to do after unlocking.
pub(crate) type Replaced = (Option<Place>, Left);

/// Work that is left to do after unlocking.
pub(crate) type Left = Option<Box<dyn FnOnce()>>;

/// A job's place among those that replace each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// When the first of these jobs was added.
    pub(crate) since: Instant,
    /// When the last of these jobs would have started. `None` if the clock cannot represent that time.
    pub(crate) due: Option<Instant>,
}

/// A job's claim to its key: duplicates are dropped while it exists.
pub(crate) struct Claim {
    key: Arc<str>,
    id: JobId,
    holders: Weak<Holders>,
}

impl Dedup {
    /// Returns the pending job with this key, of which this job is a duplicate. That job is pinned: it can no longer be cancelled
    /// or delayed.
    pub(crate) fn duplicate_of(&self, key: &str, id: JobId) -> Option<JobId> {
        let holders = lock(&self.holders);
        let (duplicate_of, left) = pin_other(&holders, key, id);
        drop(holders);
        finish([left]);
        duplicate_of
    }

    /// Claims a key for a job, so that others with this key are its duplicates.
    ///
    /// # Errors
    ///
    /// Returns the [other job](Self::duplicate_of) if the job is a duplicate itself.
    pub(crate) fn claim(&self, key: Arc<str>, id: JobId, job: Box<dyn KeyedJob>) -> Result<Claim, JobId> {
        let mut holders = lock(&self.holders);
        let (duplicate_of, of_other) = pin_other(&holders, &key, id);
        let mut of_this = None;
        if duplicate_of.is_none() {
            of_this = job.take_place(None);
            holders.insert(key.clone(), Holder { id, job });
        }
        drop(holders);
        finish([of_other, of_this]);
        match duplicate_of {
            Some(other) => Err(other),
            None => Ok(self.claim_of(key, id)),
        }
    }

    /// Lets a job replace the pending one with its key, and claim the key. `None` if the job cannot, because it is no longer
    /// pending.
    pub(crate) fn replace(&self, key: Arc<str>, id: JobId, job: Box<dyn KeyedJob>) -> Option<Claim> {
        let mut holders = lock(&self.holders);
        // First ensure that this job runs. This is one step with the rest, because a job that replaces this one in turn has to
        // find its place.
        let (is_pinned, of_pin) = job.pin();
        let (mut of_other, mut of_this) = (None, None);
        if is_pinned {
            let other = holders.get(&key).filter(|other| other.id != id);
            let (place, left) = other.map(|other| other.job.replace(id)).unwrap_or_default();
            of_other = left;
            of_this = job.take_place(place);
            holders.insert(key.clone(), Holder { id, job });
        }
        drop(holders);
        finish([of_pin, of_other, of_this]);
        is_pinned.then(|| self.claim_of(key, id))
    }

    fn claim_of(&self, key: Arc<str>, id: JobId) -> Claim {
        Claim { key, id, holders: Arc::downgrade(&self.holders) }
    }
}

/// Does the work that is left. Call it after releasing the lock.
fn finish<const N: usize>(left: [Left; N]) {
    left.into_iter().flatten().for_each(|left| left());
}

fn pin_other(holders: &HashMap<Arc<str>, Holder>, key: &str, id: JobId) -> (Option<JobId>, Left) {
    let Some(holder) = holders.get(key).filter(|holder| holder.id != id) else { return (None, None) };
    let (is_pinned, left) = holder.job.pin();
    (is_pinned.then_some(holder.id), left)
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

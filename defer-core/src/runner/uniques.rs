//! Which job of each unique key the others are left out for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use super::jobs::Jobs;
use crate::{id::JobId, sync::lock};

/// The last job of each key that was added.
#[derive(Default)]
pub(crate) struct Uniques {
    jobs: Arc<Mutex<HashMap<Arc<str>, Holder>>>,
}

struct Holder {
    id: JobId,
    list: Weak<dyn Jobs>,
    index: usize,
}

/// Forgets the job when it is dropped.
pub(crate) struct Claim {
    key: Arc<str>,
    id: JobId,
    jobs: Weak<Mutex<HashMap<Arc<str>, Holder>>>,
}

impl Uniques {
    /// Returns whether another job with this key waits, and will run for certain. From here on that one cannot be taken back.
    pub(crate) fn is_superfluous(&self, key: &str, id: JobId) -> bool {
        let jobs = lock(&self.jobs);
        let other = other(&jobs, key, id);
        let is_superfluous = relies_on(&other);
        drop(jobs);
        // Not under the lock: if its list ends here, it may have claims to drop.
        drop(other);
        is_superfluous
    }

    /// Makes a job the one that others are left out for. `None` if it is itself [superfluous](Self::is_superfluous).
    pub(crate) fn claim(
        &self,
        key: Arc<str>,
        id: JobId,
        list: Weak<dyn Jobs>,
        index: usize,
    ) -> Option<Claim> {
        let mut jobs = lock(&self.jobs);
        let other = other(&jobs, &key, id);
        let is_superfluous = relies_on(&other);
        if !is_superfluous {
            jobs.insert(key.clone(), Holder { id, list, index });
        }
        drop(jobs);
        drop(other);
        (!is_superfluous).then(|| Claim { key, id, jobs: Arc::downgrade(&self.jobs) })
    }
}

type Other = Option<(Arc<dyn Jobs>, usize)>;

/// Returns the job with this key, unless it is this one.
fn other(jobs: &HashMap<Arc<str>, Holder>, key: &str, id: JobId) -> Other {
    let holder = jobs.get(key).filter(|holder| holder.id != id)?;
    Some((holder.list.upgrade()?, holder.index))
}

fn relies_on(other: &Other) -> bool {
    other.as_ref().is_some_and(|(list, index)| list.rely_on(*index))
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(jobs) = self.jobs.upgrade() else { return };
        let mut jobs = lock(&jobs);
        if jobs.get(&self.key).is_some_and(|holder| holder.id == self.id) {
            jobs.remove(&self.key);
        }
    }
}

//! Changes that handles make to jobs in line.

use std::{
    any::Any,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    entry::Entry,
    extras::{DuplicateOf, Unique},
    list::JobList,
};
use crate::{
    limits::dedup::{Claim, PinJob},
    model::id::JobId,
    observe::event::JobEventKind,
};

impl JobList {
    /// Changes a job that is in line and has not started. Otherwise returns the value, which must not be dropped under the lock.
    pub(crate) fn change<V, T>(
        &self,
        index: usize,
        value: V,
        change: fn(&mut Entry, V) -> T,
    ) -> Result<T, V> {
        let mut value = Some(value);
        let mut locked = self.lock();
        let changed = locked.state.change(index, |entry| value.take().map(|value| change(entry, value)));
        drop(locked);
        match (changed.flatten(), value) {
            (None, Some(value)) => Err(value),
            (changed, _) => Ok(changed.expect("a value that was taken was used")),
        }
    }

    /// Returns how many jobs are in line and have not started.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().state.waiting()
    }

    /// Cancels a job that has not started. Returns whether this call did.
    pub(crate) fn cancel(&self, index: usize) -> bool {
        self.end_with(&JobEventKind::Cancelled, |locked, effects| locked.state.cancel(index, effects)) > 0
    }

    /// Cancels the jobs with this key that are in line and have not started, except one. Returns whether there were any.
    pub(crate) fn cancel_key(&self, key: &str, except: Option<usize>) -> bool {
        let cancelled = self.end_with(&JobEventKind::Cancelled, |locked, effects| {
            locked.state.cancel_key(key, except, effects);
        });
        cancelled > 0
    }

    /// Sets the delay of a job that has not started: it starts no sooner than this long after its response.
    pub(crate) fn set_delay(&self, index: usize, delay: Duration) {
        self.lock().state.change(index, |entry| entry.set_delay(delay));
    }

    /// Sets the serial key of a job that has not started. The job queues for its turn when its response is over; if that has
    /// happened or the job is delayed, when it is due and its turn in its line has come.
    pub(crate) fn set_serial(&self, index: usize, key: &str) {
        let key: Arc<str> = key.into();
        let mut locked = self.lock();
        let is_released = locked.state.is_released();
        locked.state.change(index, |entry| entry.set_serial(key, is_released));
    }

    /// Sets the unique key of a job that has not started. Leaves the job out if another with this key is pending; otherwise that
    /// one is looked for again when the response is over. Returns where it is noted whether the job is a duplicate.
    pub(crate) fn set_unique(self: &Arc<Self>, index: usize, key: &str) -> Option<DuplicateOf> {
        let (unique, id, is_durable, is_released) = {
            let mut locked = self.lock();
            let set =
                |entry: &mut Entry| (entry.set_unique(key.into()), entry.id, entry.policy().is_queued());
            let (unique, id, is_durable) = locked.state.change(index, set)?;
            (unique, id, is_durable, locked.state.is_released())
        };
        let duplicate_of = unique.duplicate_of.clone();
        // A recorder keeps the responses of all jobs from being over. Of durable jobs the queue tells later.
        if is_released || (self.engine.config.is_recording && !is_durable) {
            self.claim(index);
        } else if let Some(other) = self.engine.dedup.duplicate_of(&unique.key, id) {
            self.leave_out(index, &unique, other);
        }
        Some(duplicate_of)
    }

    /// Lets others with its unique key be left out for a job, or leaves it out if it is itself a duplicate.
    pub(crate) fn claim(self: &Arc<Self>, index: usize) {
        let claimed = {
            let mut locked = self.lock();
            let entry = locked.state.open_entry(index);
            let entry = entry.filter(|entry| entry.may_start() && !entry.has_claim());
            entry.and_then(|entry| Some((entry.unique()?.clone(), entry.id)))
        };
        let Some((unique, id)) = claimed else { return };
        match self.engine.dedup.claim(unique.key.clone(), id, self.pin(index)) {
            Err(other) => self.leave_out(index, &unique, other),
            Ok(claim) => {
                let unused = self.keep_claim(index, claim);
                drop(unused);
            }
        }
    }

    fn leave_out(&self, index: usize, unique: &Unique, other: JobId) {
        self.end_with(&JobEventKind::Duplicate { of: other }, |locked, effects| {
            locked.state.cancel(index, effects);
            if !effects.ended.is_empty() {
                let _ = unique.duplicate_of.set(other);
            }
        });
    }

    fn keep_claim(&self, index: usize, claim: Claim) -> Option<Claim> {
        match self.lock().state.open_entry(index).filter(|entry| entry.may_start()) {
            Some(entry) => entry.keep_claim(claim),
            None => Some(claim),
        }
    }

    /// Returns what pins a job, for as long as its list exists.
    fn pin(self: &Arc<Self>, index: usize) -> PinJob {
        let list: Weak<Self> = Arc::downgrade(self);
        Box::new(move || {
            let Some(list) = list.upgrade() else { return (false, None) };
            let is_pinned = list.lock().state.open_entry(index).is_some_and(Entry::pin);
            (is_pinned, Some(list as Arc<dyn Any + Send + Sync>))
        })
    }
}

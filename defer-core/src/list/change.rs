//! Changes that handles make to jobs in line.

use std::{sync::Arc, time::Duration};

use super::{entry::Entry, extras::DuplicateOf, list::JobList};
use crate::{limits::throttle::AtMost, observe::event::JobEventKind};

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

    /// Lets a job that has not started be left out if another with this key starts too short a time before.
    /// Returns where it is noted whether that has happened.
    pub(crate) fn set_at_most(&self, index: usize, key: &str, every: Duration) -> Option<DuplicateOf> {
        let at_most = AtMost { key: key.into(), every, throttle: self.engine.throttle.clone() };
        self.lock().state.change(index, |entry| entry.set_at_most(at_most))
    }
}

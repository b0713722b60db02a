//! What a request does with its list: it adds jobs, changes them and cancels them.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    entry::Entry,
    list::{JobList, RunSegment},
    segment::Segment,
};
use crate::{
    attempt::{Work, is_in_job},
    error::caught,
    event::JobEventKind,
    panic::drop_quietly,
};

impl JobList {
    /// Adds a job. Returns its index, or `None` if it was shed. After the release it starts at once.
    pub(crate) fn add<W: Work>(self: &Arc<Self>, mut entry: Entry, work: W) -> Option<usize>
    where
        Segment<W>: RunSegment,
    {
        let job = entry.job();
        self.runner().counters().deferred();
        job.tell(self.runner().hooks(), &JobEventKind::Deferred, || None, &**self);
        if entry.policy().is_queued() && !entry.is_from_queue() && self.runner().queue().is_some() {
            self.encode(&mut entry, &work);
        }
        let mut state = self.lock();
        if !state.makes_room(self.bounds()) {
            drop(state);
            drop_quietly((entry, work));
            self.count(job, &JobEventKind::Shed);
            return None;
        }
        let is_released = state.is_released();
        // One for the queue goes there from its place in the line.
        if is_released && entry.leaves_line() && !entry.is_for_queue() {
            let (index, room) = state.add_beside(entry);
            if let Some(now) = self.now() {
                state.set_ready(index, now);
            }
            drop(state);
            Box::new(Segment::of(index, work)).run_beside(self, index, room > 0);
            return Some(index);
        }
        let (index, starts) = state.add(entry, work, |segment| Box::new(segment));
        if is_released {
            if let Some(now) = self.now() {
                state.set_ready(index, now);
            }
        }
        drop(state);
        if starts {
            self.request_permit();
        }
        if is_released && !is_in_job() {
            self.push_due();
        }
        Some(index)
    }

    /// Sets the delay of a job that has not started: it starts no sooner than this long after its response.
    pub(crate) fn set_delay(&self, index: usize, delay: Duration) {
        self.lock().set_delay(index, delay);
    }

    /// Lets the jobs take over a value from their request.
    pub(crate) fn carry<T: Serialize + Send + Sync + 'static>(&self, value: T) {
        let _replaced = self.lock().carry(value);
    }

    /// Encodes a job for the queue. This happens in `defer` because a running job cannot be borrowed, yet the queue may
    /// have to take it at the end of a shutdown.
    fn encode<W: Work>(&self, entry: &mut Entry, work: &W) {
        let error = match caught(|| work.encode()) {
            Ok(None) => return,
            Ok(Some(Ok(payload))) => return entry.set_payload(payload),
            Ok(Some(Err(error))) => error.into(),
            Err(panic) => panic,
        };
        self.report(entry.job(), &JobEventKind::QueueFailed { error });
    }

    /// Changes a job that has not started. Otherwise returns the value, which must not be dropped under the lock.
    pub(crate) fn change<V, T>(
        &self,
        index: usize,
        value: V,
        change: fn(&mut Entry, V) -> T,
    ) -> Result<T, V> {
        match self.lock().waiting_entry(index) {
            Some(entry) => Ok(change(entry, value)),
            None => Err(value),
        }
    }

    /// Cancels a job that has not started. Returns whether this call did.
    pub(crate) fn cancel(&self, index: usize) -> bool {
        let ended = self.lock().cancel(index);
        ended.map(|ended| self.ended(ended, &JobEventKind::Cancelled)).is_some()
    }

    /// Cancels the jobs with this key that have not started, except one. Returns whether there were any.
    pub(crate) fn cancel_key(&self, key: &str, except: Option<usize>) -> bool {
        let cancelled = self.lock().cancel_key(key, except);
        let any = !cancelled.is_empty();
        for ended in cancelled {
            self.ended(ended, &JobEventKind::Cancelled);
        }
        any
    }

    /// Returns how many jobs have not started.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting()
    }
}

//! Jobs with a unique key: which are left out, and which take the place of another.
//!
//! A job that is found to be a duplicate when its key is set is only marked so: it may yet be told to replace the other. It is left
//! out when its handler has answered, when it is on its way to the queue, and when it is about to start, whichever is first.

use std::sync::{Arc, Weak};

use super::{
    entry::{Entry, JobState},
    extras::DuplicateOf,
    list::{JobList, Locked, Segment},
    state::Effects,
};
use crate::{
    limits::dedup::{Claim, KeyedJob, Left, Pinned, Place, Replaced},
    model::{
        id::JobId,
        policy::{Condition, Flags},
        response::ResponseInfo,
    },
    observe::event::JobEventKind,
    store::Replace,
};

impl JobList {
    /// Sets the unique key of a job that has not started. Marks the job if another with this key is pending; otherwise that one is
    /// looked for again when the response is over. Returns where it is noted whether the job is a duplicate.
    pub(crate) fn set_unique(self: &Arc<Self>, index: usize, key: &str) -> Option<DuplicateOf> {
        let (key, id, duplicate_of) = {
            let set = |entry: &mut Entry| (entry.set_unique(key.into()), entry.id, entry.duplicate_of());
            self.lock().state.change(index, set)?
        };
        let twin = if self.claims_now(index) {
            self.find_twin(index)
        } else {
            self.engine.dedup.duplicate_of(&key, id)
        };
        if let Some(twin) = twin {
            self.lock().state.change(index, |entry| entry.mark(twin));
        }
        Some(duplicate_of)
    }

    /// Lets a job that has not started take the place of the pending one with its unique key.
    pub(crate) fn set_replace(self: &Arc<Self>, index: usize, replace: Replace) {
        self.lock().state.change(index, |entry| entry.set_replace(replace));
        if self.claims_now(index) {
            self.claim(index);
        }
    }

    /// Returns whether a job claims its key as soon as that is set: its response is over. A recorder keeps the responses of all jobs
    /// from being over. Of durable jobs the queue tells later.
    fn claims_now(&self, index: usize) -> bool {
        let mut locked = self.lock();
        let is_durable = |entry: &mut Entry| entry.policy().is_queued();
        locked.state.is_released()
            || self.engine.config.is_recording && !locked.state.open_entry(index).is_some_and(is_durable)
    }

    /// Leaves out the jobs that are marked as duplicates.
    #[cfg(feature = "testing")]
    pub(crate) fn leave_out_marked(&self) {
        let left_out = self.leave_out_locked(&mut self.lock());
        self.follow_left_out(left_out);
    }

    /// Ends the jobs that are marked as duplicates. [Follow](Self::follow_left_out) after unlocking.
    #[cold]
    pub(crate) fn leave_out_locked(&self, locked: &mut Locked) -> LeftOut {
        let unique = if locked.state.flags().has(Flags::UNIQUE) { locked.state.unique() } else { Vec::new() };
        let mut left_out = LeftOut::default();
        for index in unique {
            let Some(other) = locked.state.open_entry(index).and_then(|entry| entry.twin()) else { continue };
            let mut effects = Effects::default();
            locked.state.cancel(index, &mut effects);
            note_duplicate(&effects, other);
            let jobs = locked.take_ended(&effects);
            left_out.0.push((effects, jobs, other));
        }
        left_out
    }

    pub(crate) fn follow_left_out(&self, left_out: LeftOut) {
        for (effects, jobs, other) in left_out.0 {
            self.follow_up(effects, jobs, &JobEventKind::Duplicate { of: other });
        }
    }

    /// Lets others with its unique key be left out for a job, or leaves it out if it is itself a duplicate. One that replaces takes
    /// the place of the other.
    pub(crate) fn claim(self: &Arc<Self>, index: usize) {
        if let Some(other) = self.find_twin(index) {
            self.leave_out(index, other);
        }
    }

    /// Claims the unique key of a job, or returns the job that it is a duplicate of.
    fn find_twin(self: &Arc<Self>, index: usize) -> Option<JobId> {
        let (key, id, replaces) = {
            let mut locked = self.lock();
            let is_over = locked.state.is_released();
            let entry = locked.state.open_entry(index);
            let entry = entry.filter(|entry| entry.may_start() && !entry.has_claim())?;
            let replaces = entry.replace().is_some();
            if replaces && entry.has(Flags::PUSH.with(Flags::LEASED)) {
                // It replaces in its queue.
                return None;
            }
            if replaces && !self.is_certain(entry, is_over) {
                // It may still be skipped: until that is decided it neither replaces another job nor is left out for one.
                return None;
            }
            (entry.unique_key()?.clone(), entry.id, replaces)
        };
        let job = Box::new(InList { list: Arc::downgrade(self), index });
        let dedup = &self.engine.dedup;
        let claimed = if replaces {
            dedup.replace(key, id, job).ok_or(None)
        } else {
            dedup.claim(key, id, job).map_err(Some)
        };
        match claimed {
            Err(other) => other,
            Ok(claim) => {
                let unused = self.keep_claim(index, claim);
                drop(unused);
                None
            }
        }
    }

    /// Returns whether a job is certain to run, as far as its condition goes, which is asked if that can be.
    fn is_certain(&self, entry: &mut Entry, is_over: bool) -> bool {
        let is_success = self.response().is_none_or(ResponseInfo::is_success);
        if entry.condition() == Condition::Success && is_over && is_success {
            entry.pass();
        }
        entry.condition() == Condition::Always
    }

    /// Leaves out a duplicate that has not started.
    fn leave_out(&self, index: usize, other: JobId) {
        self.end_duplicate_with(other, |locked, effects| locked.state.cancel(index, effects));
    }

    /// Ends a job that is about to start, because another runs in its place, even if other jobs rely on it.
    pub(crate) fn end_duplicate(&self, index: usize, other: JobId) {
        self.end_duplicate_with(other, |locked, effects| {
            locked.state.end(index, |state| matches!(state, JobState::Waiting | JobState::Detached), effects);
        });
    }

    fn end_duplicate_with(&self, other: JobId, end: impl FnOnce(&mut Locked, &mut Effects)) {
        self.end_with(&JobEventKind::Duplicate { of: other }, |locked, effects| {
            end(locked, effects);
            note_duplicate(effects, other);
        });
    }

    fn keep_claim(&self, index: usize, claim: Claim) -> Option<Claim> {
        match self.lock().state.open_entry(index).filter(|entry| entry.may_start()) {
            Some(entry) => entry.keep_claim(claim),
            None => Some(claim),
        }
    }
}

/// Duplicates that have ended.
#[derive(Default)]
pub(crate) struct LeftOut(Vec<Duplicate>);

/// A job that has ended as a duplicate of another, and what is left to do for that.
type Duplicate = (Effects, Vec<Box<dyn Segment>>, JobId);

/// Lets the handles of a job that has ended know of which job it is a duplicate.
fn note_duplicate(effects: &Effects, other: JobId) {
    let ended = effects.ended.first().and_then(|ended| ended.extras.as_ref());
    if let Some(duplicate_of) = ended.and_then(|extras| extras.duplicate_of()) {
        duplicate_of.set(Some(other));
    }
}

/// Lets the start of a job that has snoozed count as that of the one that takes its place, which would be left out for it.
fn hand_over_start(effects: &Effects, by: JobId) {
    let Some(ended) = effects.ended.first() else { return };
    let Some(extras) = &ended.extras else { return };
    if let Some(at_most) = extras.progress.counted.as_ref().or(extras.options.at_most.as_ref()) {
        at_most.hand_over(ended.job.id, by);
    }
}

/// A job with a unique key, for as long as its list exists.
struct InList {
    list: Weak<JobList>,
    index: usize,
}

impl KeyedJob for InList {
    fn pin(&self) -> Pinned {
        let Some(list) = self.list.upgrade() else { return (false, None) };
        let is_pinned = list.lock().state.open_entry(self.index).is_some_and(Entry::pin);
        (is_pinned, Some(Box::new(|| drop(list))))
    }

    fn replace(&self, by: JobId) -> Replaced {
        let Some(list) = self.list.upgrade() else { return (None, None) };
        let mut effects = Effects::default();
        let (place, jobs) = {
            let mut locked = list.lock();
            let place = locked.state.replace(self.index, &mut effects);
            note_duplicate(&effects, by);
            hand_over_start(&effects, by);
            (place, locked.take_ended(&effects))
        };
        let left = move || {
            list.follow_up(effects, jobs, &JobEventKind::Duplicate { of: by });
        };
        (place, Some(Box::new(left)))
    }

    fn take_place(&self, of: Option<Place>) -> Left {
        let list = self.list.upgrade()?;
        let slot = {
            let mut locked = list.lock();
            let is_over = locked.state.is_released();
            locked.state.open_entry(self.index).and_then(|entry| entry.take_place(of, is_over))
        };
        Some(Box::new(|| drop((slot, list))))
    }
}

//! A job's keys: which jobs it waits for, is left out for or takes the place of.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    limits::{
        dedup::{Claim, Place},
        keyed_semaphore::{Key, Slot},
        throttle::AtMost,
    },
    list::{
        entry::Entry,
        extras::{Delay, DuplicateOf, Unique},
    },
    model::{id::JobId, policy::Flags},
    store::Replace,
};

impl Entry {
    /// Returns the key within its request.
    pub(crate) fn key(&self) -> Option<&str> {
        self.extras.as_ref()?.options.key.as_deref()
    }

    pub(crate) fn set_key(&mut self, key: &str) {
        self.extras().options.key = Some(key.into());
    }

    pub(crate) fn serial_key(&self) -> Option<&Arc<str>> {
        self.extras.as_ref()?.options.serial.as_ref()
    }

    /// Sets the serial key, unless the job has queued for its turn already. Once the response is over the first key stays.
    pub(crate) fn set_serial(&mut self, key: Arc<str>, is_released: bool) {
        if is_released && (self.has(Flags::IN_TURN) || self.serial_key().is_some()) {
            return;
        }
        self.extras().options.serial = Some(key);
        self.set(Flags::SERIAL);
    }

    /// Keeps the job's turn among those with its serial key, until the task that runs the job takes it.
    pub(crate) fn keep_slot(&mut self, slot: Slot) {
        self.set(Flags::IN_TURN);
        self.extras().progress.slot = Some(slot);
    }

    pub(in crate::list) fn take_slot(&mut self) -> Option<Slot> {
        self.extras.as_mut()?.progress.slot.take()
    }

    /// Returns the key of its type's limit, and how many of these jobs may run at once.
    pub(in crate::list) fn limit(&self) -> Option<(Key, usize)> {
        let at_once = self.policy().max_running()?.get();
        Some((Key::Type(self.kind.name()), usize::try_from(at_once).unwrap_or(usize::MAX)))
    }

    fn unique(&self) -> Option<&Unique> {
        self.extras.as_ref()?.options.unique.as_ref()
    }

    pub(crate) fn unique_key(&self) -> Option<&Arc<str>> {
        Some(&self.unique()?.key)
    }

    /// Sets the unique key, unless the job has one. Returns the one that it has.
    pub(in crate::list) fn set_unique(&mut self, key: Arc<str>) -> Arc<str> {
        self.set(Flags::UNIQUE);
        let unique = &mut self.extras().options.unique;
        unique.get_or_insert_with(|| Unique { key, twin: None, since: None, due: None }).key.clone()
    }

    pub(crate) fn replace(&self) -> Option<Replace> {
        self.extras.as_ref()?.options.replace
    }

    /// Lets the job replace another. It is not left out then.
    pub(in crate::list) fn set_replace(&mut self, replace: Replace) {
        let options = &mut self.extras().options;
        options.replace = Some(replace);
        if options.unique.as_mut().is_some_and(|unique| unique.twin.take().is_some()) {
            self.duplicate_of().set(None);
        }
        self.keep_within();
    }

    /// Marks the job as a duplicate, unless it replaces.
    pub(in crate::list) fn mark(&mut self, twin: JobId) {
        if self.replace().is_none() {
            if let Some(unique) = &mut self.extras().options.unique {
                unique.twin = Some(twin);
            }
            self.duplicate_of().set(Some(twin));
        }
    }

    /// Returns the job that this one is to be left out for.
    pub(in crate::list) fn twin(&self) -> Option<JobId> {
        self.unique()?.twin
    }

    /// Returns where it is noted whether the job is a duplicate.
    pub(in crate::list) fn duplicate_of(&mut self) -> DuplicateOf {
        self.extras().options.duplicate_of.get_or_insert_default().clone()
    }

    pub(crate) fn at_most(&self) -> Option<&AtMost> {
        self.extras.as_ref()?.options.at_most.as_ref()
    }

    /// Lets the job be left out if another with its key starts too short a time before. Returns where that is noted.
    pub(in crate::list) fn set_at_most(&mut self, at_most: AtMost) -> DuplicateOf {
        self.set(Flags::UNIQUE);
        self.extras().options.at_most = Some(at_most);
        self.duplicate_of()
    }

    /// The first attempt of the job is about to start. Returns the job that started too short a time ago for that.
    pub(in crate::list) fn starts_too_soon(&mut self) -> Option<JobId> {
        let id = self.id;
        let extras = self.extras.as_mut()?;
        let at_most = extras.options.at_most.take()?;
        let other = at_most.start(id);
        if other.is_none() {
            extras.progress.counted = Some(at_most);
        }
        other
    }

    pub(in crate::list) fn has_claim(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.progress.claim.is_some())
    }

    /// Gives the job the place of another that it has replaced, or one of its own. Returns a turn that it must not have before it is due.
    pub(in crate::list) fn take_place(&mut self, of: Option<Place>, is_over: bool) -> Option<Slot> {
        // Others rely on it from here on, if any did on the other.
        self.unset(Flags::PINNED);
        if !is_over {
            return None;
        }
        if of.is_some() {
            self.set(Flags::PINNED);
        }
        let now = Instant::now();
        let replace = self.replace();
        let options = &mut self.extras().options;
        options.unique.as_mut()?.since = Some(of.map_or(now, |place| place.since));
        if let (Some(place), Some(Replace::AtItsTime)) = (of, replace) {
            options.delay = Some(place.due.map_or(Delay::After(Duration::MAX), Delay::Until));
            self.set(Flags::DELAY);
        }
        self.keep_within();
        if self.is_due() {
            return None;
        }
        self.unset(Flags::IN_TURN);
        self.take_slot()
    }

    /// Shortens the delay of a job that has a place, if it would be longer than the place lasts.
    pub(super) fn keep_within(&mut self) {
        let Some(Replace::Within(longest)) = self.replace() else { return };
        let Some(end) = self.unique().and_then(|unique| unique.since?.checked_add(longest)) else { return };
        let options = &mut self.extras().options;
        if let Some(delay) = &mut options.delay {
            if delay.due(Instant::now()).is_none_or(|due| due > end) {
                *delay = Delay::Until(end);
            }
        }
    }

    /// Returns the place that another may take.
    pub(in crate::list) fn place(&self) -> Place {
        let now = Instant::now();
        let options = self.extras.as_ref().map(|extras| &extras.options);
        let unique = self.unique();
        let due = match options.and_then(|options| options.delay.as_ref()) {
            Some(delay) => delay.due(now),
            None => Some(unique.and_then(|unique| unique.due).unwrap_or(now)),
        };
        Place { since: unique.and_then(|unique| unique.since).unwrap_or(now), due }
    }

    /// Notes when the job will be due, for one that takes its place.
    pub(in crate::list) fn set_due(&mut self, wait: Duration) {
        if let Some(unique) = self.extras.as_mut().and_then(|extras| extras.options.unique.as_mut()) {
            unique.due = Instant::now().checked_add(wait);
        }
    }

    /// Keeps the claim. Returns the one that this replaces.
    pub(in crate::list) fn keep_claim(&mut self, claim: Claim) -> Option<Claim> {
        self.extras().progress.claim.replace(claim)
    }
}

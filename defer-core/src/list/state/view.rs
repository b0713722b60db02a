//! Views of a list's state, and changes to its jobs that have not started.

use std::{collections::BTreeMap, ptr, sync::Arc, time::Duration};

use crate::{
    list::{
        entry::{Entry, JobState},
        open_state::{OpenState, Standing},
        state::{Phase, State},
    },
    model::{
        id::JobId,
        job_type::{JobRef, JobType},
        policy::Flags,
    },
    primitives::timestamp::Timestamp,
    store::Lease,
};

impl State {
    /// Returns how many jobs have not ended.
    pub(crate) fn open(&self) -> usize {
        self.counts.open
    }

    /// Returns how many jobs have not started.
    pub(crate) fn waiting(&self) -> usize {
        self.counts.waiting
    }

    /// Returns how many jobs run.
    pub(crate) fn running(&self) -> usize {
        self.counts.running
    }

    /// Returns whether the response is over.
    pub(crate) fn is_released(&self) -> bool {
        self.phase != Phase::Collecting
    }

    /// Returns what any job has, or has had.
    pub(crate) fn flags(&self) -> Flags {
        self.flags
    }

    /// Changes a job that is in line and has not started. Returns what `change` returns; `None` if there is none.
    pub(crate) fn change<T>(&mut self, index: usize, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Waiting)?;
        let changed = change(entry);
        self.flags = self.flags.with(entry.flags);
        Some(changed)
    }

    /// Iterates over the jobs that have not started, with their indices.
    pub(crate) fn waiting_entries(&mut self) -> impl Iterator<Item = (usize, &mut Entry)> {
        self.entries.open().filter(|(_, entry)| entry.state == JobState::Waiting)
    }

    /// Returns whether a job has a task of its own, and may start.
    pub(crate) fn is_detached(&mut self, index: usize) -> bool {
        self.entries.get_mut(index).is_some_and(|entry| entry.state == JobState::Detached)
    }

    /// Returns the entry of a job that has not ended.
    pub(crate) fn open_entry(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index).filter(|entry| entry.state != JobState::Ended)
    }

    /// Returns the entry of the job with this id, if that has not ended.
    pub(crate) fn entry_of(&mut self, id: JobId) -> Option<&mut Entry> {
        self.entries.open().map(|(_, entry)| entry).find(|entry| entry.id == id)
    }

    /// Returns whether a job runs that a queue has stored.
    pub(crate) fn is_leased_attempt(&mut self, index: usize) -> bool {
        let running = self.entries.get_mut(index).filter(|entry| entry.state == JobState::Running);
        running.is_some_and(|entry| entry.has(Flags::LEASED))
    }

    /// Returns the lease of an attempt that runs of a job that a queue has stored.
    pub(crate) fn lease_of_attempt(&mut self, job: JobRef) -> Option<Arc<dyn Lease>> {
        let is_it = |entry: &&mut Entry| entry.id == job.id && entry.attempts == job.attempt;
        let (_, entry) = self.entries.open().find(|(_, entry)| is_it(entry))?;
        let is_running = entry.state == JobState::Running;
        entry.leased().filter(|_| is_running).cloned()
    }

    /// Sets when a job could start.
    pub(crate) fn set_ready(&mut self, index: usize, ready: Timestamp) {
        if let Some(entry) = self.open_entry(index) {
            entry.set_ready(ready);
        }
    }

    /// Sets when an attempt of a job started.
    pub(crate) fn set_started(&mut self, index: usize, now: Timestamp) {
        match self.entries.get_mut(index) {
            Some(entry) if entry.has(Flags::DETACHED) => entry.set_started(now),
            _ => self.started = Some(now),
        }
    }

    /// Returns how long a job had waited when its attempt started.
    pub(crate) fn waited(&mut self, index: usize) -> Option<Duration> {
        let entry = self.entries.get_mut(index)?;
        let started = if entry.has(Flags::DETACHED) { entry.started() } else { self.started };
        let ready = entry.ready().or(self.released);
        Some(started?.since(ready?))
    }

    /// Returns the jobs that run, and since when.
    pub(crate) fn in_attempt(&mut self) -> impl Iterator<Item = (JobRef, Option<Timestamp>)> {
        let of_worker = self.started;
        let running = self.entries.open().filter(|(_, entry)| entry.state == JobState::Running);
        running.map(move |(_, entry)| {
            (entry.job(), if entry.has(Flags::DETACHED) { entry.started() } else { of_worker })
        })
    }

    /// Returns how the jobs stand that have not ended.
    pub(crate) fn standing(&mut self, now: Timestamp) -> impl Iterator<Item = Standing> {
        let (is_released, released, of_worker) = (self.is_released(), self.released, self.started);
        self.entries.open().map(move |(_, entry)| {
            let state = match entry.state {
                JobState::Running => {
                    let started = if entry.has(Flags::DETACHED) { entry.started() } else { of_worker };
                    OpenState::Running { elapsed: started.map(|started| now.since(started)) }
                }
                JobState::Pushing | JobState::HandedOver => OpenState::Pushing,
                _ if !is_released => OpenState::Response,
                _ => entry.waits(released, now),
            };
            Standing { job: entry.job(), tries: entry.policy().tries(), state }
        })
    }

    /// Counts the jobs that have not ended, by their names.
    pub(crate) fn count_by_name(&mut self, counts: &mut BTreeMap<&'static str, u64>) {
        let mut of_type = |kind: Option<&'static JobType>, jobs| {
            if let Some(kind) = kind {
                *counts.entry(kind.name()).or_default() += jobs;
            }
        };
        // Neighbours mostly are of the same type.
        let (mut last, mut jobs): (Option<&'static JobType>, u64) = (None, 0);
        for (_, entry) in self.entries.open() {
            if last.is_none_or(|last| !ptr::eq(last, entry.kind)) {
                of_type(last.replace(entry.kind), jobs);
                jobs = 0;
            }
            jobs += 1;
        }
        of_type(last, jobs);
    }

    /// Returns since when the oldest job that is ready has been ready.
    pub(crate) fn oldest_ready(&mut self, now: Timestamp) -> Option<Timestamp> {
        let released = self.released?;
        // Those with a task of their own wait too, once they are due.
        let waiting = self.entries.open().filter(|(_, entry)| entry.may_start() && entry.attempts == 0);
        waiting.map(|(_, entry)| entry.ready().unwrap_or(released)).filter(|ready| *ready <= now).min()
    }
}

impl Entry {
    /// Returns what a job waits for whose response is over.
    fn waits(&self, released: Option<Timestamp>, now: Timestamp) -> OpenState {
        let ready = self.ready().or(released);
        let due_in = match ready.map(|ready| ready.since(now)) {
            Some(due_in) if !due_in.is_zero() => due_in,
            _ => self.delay().unwrap_or_default(),
        };
        match (due_in.is_zero(), self.attempts) {
            (true, _) => OpenState::Ready { waited: ready.map(|ready| now.since(ready)) },
            (false, 0) => OpenState::Delayed { due_in },
            (false, _) => OpenState::Retrying { due_in },
        }
    }
}

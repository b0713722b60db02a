//! The promises, and checks that each was kept.

use std::collections::BTreeMap;

use defer_core::JobId;

use super::memory::Tables;
use crate::store::HolderId;

/// The facts about a job, besides its row.
#[derive(Debug, Default)]
pub(super) struct Job {
    /// The holder that deferred it. `None` if it was pushed.
    pub(super) deferred_by: Option<HolderId>,
    /// The database refuses the job.
    pub(super) is_bad: bool,
    /// Its storage was acknowledged.
    pub(super) is_acknowledged: bool,
    /// Its response is over.
    pub(super) is_over: bool,
    /// The job with whose end it is stored, and the claim of that end.
    pub(super) parent: Option<(JobId, i64)>,
    /// The end of its parent was refused.
    pub(super) is_refused: bool,
    /// The attempts that are running: their numbers and holders.
    pub(super) running: Vec<(u64, HolderId)>,
    /// The holders of the attempts that succeeded.
    pub(super) succeeded: Vec<HolderId>,
}

/// A process's right to run a job.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) id: JobId,
    pub(super) holder: HolderId,
    pub(super) claim: i64,
    /// The write was not acknowledged, so the job runs from memory.
    pub(super) from_memory: bool,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) attempts: u64,
    pub(super) broken: Vec<String>,
}

impl Oracle {
    pub(super) fn deferred(&mut self, id: JobId, job: Job) {
        self.jobs.insert(id, job);
    }

    pub(super) fn job(&mut self, id: JobId) -> &mut Job {
        self.jobs.entry(id).or_default()
    }

    fn breaks(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Records that an attempt starts. `is_gone` tells whether a holder was judged dead, has died or has signed off. `knows` is
    /// the id under which the process knows itself. Returns the attempt's number.
    pub(super) fn started(
        &mut self,
        ticket: &Ticket,
        knows: &str,
        tables: &Tables,
        is_gone: impl Fn(&str) -> bool,
    ) -> u64 {
        self.attempts += 1;
        let (id, number) = (ticket.id, self.attempts);
        let mut broken = Vec::new();
        let job = self.jobs.entry(id).or_default();
        // A process that was cut off for so long has lost its jobs. It may still be running those that it started from memory.
        let may_run_again = is_gone(&ticket.holder);
        let in_the_way = |other: &&HolderId| !may_run_again && !is_gone(other);
        if let Some(other) = job.running.iter().map(|(_, other)| other).find(in_the_way) {
            broken.push(format!("runs at the same time as in {other}"));
        }
        if let Some(other) = job.succeeded.iter().find(in_the_way) {
            broken.push(format!("runs though it has succeeded in {other}"));
        }
        if !job.is_over && job.deferred_by.as_ref().is_some_and(|holder| !is_gone(holder)) {
            broken.push("starts before its response is over".to_owned());
        }
        if !ticket.from_memory {
            if job.is_refused {
                broken.push("starts though the end of its parent was refused".to_owned());
            }
            let row = tables.jobs.get(&id);
            let is_ours = row.is_some_and(|row| row.is_had_by(&ticket.holder, ticket.claim));
            // True even if the process is cut off: no other process judges it dead before several beats of its own were answered.
            if !is_ours {
                broken.push(format!("starts, and is not its process's: {row:?}"));
            }
            if is_gone(&ticket.holder) && knows != ticket.holder {
                broken.push("starts, and its process knows that it has lost it".to_owned());
            }
        }
        job.running.push((number, ticket.holder.clone()));
        for what in broken {
            self.breaks(format!("{id} {what}"));
        }
        number
    }

    pub(super) fn stopped(&mut self, ticket: &Ticket, number: u64, succeeded: bool) {
        let job = self.job(ticket.id);
        job.running.retain(|(running, _)| *running != number);
        if succeeded {
            job.succeeded.push(ticket.holder.clone());
        }
    }

    /// Records an attempt's children, which are stored with its end.
    pub(super) fn bears(&mut self, ticket: &Ticket, children: &[(JobId, bool)]) {
        for (id, is_bad) in children {
            let job = Job {
                deferred_by: Some(ticket.holder.clone()),
                is_bad: *is_bad,
                is_over: true,
                parent: Some((ticket.id, ticket.claim)),
                ..Job::default()
            };
            self.deferred(*id, job);
        }
    }

    /// Records that the end of an attempt was refused.
    pub(super) fn refused(&mut self, children: &[JobId], tables: &Tables) {
        for child in children {
            self.job(*child).is_refused = true;
            if tables.jobs.contains_key(child) {
                self.breaks(format!("{child} is stored though the end of its parent was refused"));
            }
        }
    }

    /// Returns whether every job has ended that should end.
    pub(super) fn has_ended(&self, tables: &Tables, names: &[&str]) -> bool {
        tables.jobs.values().all(|row| row.has_ended() || !names.contains(&&*row.name))
    }

    /// Checks the final state.
    pub(super) fn judge(&mut self, tables: &Tables, names: &[&str]) {
        let mut broken = Vec::new();
        for id in &tables.replaced {
            broken.push(format!("{id} has two ends"));
        }
        for (id, row) in &tables.jobs {
            if !row.has_ended() && names.contains(&&*row.name) {
                broken.push(format!("{id} never ends: {row:?}"));
            }
        }
        for (id, job) in &self.jobs {
            let is_stored = tables.jobs.contains_key(id);
            if job.is_acknowledged && !is_stored {
                broken.push(format!("{id} is lost: {job:?}"));
            }
            let Some(parent) = job.parent else { continue };
            let is_settled = tables.settled.contains(&parent);
            if is_stored && (!is_settled || job.is_refused) {
                broken.push(format!("{id} is stored without the end of its parent: {job:?}"));
            }
            if !is_stored && is_settled && !job.is_bad && !self.has_bad_sibling(parent) {
                broken.push(format!("{id} is lost, and the end of its parent is stored: {job:?}"));
            }
        }
        self.broken.append(&mut broken);
    }

    /// Returns whether a sibling is refused: children are left out one by one until the database accepts the rest.
    fn has_bad_sibling(&self, parent: (JobId, i64)) -> bool {
        self.jobs.values().any(|job| job.parent == Some(parent) && job.is_bad)
    }
}

//! The tables in memory: what the statements of a database do, one transaction after another.

use std::collections::{BTreeMap, BTreeSet};

use defer_core::JobId;

use crate::store::{
    Beat, Cancelling, Change, ChangeKind, Changed, Holder, HolderId, NewJob, Own, StoreError, Taken,
    recovery::Orphan,
    state::{CANCELLED, DONE, DUPLICATE, Found, HELD, READY, TAKEN, of_end},
};

/// The number of jobs recovered in one transaction: small, so that recoveries take several.
const BATCH: usize = 4;
/// A text that the database refuses.
pub(super) const BAD: &str = "bad";

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    payload: String,
    pub(super) state: i16,
    priority: i16,
    due: i64,
    attempts: i64,
    deaths: i64,
    pub(super) claim: i64,
    pub(super) holder: Option<HolderId>,
    condition: i16,
    status: Option<u16>,
    serial: Option<String>,
    unique: Option<String>,
    unique_claim: Option<String>,
    turn: i64,
    cancel: bool,
    duplicate_of: Option<JobId>,
    created: i64,
}

impl Row {
    pub(super) fn has_ended(&self) -> bool {
        self.state >= DONE
    }

    fn is_had(&self) -> bool {
        matches!(self.state, HELD | TAKEN)
    }

    fn is_of(&self, holder: &str) -> bool {
        self.holder.as_deref() == Some(holder)
    }

    /// Returns whether a holder has the row under this claim.
    pub(super) fn is_had_by(&self, holder: &str, claim: i64) -> bool {
        self.is_had() && self.is_of(holder) && self.claim == claim
    }
}

/// A holder's row, and facts about it for the oracle.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) count: i64,
    pub(super) beaten: i64,
}

/// The tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Every holder that was ever registered.
    pub(super) registered: std::collections::HashSet<HolderId>,
    /// The clock of the database, in milliseconds.
    pub(super) now: i64,
    pub(super) jobs: BTreeMap<JobId, Row>,
    pub(super) holders: BTreeMap<HolderId, Known>,
    /// Holders that were judged dead or have signed off.
    pub(super) gone: BTreeSet<HolderId>,
    /// The jobs and claims for which an end or a retry was stored.
    pub(super) settled: BTreeSet<(JobId, i64)>,
    /// Jobs whose stored end was replaced by another.
    pub(super) replaced: Vec<JobId>,
}

fn is_bad(job: &NewJob) -> bool {
    job.payload.contains(BAD)
}

fn data() -> StoreError {
    StoreError::Data("a bad value".to_owned())
}

/// Holders.
impl Tables {
    pub(super) fn register(&mut self, holder: &Holder) {
        // A repeated request brings back a process that is gone. That is not a sign of life.
        let beaten = if self.registered.insert(holder.id.clone()) { self.now } else { 0 };
        self.holders.entry(holder.id.clone()).or_insert(Known { count: 0, beaten });
    }

    pub(super) fn beat(&mut self, holder: &str) -> Beat {
        let now = self.now;
        let is_alive = self.holders.get_mut(holder).is_some_and(|known| {
            known.count += 1;
            known.beaten = now;
            true
        });
        let others = self.holders.iter().filter(|(id, _)| *id != holder);
        let own = self.jobs.iter().filter(|(_, row)| row.is_had() && row.is_of(holder));
        Beat {
            is_alive,
            others: others.map(|(id, known)| (id.clone(), known.count)).collect(),
            own: own
                .map(|(id, row)| Own { id: id.to_string(), claim: row.claim, cancel: row.cancel })
                .collect(),
            paused: Vec::new(),
            has_orphans: self.jobs.values().any(|row| self.is_orphan(row)),
        }
    }

    fn is_orphan(&self, row: &Row) -> bool {
        row.is_had() && row.holder.as_ref().is_none_or(|holder| !self.holders.contains_key(holder))
    }

    pub(super) fn bury(&mut self, holder: &str, count: i64) -> bool {
        let dies = self.holders.get(holder).is_some_and(|known| known.count == count);
        if dies {
            self.forget(holder);
        }
        dies
    }

    fn forget(&mut self, holder: &str) {
        self.holders.remove(holder);
        self.gone.insert(holder.to_owned());
    }

    pub(super) fn recover(&mut self) -> bool {
        let orphans = self.jobs.iter().filter(|(_, row)| self.is_orphan(row));
        let orphans: Vec<JobId> = orphans.map(|(id, _)| *id).take(BATCH).collect();
        self.free(&orphans, true);
        orphans.len() >= BATCH
    }

    /// Returns whether there may be more.
    pub(super) fn unregister(&mut self, holder: &str) -> bool {
        let own = self.jobs.iter().filter(|(_, row)| row.is_had() && row.is_of(holder));
        let own: Vec<JobId> = own.map(|(id, _)| *id).take(BATCH).collect();
        self.free(&own, false);
        // Set with the first batch, because the jobs that it gives away do not come back.
        self.gone.insert(holder.to_owned());
        if own.len() < BATCH {
            self.forget(holder);
        }
        own.len() >= BATCH
    }

    fn free(&mut self, ids: &[JobId], died: bool) {
        for id in ids {
            let now = self.now;
            let Some(row) = self.jobs.get_mut(id) else { continue };
            let orphan = Orphan {
                id: id.to_string(),
                deaths: row.deaths,
                condition: row.condition.into(),
                status: row.status.map(i64::from),
                cancel: row.cancel,
            };
            let fate = orphan.fate(died);
            row.state = fate.state;
            row.deaths = fate.deaths;
            row.claim += 1;
            row.holder = None;
            row.due = now + fate.delay;
            row.unique_claim = None;
            let key = row.unique.clone().filter(|_| fate.state == READY);
            if key.is_some() && self.twin(key.as_deref(), *id).is_none() {
                self.jobs.entry(*id).and_modify(|row| row.unique_claim = key);
            }
        }
    }
}

/// Writing.
impl Tables {
    pub(super) fn write(
        &mut self,
        holder: &str,
        held: &[NewJob],
        changes: &[Change],
    ) -> Result<Vec<Changed>> {
        let children = changes.iter().flat_map(|change| change.children.iter().map(|job| job.id));
        let ids = held.iter().map(|job| job.id).chain(changes.iter().map(|change| change.id)).chain(children);
        let before: BTreeMap<JobId, Option<Row>> = ids.map(|id| (id, self.jobs.get(&id).cloned())).collect();
        let written = self.write_all(holder, held, changes);
        for (id, before) in before {
            match before {
                Some(row) if written.is_err() => drop(self.jobs.insert(id, row)),
                None if written.is_err() => drop(self.jobs.remove(&id)),
                Some(row) if row.has_ended() && self.jobs.get(&id) != Some(&row) => self.replaced.push(id),
                _ => {}
            }
        }
        let changed = written?;
        for (change, changed) in changes.iter().zip(&changed) {
            if *changed != Changed::Refused
                && !matches!(change.kind, ChangeKind::Pass | ChangeKind::Progress { .. })
            {
                self.settled.insert((change.id, change.claim));
            }
        }
        Ok(changed)
    }

    /// Follows the order of the statements: missing jobs, changes by kind, children, jobs.
    fn write_all(&mut self, holder: &str, held: &[NewJob], changes: &[Change]) -> Result<Vec<Changed>> {
        for job in changes.iter().filter_map(|change| change.insert.as_ref()) {
            self.hold(holder, job)?;
        }
        let mut changed = vec![None; changes.len()];
        for turn in 0..5 {
            for (change, changed) in changes.iter().zip(&mut changed) {
                if turn_of(&change.kind) == turn {
                    *changed = self.change(holder, change)?;
                }
            }
        }
        let found = |(change, changed): (&Change, Option<Changed>)| {
            changed.unwrap_or_else(|| self.found(holder, change))
        };
        let changed: Vec<Changed> = changes.iter().zip(changed).map(found).collect();
        let made = changes.iter().zip(&changed).filter(|(_, changed)| **changed == Changed::Made);
        for job in made.flat_map(|(change, _)| &change.children).chain(held) {
            self.hold(holder, job)?;
        }
        Ok(changed)
    }

    fn hold(&mut self, holder: &str, job: &NewJob) -> Result<()> {
        if is_bad(job) {
            return Err(data());
        }
        let row = Row { state: HELD, claim: 1, holder: Some(holder.to_owned()), ..self.row(job) };
        self.jobs.entry(job.id).or_insert(row);
        Ok(())
    }

    fn row(&self, job: &NewJob) -> Row {
        Row {
            name: job.name.clone(),
            payload: job.payload.clone(),
            state: READY,
            priority: job.priority,
            due: self.now,
            attempts: 0,
            deaths: 0,
            claim: 0,
            holder: None,
            condition: job.condition,
            status: job.status,
            serial: job.serial.clone(),
            unique: job.unique.clone(),
            unique_claim: None,
            turn: self.now,
            cancel: false,
            duplicate_of: None,
            created: self.now,
        }
    }

    fn change(&mut self, holder: &str, change: &Change) -> Result<Option<Changed>> {
        let now = self.now;
        let (twin, turn) = match &change.kind {
            ChangeKind::Ready { unique, serial, .. } => {
                (self.twin(unique.as_deref(), change.id), self.turn(serial.as_deref()))
            }
            _ => (None, now),
        };
        let Some(row) = self.jobs.get_mut(&change.id).filter(|row| row.is_had_by(holder, change.claim))
        else {
            return Ok(None);
        };
        match &change.kind {
            ChangeKind::Pass => row.condition = 0,
            ChangeKind::Progress { .. } => {}
            ChangeKind::End(end) => {
                let (state, attempts, error) = of_end(end);
                if error.is_some_and(|error| error.contains(BAD)) {
                    return Err(data());
                }
                row.state = state;
                row.attempts = attempts.unwrap_or(row.attempts);
                row.unique_claim = None;
            }
            ChangeKind::Retry { delay, attempts, error } => {
                if error.as_ref().is_some_and(|error| error.contains(BAD)) {
                    return Err(data());
                }
                row.state = if row.cancel { CANCELLED } else { READY };
                (row.claim, row.condition, row.due, row.attempts) =
                    (row.claim + 1, 0, now + delay, *attempts);
                row.unique_claim = None;
            }
            ChangeKind::Ready { delay, serial, unique, .. } => {
                (row.condition, row.due) = (0, now + delay);
                let is_plain = serial.is_none() && unique.is_none();
                row.state = match twin {
                    _ if row.cancel => CANCELLED,
                    Some(_) => DUPLICATE,
                    None => READY,
                };
                row.claim += i64::from(twin.is_none());
                if !is_plain {
                    (row.serial, row.unique, row.turn) = (serial.clone(), unique.clone(), turn);
                    row.duplicate_of = twin.filter(|_| !row.cancel);
                    row.unique_claim = unique.clone().filter(|_| row.state == READY);
                }
            }
        }
        Ok(Some(twin.map_or(Changed::Made, Changed::Duplicate)))
    }

    fn found(&self, holder: &str, change: &Change) -> Changed {
        let Some(row) = self.jobs.get(&change.id) else { return Changed::Refused };
        let duplicate_of = row.duplicate_of.map(|of| of.to_string());
        let found = Found { state: row.state, is_ours: row.is_of(holder), claim: row.claim, duplicate_of };
        let has_child = || change.children.first().is_some_and(|child| self.jobs.contains_key(&child.id));
        match found.made(change) {
            Some(changed) => changed,
            None if change.again && has_child() => Changed::Made,
            None => Changed::Refused,
        }
    }

    /// Returns another job that has claimed a key.
    fn twin(&self, key: Option<&str>, id: JobId) -> Option<JobId> {
        let claims = |(of, row): &(&JobId, &Row)| **of != id && row.unique_claim.as_deref() == key;
        key.and_then(|_| self.jobs.iter().find(claims)).map(|(id, _)| *id)
    }

    fn turn(&self, key: Option<&str>) -> i64 {
        let of_key = |row: &&Row| row.serial.as_deref() == key && matches!(row.state, READY | TAKEN);
        let last = key.and_then(|_| self.jobs.values().filter(of_key).map(|row| row.turn + 1).max());
        last.unwrap_or_default().max(self.now)
    }

    pub(super) fn push(&mut self, jobs: &[NewJob]) -> Result<Vec<Option<JobId>>> {
        if jobs.iter().any(is_bad) {
            return Err(data());
        }
        let mut duplicates = Vec::with_capacity(jobs.len());
        for job in jobs {
            let mut row = self.row(job);
            row.due += job.delay;
            row.turn = self.turn(job.serial.as_deref());
            row.duplicate_of = self.twin(job.unique.as_deref(), job.id);
            match row.duplicate_of {
                Some(_) => row.state = DUPLICATE,
                None => row.unique_claim = job.unique.clone(),
            }
            duplicates.push(self.jobs.entry(job.id).or_insert(row).duplicate_of);
        }
        Ok(duplicates)
    }

    pub(super) fn cancel(&mut self, id: JobId, holder: &str, started: bool) -> Cancelling {
        let Some(row) = self.jobs.get_mut(&id) else { return Cancelling::Unknown };
        if row.has_ended() {
            return Cancelling::Ended;
        }
        if row.is_had() && !(row.state == HELD && row.is_of(holder) && !started) {
            row.cancel = true;
            return Cancelling::Asked;
        }
        (row.state, row.claim, row.unique_claim) = (CANCELLED, row.claim + 1, None);
        Cancelling::Cancelled
    }
}

fn turn_of(kind: &ChangeKind) -> usize {
    match kind {
        ChangeKind::End(_) => 0,
        ChangeKind::Retry { .. } => 1,
        ChangeKind::Pass | ChangeKind::Progress { .. } => 2,
        ChangeKind::Ready { serial: None, unique: None, .. } => 3,
        ChangeKind::Ready { .. } => 4,
    }
}

/// Taking.
impl Tables {
    pub(super) fn take(&mut self, holder: &str, names: &[String], limit: usize) -> Vec<Taken> {
        let mut due: Vec<(i16, i64, JobId)> = self
            .jobs
            .iter()
            .filter(|(id, row)| names.contains(&row.name) && self.may_run(**id, row))
            .map(|(id, row)| (-row.priority, row.due, *id))
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        due.into_iter().filter_map(|(_, _, id)| self.take_one(id, holder)).collect()
    }

    fn may_run(&self, id: JobId, row: &Row) -> bool {
        let goes_first = |other: &Row| {
            other.state == TAKEN || other.turn < row.turn && (other.due <= self.now || other.attempts > 0)
        };
        let mut of_key = self.jobs.iter().filter(|(other, of)| {
            **other != id && of.serial == row.serial && matches!(of.state, READY | TAKEN)
        });
        let is_free = row.serial.is_none() || !of_key.any(|(_, other)| goes_first(other));
        row.state == READY && row.due <= self.now && is_free
    }

    fn take_one(&mut self, id: JobId, holder: &str) -> Option<Taken> {
        let now = self.now;
        let row = self.jobs.get_mut(&id)?;
        (row.state, row.claim, row.unique_claim) = (TAKEN, row.claim + 1, None);
        row.holder = Some(holder.to_owned());
        Some(Taken {
            id: id.to_string(),
            claim: row.claim,
            name: row.name.clone(),
            payload: row.payload.clone(),
            metadata: "{}".to_owned(),
            attempts: row.attempts,
            outcome: None,
            status: row.status,
            waited: now - row.due,
            age: now - row.created,
            is_serial: row.serial.is_some(),
            is_throttled: false,
        })
    }

    pub(super) fn next_due(&self, names: &[String]) -> Option<i64> {
        let ready = self.jobs.values().filter(|row| row.state == READY && names.contains(&row.name));
        ready.map(|row| (row.due - self.now).max(0)).min()
    }
}

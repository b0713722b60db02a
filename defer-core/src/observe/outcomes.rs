//! The status of jobs, by id.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;

use super::event::{JobEvent, JobEventKind};
use crate::{
    model::{error::caught, id::JobId, job_type::JobRef, progress::Progress, status::JobStatus},
    primitives::sync::lock,
};

/// The status of each job that has not ended, and of the most recent ones that have.
pub(crate) struct Outcomes {
    max_ended: usize,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    by_id: HashMap<JobId, Known>,
    /// The ended jobs, oldest first, with the event at which each ended.
    ended: VecDeque<(JobId, u64)>,
    /// The number of events so far.
    clock: u64,
    /// The followed jobs.
    watched: HashMap<JobId, watch::Sender<Last>>,
}

/// The status that followers of a job receive.
#[derive(Default)]
struct Last {
    status: Option<JobStatus>,
    /// The last progress of its attempt. It is kept after the end, because most attempts report it right before.
    progress: Option<Progress>,
}

struct Known {
    status: JobStatus,
    /// The last attempt that was reported.
    attempt: u32,
    /// The event at which it got that status.
    since: u64,
}

impl Outcomes {
    pub(crate) fn new(max_ended: usize) -> Self {
        Self { max_ended, jobs: Mutex::default() }
    }

    pub(crate) fn get(&self, id: JobId) -> Option<JobStatus> {
        lock(&self.jobs).status(id)
    }

    pub(crate) fn note(&self, event: &JobEvent) {
        let kind = event.kind();
        let Some(status) = status_after(&kind) else { return };
        let mut jobs = lock(&self.jobs);
        let known = jobs.by_id.get(&event.id()).map(|known| &known.status);
        let is_known = match (known, &kind) {
            (Some(JobStatus::Duplicate { .. }), JobEventKind::Cancelled) => true,
            // This event is late: an earlier hook or a shutdown has already recorded the end. Only a job that comes back from the
            // queue continues.
            (Some(known), kind) => {
                known.ends_here() && !status.ends_here() && !matches!(kind, JobEventKind::Taken)
            }
            (None, _) => false,
        };
        if !is_known {
            jobs.set(event.id(), event.attempt(), status, self.max_ended);
        }
        tell(jobs, event.id());
    }

    /// Sets the progress of an attempt, if it is still running.
    pub(crate) fn progressed(&self, job: JobRef, progress: Progress) {
        let mut jobs = lock(&self.jobs);
        let is_running =
            |status: &JobStatus| matches!(status, JobStatus::Running | JobStatus::InProgress { .. });
        let runs = |known: &Known| known.attempt == job.attempt && is_running(&known.status);
        if jobs.by_id.get(&job.id).is_some_and(runs) {
            jobs.set(job.id, job.attempt, JobStatus::in_progress(progress), self.max_ended);
            tell(jobs, job.id);
        }
    }
}

/// Wakes the followers of a job after unlocking, because their wakers are user code.
fn tell(jobs: MutexGuard<'_, Jobs>, id: JobId) {
    let told = jobs.watched.get(&id).cloned();
    drop(jobs);
    if let Some(told) = told {
        // The status was already set under the lock, in the order of the events.
        told.send_modify(|_| {});
    }
}

/// A followed job.
pub(crate) struct Watched {
    outcomes: Arc<Outcomes>,
    id: JobId,
    /// `None` once this is dropped.
    told: Option<watch::Receiver<Last>>,
    /// The progress that was last returned.
    seen: Option<Progress>,
}

impl Outcomes {
    /// Follows a job. The job may still be unknown.
    pub(crate) fn watch(self: &Arc<Self>, id: JobId) -> Watched {
        let mut jobs = lock(&self.jobs);
        let status = jobs.status(id);
        let last = || Last { status, progress: None };
        let told = jobs.watched.entry(id).or_insert_with(|| watch::Sender::new(last()));
        Watched { outcomes: self.clone(), id, told: Some(told.subscribe()), seen: None }
    }
}

impl Watched {
    /// Returns the last status, if known. If the job has ended, its last progress is returned first, unless it was returned
    /// before.
    pub(crate) fn status(&mut self) -> Option<JobStatus> {
        let last = self.told.as_mut()?.borrow_and_update();
        if last.progress != self.seen {
            self.seen.clone_from(&last.progress);
            if let Some(progress) = &last.progress {
                return Some(JobStatus::in_progress(progress.clone()));
            }
        }
        last.status.clone()
    }

    /// Waits until the status differs from the one that [`status`](Self::status) has returned.
    pub(crate) async fn changed(&mut self) {
        if let Some(told) = &mut self.told {
            // An error would mean that the sender is gone, but it exists as long as this.
            let _ = told.changed().await;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.told = None;
        let mut jobs = lock(&self.outcomes.jobs);
        if jobs.watched.get(&self.id).is_some_and(|told| told.receiver_count() == 0) {
            jobs.watched.remove(&self.id);
        }
    }
}

impl Last {
    fn note(&mut self, status: &JobStatus) {
        match status {
            JobStatus::InProgress { progress, .. } => self.progress = Some(progress.clone()),
            status if status.ends_here() => {}
            _ => self.progress = None,
        }
        self.status = Some(status.clone());
    }
}

impl Jobs {
    /// Returns the status of a job. That of a duplicate names the last job in its chain of replacements. Each job of the chain is
    /// updated to name it directly, so a long chain is walked only once.
    fn status(&mut self, id: JobId) -> Option<JobStatus> {
        let status = self.by_id.get(&id)?.status.clone();
        let JobStatus::Duplicate { of } = status else { return Some(status) };
        let mut last = of;
        // A queue might have created a circle.
        for _ in 0..self.by_id.len() {
            let Some(next) = self.duplicate_of(last) else { break };
            last = next;
        }
        let mut at = id;
        while let Some(known) = self.by_id.get_mut(&at) {
            let JobStatus::Duplicate { of } = &mut known.status else { break };
            at = std::mem::replace(of, last);
            if at == last {
                break;
            }
        }
        Some(JobStatus::duplicate(last))
    }

    fn duplicate_of(&self, id: JobId) -> Option<JobId> {
        match self.by_id.get(&id)?.status {
            JobStatus::Duplicate { of } => Some(of),
            _ => None,
        }
    }

    fn set(&mut self, id: JobId, attempt: u32, status: JobStatus, max_ended: usize) {
        self.clock += 1;
        let since = self.clock;
        if status.ends_here() {
            self.ended.push_back((id, since));
        }
        if let Some(told) = self.watched.get(&id) {
            told.send_if_modified(|last| {
                last.note(&status);
                false
            });
        }
        self.by_id.insert(id, Known { status, attempt, since });
        if self.ended.len() > max_ended {
            let Some((oldest, then)) = self.ended.pop_front() else { return };
            // A job that came back from the queue has an older entry for its earlier end.
            if self.by_id.get(&oldest).is_some_and(|known| known.since == then) {
                self.by_id.remove(&oldest);
            }
        }
    }
}

/// Returns the status after this event, if the event changes it.
fn status_after(event: &JobEventKind) -> Option<JobStatus> {
    Some(match event {
        JobEventKind::Deferred
        | JobEventKind::Taken
        | JobEventKind::Retrying { .. }
        | JobEventKind::Snoozed { .. }
        | JobEventKind::QueueFailed { .. } => JobStatus::Pending,
        JobEventKind::Started => JobStatus::Running,
        JobEventKind::Stuck { .. } => return None,
        JobEventKind::Succeeded { .. } => JobStatus::Succeeded,
        JobEventKind::Failed { error, .. }
        | JobEventKind::Panicked { error, .. }
        | JobEventKind::TimedOut { error, .. } => {
            // An error's `Display` is user code.
            JobStatus::failed(&caught(|| error.to_string()).unwrap_or_default())
        }
        JobEventKind::Skipped => JobStatus::Skipped,
        JobEventKind::Cancelled => JobStatus::Cancelled,
        JobEventKind::Duplicate { of } => JobStatus::duplicate(*of),
        JobEventKind::Shed => JobStatus::Shed,
        JobEventKind::Queued => JobStatus::Queued,
        JobEventKind::Abandoned => JobStatus::Abandoned,
    })
}

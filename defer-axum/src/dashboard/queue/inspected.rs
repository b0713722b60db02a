//! The queue's contents at the last inspection.

use std::{
    mem,
    time::{Duration, SystemTime},
};

use defer_core::{
    BoxError,
    queue::{FailedJob, FailureGroup, Holder, InspectQueue, JobFilter, NameCounts, QueueCounts, QueuedJob},
};

use crate::dashboard::memory::bounded::bounded;

/// The number of failed jobs to show.
const FAILED: usize = 20;
/// The numbers of failure groups, job types, processes, and upcoming or running jobs to show.
const GROUPS: usize = 50;
const NAMES: usize = 300;
const HOLDERS: usize = 50;
const JOBS: usize = 50;
/// The number of unclaimed names to show.
const UNCLAIMED: usize = 20;
/// The longest line of a group, in bytes. `defer-sqlx` keeps 200 characters of it.
const LINE: usize = 800;

/// The queue's contents at the last inspection. Texts and lists are bounded, whatever the queue returns.
#[derive(Clone, Default)]
pub(crate) struct Inspected {
    pub(crate) counts: QueueCounts,
    pub(crate) failed: Vec<FailedJob>,
    pub(crate) failures: Vec<FailureGroup>,
    pub(crate) names: Vec<NameCounts>,
    pub(crate) holders: Vec<Holder>,
    /// The names of paused types.
    pub(crate) paused: Vec<String>,
    /// Types with due jobs that no worker takes.
    pub(crate) unclaimed: Vec<String>,
    /// Jobs that are not due.
    pub(crate) delayed: Vec<QueuedJob>,
    /// Jobs that a process is running.
    pub(crate) running: Vec<QueuedJob>,
    /// Since when the queue cannot be reached, and why.
    pub(crate) unreachable: Option<(SystemTime, &'static str)>,
}

impl Inspected {
    pub(super) async fn ask(queue: &dyn InspectQueue) -> Result<Self, BoxError> {
        Ok(Self {
            counts: queue.counts().await?,
            failed: some(queue.failed(FAILED).await?, FAILED, |job| {
                (job.name, job.error) = (bounded(&job.name), bounded(&job.error));
            }),
            failures: some(queue.failures(GROUPS).await?, GROUPS, |group| {
                bound(&mut group.name);
                // Unchanged, because actions identify the group by it.
                if group.error.len() > LINE {
                    bound(&mut group.error);
                }
            }),
            names: some(queue.counts_by_name().await?, NAMES, |of_name| {
                of_name.name = bounded(&of_name.name)
            }),
            holders: some(queue.holders().await?, HOLDERS, |holder| {
                holder.names = some(mem::take(&mut holder.names), NAMES, bound);
                holder.process.host = bounded(&holder.process.host);
                holder.version = bounded(&holder.version);
            }),
            paused: some(queue.paused().await?, NAMES, bound),
            unclaimed: some(queue.unclaimed().await?, UNCLAIMED, bound),
            delayed: some(queue.jobs(JobFilter::Delayed, JOBS).await?, JOBS, bound_job),
            running: some(queue.jobs(JobFilter::Running, JOBS).await?, JOBS, bound_job),
            unreachable: None,
        })
    }

    /// Advances ages by the time since the inspection, so that events keep their time.
    pub(super) fn age(&mut self, by: Duration) {
        for group in &mut self.failures {
            group.first = group.first.saturating_add(by);
            group.last = group.last.saturating_add(by);
        }
        for holder in &mut self.holders {
            holder.age = holder.age.saturating_add(by);
        }
        self.delayed.iter_mut().for_each(|job| age_job(job, by));
    }
}

/// Returns at most this many items, each bounded.
fn some<T>(mut all: Vec<T>, limit: usize, bound: impl FnMut(&mut T)) -> Vec<T> {
    all.truncate(limit);
    all.iter_mut().for_each(bound);
    all
}

fn bound(text: &mut String) {
    *text = bounded(&text);
}

/// Advances the times of a job by the time since the queue was asked about it.
pub(super) fn age_job(job: &mut QueuedJob, by: Duration) {
    job.due_in = job.due_in.map(|due_in| due_in.saturating_sub(by));
    let since = [&mut job.ready_for, &mut job.age, &mut job.ended];
    since.into_iter().flatten().for_each(|since| *since = since.saturating_add(by));
}

/// Bounds the texts of a job.
pub(super) fn bound_job(job: &mut QueuedJob) {
    bound(&mut job.name);
    let texts = [&mut job.error, &mut job.route, &mut job.request_id, &mut job.trace_id];
    texts.into_iter().flatten().for_each(bound);
    if let Some(process) = &mut job.process {
        bound(&mut process.host);
    }
}

//! Jobs as apalis' tasks, and when they are due in whole seconds, as SQLite and Redis store it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apalis_core::task::Task;
#[cfg(feature = "redis")]
use apalis_core::task::{builder::TaskBuilder, metadata::MetadataStore, task_id::TaskId};
use defer_core::queue::Envelope;

use super::job::Taken;
#[cfg(feature = "redis")]
use super::job::{max_attempts, metadata};

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns the whole second at which a delay that begins now is over.
pub(super) fn after(delay: Duration) -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = since_epoch.saturating_add(delay);
    let at = at.as_secs() + u64::from(at.subsec_nanos() > 0);
    // Far enough, and small enough for every database and its sums.
    at.min(u64::from(u32::MAX))
}

/// Returns the second at which a job is due.
pub(super) fn run_at(job: &Envelope) -> u64 {
    if job.delay.is_zero() { now() } else { after(job.delay) }
}

/// Converts a job.
#[cfg(feature = "redis")]
pub(super) fn task(job: &Envelope) -> Task<Vec<u8>> {
    let metadata = MetadataStore::from_map(metadata(job).into_iter().collect());
    let task = TaskBuilder::new(job.payload.clone())
        .task_id(TaskId::from_string(job.id.to_string()))
        .max_attempts(max_attempts(job).unsigned_abs() as usize)
        .with_metadata(metadata);
    if job.delay.is_zero() { task.build() } else { task.run_at_timestamp(run_at(job)).build() }
}

pub(super) fn taken(task: Task<Vec<u8>>) -> Taken {
    Taken {
        id: task.task_id().map(ToString::to_string).unwrap_or_default(),
        metadata: task.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        attempts: u32::try_from(task.attempt()).unwrap_or(u32::MAX),
        max_attempts: task.max_attempts().and_then(|max| u32::try_from(max).ok()).unwrap_or(u32::MAX),
        payload: task.args,
    }
}

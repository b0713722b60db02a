//! Jobs as apalis' tasks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apalis_core::task::{Task, builder::TaskBuilder, metadata::MetadataStore, task_id::TaskId};
use defer_core::Envelope;

use super::job::Taken;

/// The key of a job's name in its metadata.
pub(crate) const NAME: &str = "job";

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns the whole second at which a delay that begins now is over.
pub(super) fn after(delay: Duration) -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = since_epoch.saturating_add(delay);
    // A database keeps seconds in an `i64`.
    let at = at.as_secs() + u64::from(at.subsec_nanos() > 0);
    at.min(u64::from(u32::MAX))
}

/// Converts a job. `keyed` says that apalis refuses it if it has one with this id.
pub(super) fn task(job: &Envelope, keyed: bool) -> Task<Vec<u8>> {
    let mut metadata: std::collections::HashMap<String, String> =
        job.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    metadata.insert(NAME.into(), job.name.clone());
    let id = job.id.to_string();
    let task = TaskBuilder::new(job.payload.clone())
        .task_id(TaskId::from_string(&id))
        .max_attempts(job.policy.tries().min(i32::MAX as u32) as usize)
        .with_metadata(MetadataStore::from_map(metadata));
    let task = if keyed { task.idempotency_key(&id) } else { task };
    if job.delay.is_zero() { task.build() } else { task.run_at_timestamp(after(job.delay)).build() }
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

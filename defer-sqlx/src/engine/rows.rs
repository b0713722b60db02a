//! Converts rows for callers that inspect the queue.

use std::time::Duration;

use defer_core::{
    Progress,
    queue::{Holder, Metadata, Process, QueuedJob, QueuedState},
};

use super::convert::response;
use crate::store::{HolderRow, JobRow, state};

/// Converts a job. `None` if a later version wrote its state.
pub(crate) fn queued_job(row: JobRow) -> Option<QueuedJob> {
    let mut job = QueuedJob::new(row.id, &*row.name, queued_state(&row)?);
    let (waits, has_ended) = (row.state == state::READY, row.state > state::TAKEN);
    job.attempts = u32::try_from(row.attempts).unwrap_or(u32::MAX);
    job.due_in = (waits && row.due_in > 0).then(|| state::millis(row.due_in));
    job.ready_for = (waits && row.due_in <= 0).then(|| state::millis(row.due_in.saturating_neg()));
    job.age = Some(state::millis(row.age));
    job.ended = row.ended.filter(|_| has_ended).map(state::millis);
    job.progress =
        state::progress_json(row.state, row.claim, row.progress.as_deref()).and_then(Progress::from_json);
    job.error = row.error;
    // Another client may have changed the table.
    let mut metadata: Metadata = serde_json::from_str(&row.metadata).unwrap_or_default();
    job.route = metadata.remove("route");
    job.request_id = metadata.remove("request_id");
    job.trace_id = metadata.get("traceparent").and_then(|parent| trace_id(parent));
    let status = row.status.and_then(|status| u16::try_from(status).ok());
    if let Some(response) = response(row.outcome.as_deref(), status) {
        job.status = response.status();
        // The status may be known before the response is over.
        job.delivery = row.outcome.is_some().then(|| response.delivery());
    }
    job.process = row.host.zip(row.pid).map(|(host, pid)| process(host, pid));
    Some(job)
}

fn queued_state(row: &JobRow) -> Option<QueuedState> {
    Some(match row.state {
        state::HELD => QueuedState::Held,
        state::READY if row.due_in > 0 && row.attempts > 0 => QueuedState::Retrying,
        state::READY if row.due_in > 0 => QueuedState::Delayed,
        state::READY if row.is_paused => QueuedState::Paused,
        state::READY => QueuedState::Ready,
        state::TAKEN => QueuedState::Running,
        state::DONE => QueuedState::Done,
        state::FAILED => QueuedState::Failed,
        state::SKIPPED => QueuedState::Skipped,
        state::CANCELLED => QueuedState::Cancelled,
        state::DUPLICATE => QueuedState::Duplicate,
        _ => return None,
    })
}

/// Returns the trace id in a `traceparent`, which W3C Trace Context defines as version, trace, span and flags.
fn trace_id(parent: &str) -> Option<String> {
    let id = parent.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

pub(super) fn holder(row: HolderRow, last_seen: Duration) -> Holder {
    let mut holder = Holder::new(row.id, process(row.host, row.pid), row.version);
    holder.age = state::millis(row.age);
    holder.last_seen = last_seen;
    holder.names = serde_json::from_str(&row.names).unwrap_or_default();
    holder.jobs = u64::try_from(row.jobs).unwrap_or_default();
    holder
}

fn process(host: String, pid: i64) -> Process {
    Process::new(host, u32::try_from(pid).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_trace_is_read_from_what_links_to_it() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_id(parent).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(["", "00-1-2-3", "00"].map(trace_id), [None, None, None]);
    }
}

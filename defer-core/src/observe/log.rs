//! What is logged of the events of jobs.

use super::event::JobEventKind;
use crate::{
    model::{
        error::{JobError, caught},
        job_type::JobRef,
    },
    primitives::panic::drop_quietly,
};

/// Logs an event. An error's `Display` and a subscriber are user code, and may panic.
pub(super) fn log(job: JobRef, kind: &JobEventKind) {
    if let Err(panic) = caught(|| log_kind(job, kind)) {
        let JobRef { id, attempt, .. } = job;
        let name = job.name();
        drop_quietly(panic);
        tracing::error!(target: "defer", name, %id, attempt, "a job's error panicked while it was formatted");
    }
}

/// Logs that jobs of a type begin to run together. `batch`: what their context says.
pub(crate) fn log_batch(batch: JobRef, jobs: usize) {
    let (name, id) = (batch.name(), batch.id);
    let logged = caught(|| tracing::debug!(target: "defer", name, %id, jobs, "a batch starts"));
    logged.unwrap_or_else(drop_quietly);
}

/// Logs how `Job::failed` itself failed.
#[cold]
pub(crate) fn log_failed_hook(job: JobRef, how: &str, error: &JobError) {
    let (name, id) = (job.name(), job.id);
    let logged = caught(|| tracing::error!(target: "defer", name, %id, %error, "a job's `failed` {how}"));
    logged.unwrap_or_else(drop_quietly);
}

fn log_kind(job: JobRef, kind: &JobEventKind) {
    let JobRef { id, attempt, in_span, .. } = job;
    // An event in the span does not repeat its fields.
    macro_rules! in_attempt {
        ($level:ident, $($rest:tt)*) => {
            tracing::$level!(
                target: "defer",
                name = (!in_span).then(|| job.name()),
                id = (!in_span).then(|| tracing::field::display(id)),
                attempt = (!in_span).then_some(attempt),
                $($rest)*
            )
        };
    }
    match kind {
        JobEventKind::Deferred | JobEventKind::Taken | JobEventKind::Started => {}
        JobEventKind::Succeeded { elapsed } => in_attempt!(debug, ?elapsed, "job done"),
        JobEventKind::Retrying { error, delay, .. } => {
            in_attempt!(warn, %error, ?delay, "job failed, trying again");
        }
        JobEventKind::Stuck { elapsed } => {
            in_attempt!(
                warn,
                ?elapsed,
                "job is blocking its thread, so that nothing can stop it: let it await, or mark it `#[defer(blocking)]`"
            );
        }
        JobEventKind::Snoozed { delay, .. } => in_attempt!(debug, ?delay, "job snoozed"),
        JobEventKind::Failed { error, elapsed } => in_attempt!(error, %error, ?elapsed, "job failed"),
        JobEventKind::Panicked { error, elapsed } => in_attempt!(error, %error, ?elapsed, "job panicked"),
        JobEventKind::TimedOut { error, elapsed } => {
            in_attempt!(error, %error, ?elapsed, "job timed out")
        }
        JobEventKind::Skipped => {
            tracing::debug!(target: "defer", name = job.name(), %id, "job skipped: its condition was false");
        }
        JobEventKind::Cancelled => {
            tracing::debug!(target: "defer", name = job.name(), %id, "job cancelled")
        }
        JobEventKind::Shed => {
            tracing::warn!(target: "defer", name = job.name(), %id, "job shed: too many are pending")
        }
        JobEventKind::Queued => tracing::debug!(target: "defer", name = job.name(), %id, "job queued"),
        JobEventKind::QueueFailed { error } => {
            tracing::warn!(target: "defer", name = job.name(), %id, %error, "the queue did not take a job as it is: it runs in this process, unless that is shutting down or refuses the request");
        }
        JobEventKind::Abandoned => {
            let why = "job abandoned: it was stopped, or nothing was left to run it";
            tracing::error!(target: "defer", name = job.name(), %id, attempt, "{why}");
        }
    }
}

//! Counts and times jobs through the `metrics` facade.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};

use super::{
    event::JobEventKind,
    hooks::{Observer, Report},
    stats::Final,
};

/// Bucket bounds for the two histograms, in seconds. These are the bounds of OpenTelemetry's conventions for the duration of
/// HTTP requests (version 1.23 and later).
pub const BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

const JOBS: &str = "defer_jobs_total";
const ATTEMPTS: &str = "defer_job_attempts_total";
const RUN: &str = "defer_job_run_seconds";
const WAIT: &str = "defer_job_wait_seconds";
pub(crate) const PENDING: &str = "defer_jobs_pending";
pub(crate) const RUNNING: &str = "defer_jobs_running";
pub(crate) const OLDEST: &str = "defer_oldest_pending_seconds";

/// Tells the recorder what the metrics mean.
pub(crate) fn describe() {
    describe_counter!(JOBS, Unit::Count, "Jobs that have ended, by how");
    describe_counter!(ATTEMPTS, Unit::Count, "Attempts that have ended, by how");
    describe_histogram!(RUN, Unit::Seconds, "How long attempts took");
    describe_histogram!(
        WAIT,
        Unit::Seconds,
        "How long jobs waited from when they could start to their start"
    );
    describe_gauge!(PENDING, Unit::Count, "Jobs that were deferred and neither run nor have ended");
    describe_gauge!(RUNNING, Unit::Count, "Jobs in an attempt");
    describe_gauge!(OLDEST, Unit::Seconds, "How long the job that waits longest could have run");
}

/// Counts and times what has ended.
pub(crate) struct Meter;

impl Observer for Meter {
    fn observe(&self, report: &Report<'_>) {
        count(report);
    }
}

fn count(report: &Report<'_>) {
    let (name, kind) = (report.name(), report.kind());
    let attempt = match kind {
        JobEventKind::Succeeded { elapsed } => Some(("succeeded", elapsed)),
        JobEventKind::Retrying { elapsed, .. } => Some(("retried", elapsed)),
        JobEventKind::Snoozed { elapsed, .. } => Some(("snoozed", elapsed)),
        JobEventKind::Failed { elapsed, .. } => Some(("failed", elapsed)),
        JobEventKind::Panicked { elapsed, .. } => Some(("panicked", elapsed)),
        JobEventKind::TimedOut { elapsed, .. } => Some(("timed_out", elapsed)),
        _ => None,
    };
    // A job can fail without an attempt: by its condition, or for want of a timer.
    if let Some((outcome, elapsed)) = attempt.filter(|_| report.attempt() > 0) {
        if let Some(wait) = report.wait() {
            histogram!(WAIT, "name" => name).record(wait.as_secs_f64());
        }
        counter!(ATTEMPTS, "name" => name, "outcome" => outcome).increment(1);
        histogram!(RUN, "name" => name).record(elapsed.as_secs_f64());
    }
    let outcome = match kind.final_count() {
        None => return,
        Some(Final::Succeeded) => "succeeded",
        Some(Final::Failed) => "failed",
        Some(Final::Skipped) => "skipped",
        Some(Final::Cancelled) => "cancelled",
        Some(Final::Shed) => "shed",
        Some(Final::Queued | Final::HandedOver) => "queued",
        Some(Final::Abandoned) => "abandoned",
    };
    counter!(JOBS, "name" => name, "outcome" => outcome).increment(1);
}

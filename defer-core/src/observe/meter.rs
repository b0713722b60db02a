//! Counts and times jobs through the `metrics` facade.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};

use super::{
    event::JobEventKind,
    hooks::{Observer, Report},
    stats::Final,
};

/// Bucket bounds for the two histograms, in seconds: from half a millisecond to an hour.
pub const BUCKETS: [f64; 18] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    3600.0,
];

const JOBS: &str = "defer_jobs_total";
const ATTEMPTS: &str = "defer_job_attempts_total";
const RUN: &str = "defer_job_run_seconds";
const WAIT: &str = "defer_job_wait_seconds";
const STUCK: &str = "defer_jobs_stuck_total";
pub(crate) const PENDING: &str = "defer_jobs_pending";
pub(crate) const RUNNING: &str = "defer_jobs_running";
pub(crate) const MAX_RUNNING: &str = "defer_jobs_max_running";
pub(crate) const OLDEST: &str = "defer_oldest_pending_seconds";
pub(crate) const QUEUE_JOBS: &str = "defer_queue_jobs";
pub(crate) const QUEUE_OLDEST_DUE: &str = "defer_queue_oldest_due_seconds";
pub(crate) const QUEUE_WORKERS: &str = "defer_queue_workers";
pub(crate) const QUEUE_FAILURES: &str = "defer_queue_failures_total";

/// The outcomes of jobs. Going to the queue is not one.
const OUTCOMES: [&str; 7] = ["succeeded", "failed", "skipped", "cancelled", "duplicate", "shed", "abandoned"];
/// The outcomes of attempts.
const ATTEMPT_OUTCOMES: [&str; 6] = ["succeeded", "retried", "snoozed", "failed", "panicked", "timed_out"];

/// Describes the metrics to the recorder, and creates those that have no job type.
pub(crate) fn describe() {
    describe_counter!(JOBS, Unit::Count, "Jobs that have ended, by how");
    describe_counter!(ATTEMPTS, Unit::Count, "Attempts that have ended, by how");
    describe_histogram!(RUN, Unit::Seconds, "How long attempts took");
    describe_histogram!(
        WAIT,
        Unit::Seconds,
        "How long jobs waited from when they could start to their start"
    );
    describe_counter!(STUCK, Unit::Count, "Polls of jobs that have blocked their thread for too long");
    describe_gauge!(PENDING, Unit::Count, "Jobs that were deferred and neither run nor have ended");
    describe_gauge!(RUNNING, Unit::Count, "Jobs in an attempt");
    describe_gauge!(MAX_RUNNING, Unit::Count, "How many jobs may be in an attempt");
    describe_gauge!(OLDEST, Unit::Seconds, "How long the job that waits longest could have run");
    describe_gauge!(QUEUE_JOBS, Unit::Count, "Jobs in the queue that have not succeeded, by how they stand");
    describe_gauge!(QUEUE_OLDEST_DUE, Unit::Seconds, "How long the oldest due job in the queue has been due");
    describe_gauge!(QUEUE_WORKERS, Unit::Count, "Processes that take jobs from the queue");
    describe_counter!(
        QUEUE_FAILURES,
        Unit::Count,
        "Jobs that the queue did not take, and looks into it that failed"
    );
    for total in [STUCK, QUEUE_FAILURES] {
        counter!(total).increment(0);
    }
}

/// The job types of a runner that have series, and whether each is known to be durable.
#[derive(Default)]
pub(crate) struct Types(RwLock<BTreeMap<&'static str, bool>>);

impl Types {
    /// Creates the series of a type, as zero, unless they exist.
    pub(crate) fn add(&self, name: &'static str, is_durable: bool) {
        // The type is usually known, and readers do not wait for each other.
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        if known.is_some_and(|known| known || !is_durable) {
            return;
        }
        // Another thread may have marked it as durable meanwhile.
        *self.0.write().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() |= is_durable;
        if known.is_none() {
            create(name);
        }
    }

    /// Creates the series of all types again, for a recorder that was installed late.
    pub(crate) fn create_again(&self) {
        let types = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        types.into_keys().for_each(create);
    }

    /// Returns the types that are known to be durable.
    pub(crate) fn durable(&self) -> Vec<&'static str> {
        let types = self.0.read().unwrap_or_else(PoisonError::into_inner);
        types.iter().filter(|(_, is_durable)| **is_durable).map(|(name, _)| *name).collect()
    }
}

fn create(name: &'static str) {
    for outcome in OUTCOMES {
        counter!(JOBS, "name" => name, "outcome" => outcome).increment(0);
    }
    for outcome in ATTEMPT_OUTCOMES {
        counter!(ATTEMPTS, "name" => name, "outcome" => outcome).increment(0);
    }
    for histogram in [RUN, WAIT] {
        // Looking it up creates it.
        let _ = histogram!(histogram, "name" => name);
    }
}

/// Counts and times jobs and attempts when they end.
pub(crate) struct Meter(pub(crate) Arc<Types>);

impl Observer for Meter {
    fn observe(&self, report: &Report<'_>) {
        match report.kind() {
            JobEventKind::Stuck { .. } => counter!(STUCK).increment(1),
            JobEventKind::QueueFailed { .. } => counter!(QUEUE_FAILURES).increment(1),
            _ => {
                self.0.add(report.name(), false);
                count(report);
            }
        }
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
    // A job can fail without an attempt, because of its condition or the lack of a timer.
    if let Some((outcome, elapsed)) = attempt.filter(|_| report.attempt() > 0) {
        if let Some(wait) = report.wait() {
            histogram!(WAIT, "name" => name).record(wait.as_secs_f64());
        }
        counter!(ATTEMPTS, "name" => name, "outcome" => outcome).increment(1);
        histogram!(RUN, "name" => name).record(elapsed.as_secs_f64());
    }
    let outcome = match kind {
        JobEventKind::Duplicate { .. } => "duplicate",
        _ => match kind.final_count() {
            // A job that went to the queue is counted where it ends.
            None | Some(Final::Queued | Final::HandedOver) => return,
            Some(Final::Succeeded) => "succeeded",
            Some(Final::Failed) => "failed",
            Some(Final::Skipped) => "skipped",
            Some(Final::Cancelled) => "cancelled",
            Some(Final::Shed) => "shed",
            Some(Final::Abandoned) => "abandoned",
        },
    };
    counter!(JOBS, "name" => name, "outcome" => outcome).increment(1);
}

//! Metrics of jobs, through the [`metrics`](https://docs.rs/metrics) facade. Requires the feature `metrics`.
//!
//! With the feature every runner counts its jobs. Install a recorder, such as `metrics-exporter-prometheus`, before you build
//! the first runner, so that it is told what the metrics mean.
//!
//! | metric | type | labels |
//! |---|---|---|
//! | `defer_jobs_total` | counter | `name`; `outcome`: `succeeded`, `failed`, `skipped`, `cancelled`, `shed`, `queued`, `abandoned` |
//! | `defer_job_attempts_total` | counter | `name`; `outcome`: `succeeded`, `retried`, `snoozed`, `failed`, `panicked`, `timed_out` |
//! | `defer_job_run_seconds` | histogram, of attempts | `name` |
//! | `defer_job_wait_seconds` | histogram, of attempts: from when it could start to its start | `name` |
//! | `defer_jobs_pending` | gauge | |
//! | `defer_jobs_running` | gauge | |
//! | `defer_oldest_pending_seconds` | gauge: how long the job that waits longest could have run | |
//!
//! A job counts once in `defer_jobs_total`, as in [`Stats`](crate::Stats). Its fields and its error are in no label. The names
//! are those of job types; a closure's is that of the function that it is in.
//!
//! The gauges are set when you ask for it, with [`record_gauges`], at best just before each scrape. The histograms need
//! [`BUCKETS`]: most exporters have none by themselves.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use defer_core::{Runner, defer_fn, metrics, scope};
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//!
//! let exporter = PrometheusBuilder::new()
//!     .set_buckets_for_metric(Matcher::Prefix("defer_job_".into()), &metrics::BUCKETS)?
//!     .install_recorder()?;
//! let runner = Runner::default();
//! scope(&runner, async { defer_fn(|_| async {}); }).await;
//! runner.idle().await;
//!
//! metrics::record_gauges([&runner]); // where `/metrics` is answered
//! assert!(exporter.render().contains("outcome=\"succeeded\"} 1"));
//! # Ok(())
//! # }
//! ```

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::{
    event::{End, JobEventKind, Watch},
    runner::Runner,
    scope::current::outside,
    stats::Final,
};

/// Bounds for the buckets of the two histograms, in seconds: those that OpenTelemetry's conventions have for the duration of
/// HTTP requests (version 1.23 and later).
pub const BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

const JOBS: &str = "defer_jobs_total";
const ATTEMPTS: &str = "defer_job_attempts_total";
const RUN: &str = "defer_job_run_seconds";
const WAIT: &str = "defer_job_wait_seconds";
const PENDING: &str = "defer_jobs_pending";
const RUNNING: &str = "defer_jobs_running";
const OLDEST: &str = "defer_oldest_pending_seconds";

/// Sets the gauges to what the runners of this process have now, taken together.
pub fn record_gauges<'a>(runners: impl IntoIterator<Item = &'a Runner>) {
    let (mut pending, mut running, mut oldest) = (0, 0, 0.0_f64);
    for runner in runners {
        let stats = runner.stats();
        pending += stats.pending;
        running += stats.running;
        oldest = oldest.max(runner.oldest_pending().unwrap_or_default().as_secs_f64());
    }
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    {
        gauge!(PENDING).set(pending as f64);
        gauge!(RUNNING).set(running as f64);
    }
    gauge!(OLDEST).set(oldest);
}

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

impl Watch for Meter {
    fn watch(&self, end: &End<'_>) {
        // The recorder is user code.
        outside(|| count(end));
    }
}

fn count(end: &End<'_>) {
    let (name, kind) = (end.name(), end.kind());
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
    if let Some((outcome, elapsed)) = attempt.filter(|_| end.attempt() > 0) {
        if let Some(wait) = end.wait() {
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

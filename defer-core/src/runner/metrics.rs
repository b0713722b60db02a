//! Metrics of jobs, through the [`metrics`](https://docs.rs/metrics) facade. Requires the feature `metrics`.
//!
//! With this feature, every runner counts its jobs. Install a recorder, such as `metrics-exporter-prometheus`, before you build
//! the first runner, so that it receives the descriptions of the metrics.
//!
//! | metric | type | labels |
//! |---|---|---|
//! | `defer_jobs_total` | counter | `name`; `outcome`: `succeeded`, `failed`, `skipped`, `cancelled`, `duplicate`, `shed`, `abandoned` |
//! | `defer_job_attempts_total` | counter | `name`; `outcome`: `succeeded`, `retried`, `snoozed`, `failed`, `panicked`, `timed_out` |
//! | `defer_job_run_seconds` | histogram, of attempts | `name` |
//! | `defer_job_wait_seconds` | histogram, of attempts: the time from when it could start to its start, including time in a queue | `name` |
//! | `defer_jobs_stuck_total` | counter, of polls that took longer than [`stuck_after`](crate::RunnerBuilder::stuck_after) | |
//! | `defer_jobs_pending` | gauge | |
//! | `defer_jobs_running` | gauge | |
//! | `defer_jobs_max_running` | gauge | |
//! | `defer_oldest_pending_seconds` | gauge: how long the job that waits longest could have run | |
//! | `defer_queue_jobs` | gauge | `name`; `state`: `ready`, `delayed`, `running`, `failed` |
//! | `defer_queue_oldest_due_seconds` | gauge: how long the oldest due job has been due | `name` |
//! | `defer_queue_workers` | gauge: processes that take jobs and are alive | |
//! | `defer_queue_failures_total` | counter: jobs that the queue did not take, and failed inspections of the queue | |
//!
//! `defer_jobs_total` counts each job once, when it ends: a durable job that goes through its queue is counted by the process that runs
//! it, not by the one that deferred it. ([`Stats`](crate::Stats) counts it in both.) `failed` includes jobs that panicked or
//! timed out in their last attempt; `defer_job_attempts_total` tells them apart. Labels never contain a job's fields or its
//! error. `name` is the name of the job type; a closure is named after the function that it is in.
//!
//! # From the start
//!
//! Prometheus computes an increase from two values, so it misses a counter that first appears as 1. All series of a known job
//! type therefore exist from the start, as zero. The runner knows the types that were named with
//! [`RunnerBuilder::job`](crate::RunnerBuilder::job), those of its worker, and those of jobs that were deferred.
//!
//! # Gauges
//!
//! Call [`record_gauges`] to set the gauges, ideally just before each scrape. Configure [`BUCKETS`] for the histograms: most
//! exporters have no default buckets.
//!
//! The gauges of the queue are the same in each process that you scrape: alert on `max by (name)`. A queue that cannot be
//! [inspected](crate::queue::InspectQueue) has none. A queue may stop counting at some number, as `defer-sqlx` does at 10,000
//! jobs of a name and state, or earlier. While a queue is unreachable, its gauges keep their values, and
//! `defer_queue_failures_total` grows.
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
//! metrics::record_gauges([&runner]).await; // where `/metrics` is answered
//! assert!(exporter.render().contains("outcome=\"succeeded\"} 1"));
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use metrics::gauge;

use super::{queue_gauges::QueueGauges, runner::Runner};
pub use crate::observe::meter::BUCKETS;
use crate::observe::meter::{MAX_RUNNING, OLDEST, PENDING, RUNNING};

/// Sets the gauges to the sums over these runners, and the gauges of their queues.
///
/// A queue is asked at most once a second, regardless of the number of callers, and in a task of its own: this waits at most a
/// quarter of a second for its answer. If two queues of a process have jobs with the same names, the gauges show the last one
/// asked.
///
/// # Cancel safety
///
/// Cancel safe. If dropped, some gauges may be set.
pub fn record_gauges<'a>(runners: impl IntoIterator<Item = &'a Runner>) -> impl Future<Output = ()> + Send {
    let runners: Vec<Runner> = runners.into_iter().cloned().collect();
    record(&runners);
    async move {
        for runner in &runners {
            let config = &runner.engine.config;
            if let (Some(gauges), Some(queue)) = (config.parts.get::<Arc<QueueGauges>>(), &config.queue) {
                gauges.refresh(queue).await;
            }
        }
    }
}

fn record(runners: &[Runner]) {
    let (mut pending, mut running, mut max_running, mut oldest) = (0, 0, 0, 0.0_f64);
    for runner in runners {
        let types = &runner.engine.config.types;
        runner.count_by_name().into_keys().for_each(|name| types.add(name, false));
        types.create_again();
        let stats = runner.stats();
        pending += stats.pending;
        running += stats.running;
        max_running += runner.engine.config.max_running;
        oldest = oldest.max(runner.oldest_pending().unwrap_or_default().as_secs_f64());
    }
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    {
        gauge!(PENDING).set(pending as f64);
        gauge!(RUNNING).set(running as f64);
        gauge!(MAX_RUNNING).set(max_running as f64);
    }
    gauge!(OLDEST).set(oldest);
}

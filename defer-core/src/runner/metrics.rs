//! Metrics of jobs, through the [`metrics`](https://docs.rs/metrics) facade. Requires the feature `metrics`.
//!
//! With this feature, every runner counts its jobs. Install a recorder, such as `metrics-exporter-prometheus`, before you build
//! the first runner, so that it receives the descriptions of the metrics.
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
//! Each visit of a job counts once in `defer_jobs_total`, as in [`Stats`](crate::Stats): a durable job that goes through its queue counts
//! as `queued`, and again when a worker has run it. Labels never contain a job's fields or its error. `name` is the name of the
//! job type; a closure is named after the function that it is in.
//!
//! Call [`record_gauges`] to set the gauges, ideally just before each scrape. Configure [`BUCKETS`] for the histograms: most
//! exporters have no default buckets.
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

use metrics::gauge;

use super::runner::Runner;
pub use crate::observe::meter::BUCKETS;
use crate::observe::meter::{OLDEST, PENDING, RUNNING};

/// Sets the gauges to the sums over these runners.
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

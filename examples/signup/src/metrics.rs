//! Serves `GET /metrics`: the jobs, in the format of Prometheus.

use axum::{Router, routing::get};
use defer_axum::{Runner, metrics};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Installs the exporter. Do it once, before the runner is built.
///
/// # Errors
///
/// If the process has an exporter already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let of_jobs = Matcher::Prefix("defer_job_".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(of_jobs, &metrics::BUCKETS)?.install_recorder()
}

/// Returns the route.
pub fn routes(exporter: PrometheusHandle, runner: Runner) -> Router {
    let render = async move || {
        metrics::record_gauges([&runner]).await;
        exporter.run_upkeep();
        exporter.render()
    };
    Router::new().route("/metrics", get(render))
}

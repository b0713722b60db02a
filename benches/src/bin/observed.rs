//! `observed BY CASE N`: sends N requests whose jobs are observed. callgrind counts the instructions.
//!
//! BY is `nobody`, a `hook` that does nothing, `fmt` of tracing-subscriber at `info`, `metrics` for Prometheus (with that
//! feature), the `page` without a viewer, or `all` of them except the hook. `observed look CASE N` sends one request, and renders
//! the page N times.

use std::io;

use axum::{Router, body::Body, extract::Request};
use defer_axum::{Dashboard, Runner};
use defer_benches::{Case, Drive, Driver};
use http_body_util::BodyExt;
use tower::ServiceExt;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [by, case, times] = &args[..] else { panic!("who observes, a case, and how many requests") };
    let case: Case = case.parse().expect("a case");
    let times = times.parse().expect("a number");
    let is = |what: &str| by == what || by == "all" && what != "hook" && what != "look";
    #[cfg(feature = "metrics")]
    if is("metrics") {
        metrics_exporter_prometheus::PrometheusBuilder::new()
            .install_recorder()
            .expect("there is no other recorder");
    }
    if is("fmt") {
        tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(io::sink).init();
    }
    let runner = Runner::default();
    if is("hook") {
        runner.on_event(|_| {});
    }
    let dashboard = (is("page") || is("look")).then(|| Dashboard::new(&runner));
    let mut driver = Driver::on(case, &runner);
    if is("look") {
        driver.run(1);
        look(&dashboard.expect("it is there").into_router(), times);
    } else {
        driver.run(times);
    }
}

fn look(page: &Router, times: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..times {
            let request = Request::new(Body::empty());
            let response = page.clone().oneshot(request).await.expect("a router does not fail");
            assert!(response.status().is_success());
            let body = response.into_body().collect().await.expect("the body does not fail");
            assert!(body.to_bytes().ends_with(b"</html>"));
        }
    });
}

//! The log names the user who acted on the dashboard. This has its own test binary, because callsites are enabled per process.

use axum::{Extension, Router, body::Body, http::Request};
use defer_axum::{Dashboard, JobId, Runner, dashboard::Operator};
use defer_tests::Traced;
use tower::ServiceExt;

async fn cancel(router: &Router, id: JobId) {
    let request = Request::post("/jobs")
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("do=cancel&id={id}")))
        .expect("a request");
    router.clone().oneshot(request).await.expect("a router does not fail");
}

#[tokio::test]
async fn who_acted_and_on_what_is_logged() {
    let (traced, _guard) = Traced::start(tracing::Level::INFO);
    let runner = Runner::default();
    let dashboard: Router = Dashboard::new(&runner).enable_actions().into();
    let known = Router::new().nest("/jobs", dashboard.clone()).layer(Extension(Operator("ada".to_owned())));
    let unknown = Router::new().nest("/jobs", dashboard);
    let id = JobId::unique();
    cancel(&known, id).await;
    cancel(&unknown, id).await;
    let text = traced.text();
    for operator in ["ada", "unknown"] {
        let has = ["INFO", &*format!("operator=\"{operator}\""), "verb=Cancel", &*id.to_string(), "Unknown"];
        assert!(text.lines().any(|line| has.iter().all(|part| line.contains(part))), "{operator}: {text}");
    }
}

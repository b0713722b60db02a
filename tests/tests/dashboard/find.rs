//! Finding one job, or the jobs of a request.

use axum::{Router, http::StatusCode, routing::post};
use defer_axum::{
    Dashboard, DeferLayer, Deferrable, Job, JobContext, JobError, JobId, JobResult, Runner, scope,
};
use defer_tests::{By, Tcp, in_time};
use serde_json::{Value, json};

use crate::{
    Fails, Good, data, page,
    queue::{Answers, Fake},
    serve,
};

/// Fails, and is retried after 40 s.
#[derive(Deferrable)]
#[defer(tries = 3)]
struct Later;

impl Job for Later {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg("not yet").retry_after(std::time::Duration::from_secs(40)))
    }
}

/// Returns the facts about a job.
fn facts(job: &Value) -> Vec<(&str, &str)> {
    let facts = job["facts"].as_array().expect("facts");
    facts
        .iter()
        .map(|fact| (fact["what"].as_str().expect("a text"), fact["text"].as_str().expect("a text")))
        .collect()
}

#[tokio::test]
async fn a_job_and_those_of_its_request_are_found_by_their_ids() {
    let runner = Runner::default();
    let handler = async || {
        Good::defer();
        Fails::defer("refused");
        Later::defer();
        StatusCode::CREATED
    };
    let dashboard: Router = Dashboard::new(&runner).into();
    let routes = Router::new().route("/signup", post(handler)).nest("/jobs", dashboard);
    let layer = DeferLayer::new(runner.clone()).capture_request_headers(["x-request-id"]);
    let server = By::Axum.serve_app(routes.layer(layer), &runner).await;
    let mut client = Tcp::connect(server.addr).await;
    client
        .send("POST /signup HTTP/1.1\r\nhost: test\r\nx-request-id: r-17\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(client.reply("POST").await.status, 201);
    in_time(async {
        while runner.delayed(1).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let of_request = data(&server, "/jobs/data?find=r-17").await["found"].clone();
    let jobs = of_request["jobs"].as_array().expect("jobs");
    let mut names: Vec<_> = jobs.iter().map(|job| job["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["Fails", "Good", "Later"]);

    let of = |name: &str| jobs.iter().find(|job| job["name"] == name).expect("it is there")["id"].clone();
    let found = async |name: &str| {
        let path = format!("/jobs/data?find=%20{}", of(name).as_str().expect("an id"));
        data(&server, &path).await["found"]["jobs"][0].clone()
    };
    let later = found("Later").await;
    let state = later["state"].as_str().expect("a state");
    assert!(state.starts_with("between two attempts, next in "), "{state}");
    for fact in [
        ("Attempts", "1 of 3"),
        ("Request", "POST /signup"),
        ("Request id", "r-17"),
        ("Response", "201, finished"),
    ] {
        assert!(facts(&later).contains(&fact), "{fact:?} in {later}");
    }
    assert_eq!(later["errors"], json!([{ "attempt": 1, "error": "not yet" }]));
    let failed = found("Fails").await;
    assert_eq!((&failed["state"], &failed["errors"][0]["error"]), (&json!("failed"), &json!("refused")));

    // The page of one job shows its facts and links to its request.
    let html = page(&server, &format!("/jobs?find={}", of("Later").as_str().expect("an id"))).await;
    assert!(html.contains("1 of 3") && html.contains("href=\"?find=r-17\""), "{html}");
    assert!(!html.contains("id=\"types\""), "and no other sections: {html}");
}

#[tokio::test]
async fn a_durable_job_is_found_in_the_queue_whichever_process_has_it() {
    let queue = Fake::new(Answers::Well);
    let runner = Runner::builder().queue(queue.clone()).build();
    let server = serve(Router::new().nest("/jobs", Dashboard::new(&runner).into()), &runner).await;
    let found = data(&server, &format!("/jobs/data?find={}", queue.failed)).await["found"]["jobs"][0].clone();
    assert_eq!(found["state"], "failed in the queue");
    for fact in [
        ("Attempts", "3"),
        ("Request", "POST /signup"),
        ("Trace", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("Process", "machine-2, process 4711"),
    ] {
        assert!(facts(&found).contains(&fact), "{fact:?} in {found}");
    }
    assert_eq!(found["errors"][0]["error"], "mailbox <full>");
}

#[tokio::test]
async fn what_nobody_knows_is_said_to_be_unknown_and_a_hidden_error_stays_hidden() {
    let runner = Runner::default();
    let dashboard = Dashboard::new(&runner).hide_errors();
    let server = serve(Router::new().nest("/jobs", dashboard.into()), &runner).await;
    for id in [JobId::unique().to_string(), "%3Cscript%3E".to_owned()] {
        let html = page(&server, &format!("/jobs?find={id}")).await;
        assert!(html.contains("Nothing is known of") && !html.contains("<script>"), "{html}");
    }
    let id = scope(&runner, async { Fails::defer("marker-4711").id() }).await;
    in_time(runner.idle()).await;
    let html = page(&server, &format!("/jobs?find={id}")).await;
    assert!(html.contains("Fails") && !html.contains("marker-4711"), "{html}");
}

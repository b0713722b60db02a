//! The runs on the page.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use defer_axum::{
    Dashboard, Deferrable, Delivery, Job, JobContext, JobError, JobId, JobResult, ResponseInfo, Runner,
    queue::Resume, scope,
};
use defer_tests::{By, Tcp, in_time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{Fails, Good, Third, data, every_kind, names, page, run_every_kind, serve};

#[tokio::test]
async fn its_figures_are_the_runners() {
    for by in By::BOTH {
        let runner = Runner::default();
        let server = every_kind(by, &runner, Dashboard::new(&runner)).await;
        for _ in 0..3 {
            run_every_kind(&server).await;
        }
        let (data, stats) = (data(&server, "/jobs/data").await, runner.stats());
        let expected = json!({
            "deferred": stats.deferred, "taken": stats.taken, "succeeded": stats.succeeded, "failed": stats.failed,
            "retried": stats.retried, "skipped": stats.skipped, "cancelled": stats.cancelled,
            "shed": stats.shed, "queued": stats.queued, "abandoned": stats.abandoned,
        });
        assert_eq!(data["now"]["totals"], expected);
        assert_eq!((stats.deferred, stats.succeeded, stats.failed, stats.retried), (21, 6, 9, 6));
        // The figures of the types add up to the same.
        for (figure, total) in expected.as_object().expect("an object") {
            let types = data["types"].as_array().expect("an array");
            let of_types: u64 = types.iter().map(|row| row[figure].as_u64().expect("a number")).sum();
            assert_eq!(Some(of_types), total.as_u64(), "{figure}");
        }
        assert_eq!(
            names(&data["types"]),
            ["Endless", "Fails", "Panics", "Good", "Third"],
            "failing ones first"
        );
        let third = &data["types"][4];
        assert_eq!((&third["deferred"], &third["retried"]), (&json!(3), &json!(6)));
        assert!(third["run_seconds"]["p50"].as_f64() <= third["run_seconds"]["p99"].as_f64());
        let last: u64 = third["last_minutes"]
            .as_array()
            .expect("slots")
            .iter()
            .map(|slot| slot["succeeded"].as_u64().expect("a number") + slot["retried"].as_u64().unwrap())
            .sum();
        assert_eq!(last, 9, "every attempt is in the plot");
        let in_day =
            |how: &str| data["day"][how].as_array().expect("minutes").iter().map(Value::as_u64).sum();
        let in_day: [Option<u64>; 3] = ["succeeded", "failed", "retried"].map(in_day);
        assert_eq!(in_day, [Some(6), Some(9), Some(6)], "and in the day");
    }
}

#[tokio::test]
async fn a_run_has_its_attempts_errors_times_and_the_response_that_it_followed() {
    for by in By::BOTH {
        let runner = Runner::default();
        let handler = async |_: Path<u32>| {
            Third::defer();
            StatusCode::CREATED
        };
        let routes =
            Router::new().route("/items/{id}", get(handler)).nest("/jobs", Dashboard::new(&runner).into());
        let server = by.serve(routes, &runner).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/items/7").await.status, 201);
        in_time(runner.idle()).await;
        let data = data(&server, "/jobs/data").await;
        // Several attempts make one run.
        assert_eq!(names(&data["runs"]), ["Third"]);
        let run = &data["runs"][0];
        let delivery = if by.whole() == Delivery::Sent { "sent" } else { "finished" };
        assert_eq!(
            (&run["outcome"], &run["attempt"], &run["route"], &run["status"], &run["delivery"]),
            (&json!("succeeded"), &json!(3), &json!("GET /items/{id}"), &json!(201), &json!(delivery))
        );
        let errors = json!([{ "attempt": 1, "error": "failure 1" }, { "attempt": 2, "error": "failure 2" }]);
        assert_eq!(run["errors"], errors);
        assert!(run["wait_seconds"].is_f64() && run["run_seconds"].is_f64(), "{run}");
        let html = page(&server, "/jobs").await;
        assert!(html.contains("<code>GET /items/{id}</code> 201"), "{html}");
        assert!(html.contains("<span>attempt 2:</span> failure 2"), "{html}");
    }
}

/// Fails, and its queue retries it.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 3)]
struct FailsInQueue;

impl Job for FailsInQueue {
    async fn run(&self, cx: &JobContext) -> JobResult {
        Err(JobError::msg(format!("failure {}", cx.attempt())))
    }
}

#[tokio::test]
async fn a_job_from_a_queue_is_one_run_with_the_errors_of_all_its_attempts() {
    let runner = Runner::default();
    let server = serve(Router::new().nest("/jobs", Dashboard::new(&runner).into()), &runner).await;
    let id = JobId::unique();
    for attempts in 0..3 {
        // Resumes one attempt after another, as a worker does.
        let metadata = [("route".to_owned(), "POST /items/{id}".to_owned())].into();
        let mut resume = Resume::new(id, attempts, metadata);
        let died = ResponseInfo::new(Delivery::Unknown).with_status(Some(StatusCode::CREATED));
        resume.response = Some(died);
        runner.resume(FailsInQueue, resume).expect("a runtime").ran().await;
        let data = data(&server, "/jobs/data").await;
        assert_eq!(names(&data["runs"]), ["FailsInQueue"], "one run, after {} attempts", attempts + 1);
        let run = &data["runs"][0];
        assert_eq!((&run["attempt"], &run["route"]), (&json!(attempts + 1), &json!("POST /items/{id}")));
        assert_eq!(run["outcome"], if attempts < 2 { "retrying" } else { "failed" });
        assert_eq!(run["errors"].as_array().map(Vec::len), Some(attempts as usize + 1), "{run}");
    }
    let data = data(&server, "/jobs/data").await;
    for totals in [&data["now"]["totals"], &data["types"][0]] {
        let totals = ["deferred", "taken", "queued", "failed"].map(|figure| &totals[figure]);
        assert_eq!(totals, [0, 3, 2, 1].map(Value::from).each_ref());
    }
    let html = page(&server, "/jobs").await;
    assert!(html.contains("<dt>taken</dt><dd>3</dd>") && html.contains("201 (its process died)"), "{html}");
}

#[tokio::test]
async fn runs_are_chosen_by_type_and_outcome_and_types_are_sorted() {
    let runner = Runner::default();
    let server = every_kind(By::Defer, &runner, Dashboard::new(&runner)).await;
    run_every_kind(&server).await;
    let chosen = async |query: &str| {
        let data = data(&server, &format!("/jobs/data{query}")).await;
        let mut names: Vec<_> = names(&data["runs"]).into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(chosen("").await, ["Endless", "Fails", "Good", "Good", "Good", "Panics", "Third"]);
    assert_eq!(chosen("?outcome=succeeded").await, ["Good", "Third"]);
    assert_eq!(chosen("?outcome=failed").await, ["Endless", "Fails", "Panics"]);
    assert_eq!(chosen("?outcome=other").await, ["Good", "Good"]);
    assert_eq!(chosen("?outcome=succeeded&name=Third").await, ["Third"]);
    assert_eq!(chosen("?name=Unknown").await, [""; 0]);

    let sorted = async |query: &str| {
        let data = data(&server, &format!("/jobs/data{query}")).await;
        names(&data["types"]).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let by_name = ["Endless", "Fails", "Good", "Panics", "Third"];
    assert_eq!(sorted("").await, ["Endless", "Fails", "Panics", "Good", "Third"], "failing ones first");
    assert_eq!(sorted("?sort=name").await, by_name);
    assert_eq!(
        sorted("?sort=name&order=descending").await,
        by_name.map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    assert_eq!(sorted("?sort=deferred").await[0], "Good");
    assert_eq!(sorted("?sort=retried").await[0], "Third");
    assert_eq!(sorted("?sort=deferred&order=ascending").await[4], "Good");
    let html = page(&server, "/jobs?sort=retried&outcome=failed").await;
    assert!(
        html.contains(
            "aria-sort=\"descending\"><a href=\"?outcome=failed&#38;sort=retried&#38;order=ascending\""
        ),
        "{html}"
    );
}

/// An error that must not break the page.
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("on purpose")
    }
}

impl fmt::Debug for Unprintable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unprintable")
    }
}

impl Error for Unprintable {}

#[derive(Deferrable)]
struct FailsUnprintably;

impl Job for FailsUnprintably {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::from(Unprintable))
    }
}

#[tokio::test]
async fn its_memory_is_bounded_and_a_rare_type_outlives_a_common_one() {
    let runner = Runner::default();
    let server = serve(Router::new().nest("/jobs", Dashboard::new(&runner).into()), &runner).await;
    scope(&runner, async { FailsUnprintably::defer() }).await;
    for _ in 0..100 {
        let many = async {
            for _ in 0..10 {
                // Longer than what is kept, with characters of more than one byte.
                Fails::defer("ß".repeat(10_000));
                Good::defer();
            }
        };
        scope(&runner, many).await;
        in_time(runner.idle()).await;
    }
    let data_of = async |query: &str| data(&server, &format!("/jobs/data{query}")).await;
    let all = data_of("").await;
    assert_eq!(all["now"]["totals"]["deferred"], 2_001);
    assert_eq!(all["runs"].as_array().map(Vec::len), Some(50));
    let failed = data_of("?name=Fails").await;
    assert_eq!(failed["runs"].as_array().map(Vec::len), Some(30));
    let error = failed["runs"][0]["errors"][0]["error"].as_str().expect("an error");
    assert_eq!(error, format!("{}…", "ß".repeat(250)));
    let rare = data_of("?name=FailsUnprintably").await;
    assert_eq!(rare["runs"][0]["errors"][0]["error"], "the error panicked while it was formatted");
}

/// The clock is paused: sleeping only lets time pass.
#[tokio::test(start_paused = true)]
async fn a_burst_is_kept_whole_and_a_stream_as_a_sample_of_its_last_seconds() {
    let runner = Runner::default();
    let router: Router = Router::new().nest("/jobs", Dashboard::new(&runner).into());
    let run = async |number| {
        let ids = scope(&runner, async { Vec::from_iter((0..number).map(|_| Good::defer().id())) }).await;
        runner.idle().await;
        ids
    };
    let kept = async || {
        let body = defer_tests::ask(&router, "/jobs/data?name=Good").await.into_body();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let data: Value = serde_json::from_slice(&body).expect("JSON");
        let runs = data["runs"].as_array().expect("runs").iter();
        Vec::from_iter(
            runs.rev().map(|run| run["id"].as_str().expect("an id").parse::<JobId>().expect("an id")),
        )
    };
    for _ in 0..2 {
        let burst = run(20).await;
        assert_eq!(kept().await, burst);
        // The clock is paused: this takes no time, and the burst becomes as old as that.
        tokio::time::sleep(Duration::from_secs(10)).await;
    }

    let mut stream = Vec::new();
    for _ in 0..1_000 {
        stream.extend(run(1).await);
        // The clock is paused: this is the pace of the stream.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let kept = kept().await;
    let places =
        Vec::from_iter(kept.iter().map(|id| stream.iter().position(|job| job == id).expect("of the stream")));
    // One every half second, of twenty jobs a second.
    let sample = Vec::from_iter((0..20).map(|number| places[0] + number * 10));
    assert_eq!(places, sample);
    assert!(places[19] >= 990, "the latest: {places:?}");
}

#[tokio::test]
async fn a_dashboard_that_came_later_counts_from_then_and_says_since_when() {
    let runner = Runner::default();
    scope(&runner, async { Good::defer() }).await;
    in_time(runner.idle()).await;
    let server = serve(Router::new().nest("/jobs", Dashboard::new(&runner).into()), &runner).await;
    let data_of = async || data(&server, "/jobs/data").await;
    let (now, types) = (data_of().await["now"].clone(), data_of().await["types"].clone());
    assert_eq!((&now["totals"]["succeeded"], types), (&json!(1), json!([])));
    assert!(now["since"].as_str() <= now["at"].as_str(), "{now}");
}

/// Runs until it is allowed to end.
#[derive(Deferrable)]
#[defer(name = "Long")]
struct Long(Arc<Semaphore>);

impl Job for Long {
    async fn run(&self, _: &JobContext) -> JobResult {
        self.0.acquire().await?.forget();
        Ok(())
    }
}

#[tokio::test]
async fn what_runs_now_and_how_full_the_bounds_are_is_shown() {
    let runner = Runner::builder().max_running(2).max_pending(10).build();
    let may_end = Arc::new(Semaphore::new(0));
    let jobs = may_end.clone();
    let handler = async move || drop(Long::defer(jobs.clone()));
    let routes = Router::new().route("/long", get(handler)).nest("/jobs", Dashboard::new(&runner).into());
    let server = By::Defer.serve(routes, &runner).await;
    for _ in 0..5 {
        page(&server, "/long").await;
    }
    let data = in_time(async {
        loop {
            let data = data(&server, "/jobs/data").await;
            if data["running"].as_array().map(Vec::len) == Some(2) {
                break data;
            }
            tokio::task::yield_now().await;
        }
    });
    let data = data.await;
    let now = &data["now"];
    assert_eq!(
        [&now["running"], &now["max_running"], &now["pending"], &now["waiting"], &now["max_pending"]],
        [2, 2, 3, 3, 10].map(Value::from).each_ref()
    );
    assert!(now["oldest_pending_seconds"].is_f64(), "{now}");
    assert_eq!(data["running"][0]["route"], "GET /long");
    assert!(data["running"][0]["seconds"].as_f64() >= data["running"][1]["seconds"].as_f64());
    assert_eq!(data["running"][0]["is_long"], false, "not yet");
    may_end.add_permits(5);
    in_time(runner.idle()).await;
    assert!(page(&server, "/jobs").await.contains("Nothing is running."));
}

#[tokio::test]
async fn a_panic_is_a_failure_with_its_place_in_the_source() {
    let runner = Runner::default();
    let server = every_kind(By::Defer, &runner, Dashboard::new(&runner)).await;
    run_every_kind(&server).await;
    let failures = data(&server, "/jobs/data").await["failures"].clone();
    let failures = failures.as_array().expect("an array");
    let of = |name: &str| failures.iter().find(|group| group["name"] == name).expect("it is there");
    let error = of("Panics")["error"].as_str().expect("a text");
    assert!(error.contains("on purpose"), "{error}");
    assert!(error.contains("tests/dashboard/main.rs:"), "its place: {error}");
    assert_eq!(of("Fails")["failed"], 1);
    assert_eq!(of("Third")["retried"], 1);
}

//! The page's view of the queue.

use axum::Router;
use defer_axum::{
    BoxError, BoxFuture, Dashboard, Deferrable, Job, JobContext, JobId, JobResult, JobStatus, Runner,
    queue::{Envelope, FailedJob, InspectQueue, Queue, QueueCounts},
    scope,
};
use defer_tests::{Server, in_time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    data, page,
    queue::{Answers, Fake},
    serve,
};

async fn serve_with(queue: &Fake, dashboard: impl FnOnce(Dashboard) -> Dashboard) -> Server {
    let runner = Runner::builder().queue(queue.clone()).build();
    let dashboard = dashboard(Dashboard::new(&runner));
    serve(Router::new().nest("/jobs", dashboard.into()), &runner).await
}

/// Returns the facts at the top of the page, the worst first.
async fn facts(server: &Server) -> Vec<String> {
    let data = data(server, "/jobs/data").await;
    let facts = data["health"]["facts"].as_array().expect("facts");
    let text = |fact: &Value| {
        format!("{}: {}", fact["level"].as_str().expect("a level"), fact["text"].as_str().expect("a text"))
    };
    facts.iter().map(text).collect()
}

#[tokio::test]
async fn the_state_of_the_queue_is_at_the_top_the_worst_first() {
    let queue = Fake::new(Answers::Well);
    let server = serve_with(&queue, |dashboard| dashboard).await;
    let facts = facts(&server).await;
    assert!(
        facts[0].starts_with("bad: Due for more than a minute, and no worker takes them: Send<Sms>"),
        "{facts:?}"
    );
    assert_eq!(
        facts[1..],
        [
            "bad: 16 due in the queue, the oldest for 3 min.",
            "warning: 1 alive, 1 process silent for too long."
        ]
    );
}

#[tokio::test]
async fn failed_jobs_are_groups_and_what_comes_and_who_works_is_shown() {
    let queue = Fake::new(Answers::Well);
    let server = serve_with(&queue, |dashboard| dashboard).await;
    let data = data(&server, "/jobs/data").await;
    let group = &data["failures"][0];
    assert_eq!(
        (&group["name"], &group["error"], &group["stored"]),
        (&json!("Send<Mail>"), &json!("mailbox <full>"), &json!(12))
    );
    assert_eq!(data["coming"][0]["attempt"], 2);
    let left = data["coming"][0]["in_seconds"].as_f64().unwrap();
    assert!(left > 0.0 && left <= 40.0, "{left} s are left of 40 by now");
    assert_eq!(data["processes"][0]["host"], "machine-1");
    let queued = &data["queue"];
    assert_eq!(queued["pending"], 17);
    assert_eq!(queued["failed_jobs"].as_array().map(Vec::len), Some(20));
    assert_eq!(queued["unclaimed"].as_array().map(Vec::len), Some(20));

    let html = page(&server, "/jobs").await;
    for part in [
        "<dd>17</dd>",
        "mailbox &#60;full&#62;",
        "12 in the queue",
        "Send&#60;Mail&#62;",
        "after 3 attempts",
        "16 due, ",
        "in 40 s",
        "machine-2, process 4711",
        "silent for 60 s",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(html.len() < 60_000, "{} bytes, whatever the queue says", html.len());

    let server = serve_with(&queue, |dashboard| dashboard.hide_errors().enable_actions()).await;
    for path in ["/jobs".to_owned(), "/jobs/data".to_owned(), format!("/jobs?find={}", queue.failed)] {
        let text = page(&server, &path).await;
        assert!(text.contains("Mail") && !text.contains("mailbox"), "{path}: {text}");
    }
}

/// A job for the queue.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
struct Durable;

impl Job for Durable {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

#[tokio::test]
async fn an_outage_is_said_with_its_begin_and_what_ran_in_memory_meanwhile() {
    let queue = Fake::new(Answers::Well);
    let runner = Runner::builder().queue(queue.clone()).build();
    let server = serve(Router::new().nest("/jobs", Dashboard::new(&runner).into()), &runner).await;
    queue.turn(Answers::WithAnError);
    for _ in 0..3 {
        scope(&runner, async { Durable::defer() }).await;
    }
    in_time(runner.idle()).await;
    let data = data(&server, "/jobs/data").await;
    let facts = data["health"]["facts"].as_array().expect("facts");
    assert!(facts[0]["text"].as_str().is_some_and(|text| text.contains("could not be asked")), "{facts:?}");
    assert!(facts[0]["at"].is_string() && data["queue"]["unreachable_since"].is_string(), "{facts:?}");
    assert_eq!(facts[1]["text"], "3 jobs ran in memory meanwhile.");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_does_not_answer_keeps_the_page_waiting_for_five_seconds_only() {
    struct Silent;

    impl Queue for Silent {
        fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
            Box::pin(std::future::pending())
        }

        fn inspect(&self) -> Option<&dyn InspectQueue> {
            Some(self)
        }
    }

    impl InspectQueue for Silent {
        fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
            Box::pin(std::future::pending())
        }

        fn failed(&self, _: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
            Box::pin(std::future::pending())
        }

        fn status(&self, _: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
            Box::pin(std::future::pending())
        }

        fn retry(&self, _: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
            Box::pin(std::future::pending())
        }
    }

    let runner = Runner::builder().queue(Silent).build();
    let router: Router = Router::new().nest("/jobs", Dashboard::new(&runner).into());
    let began = tokio::time::Instant::now();
    let response = defer_tests::ask(&router, "/jobs").await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let html = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a page");
    let html = String::from_utf8_lossy(&html);
    assert!(html.contains("The queue did not answer within 5 s."), "{html}");
    assert!(html.contains("Nothing is running."), "the rest of the page is there: {html}");
}

//! A client that follows a job through server-sent events.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{future::pending, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use defer_axum::{
    BoxError, BoxFuture, Cancel, JobError, JobId, JobStatus, Runner, defer_fn,
    queue::{Envelope, FailedJob, InspectQueue, Queue, QueueCounts},
    scope, watch_sse,
};
use defer_tests::{By, Server, Tcp, in_time};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

async fn watch(State(runner): State<Runner>, Path(id): Path<JobId>) -> Response {
    watch_sse(&runner, id).await
}

/// Serves `/defer`. Its job reports each value sent as its progress, ends at "done", and fails once the sender is dropped.
async fn serve() -> (Server, mpsc::Sender<Value>) {
    let runner = Runner::builder().keep_outcomes(10).build();
    let (say, said) = mpsc::channel(1);
    let said = std::sync::Arc::new(tokio::sync::Mutex::new(said));
    let defer = async move || {
        let said = said.clone();
        let job = defer_fn(move |cx| async move {
            while let Some(value) = said.lock().await.recv().await {
                if value == "done" {
                    return Ok(());
                }
                cx.set_progress(value)?;
            }
            Err(JobError::msg("the password is 1234"))
        });
        job.id().to_string()
    };
    let routes = Router::new().route("/defer", get(defer)).route("/watch/{id}", get(watch));
    (By::Defer.serve(routes.with_state(runner.clone()), &runner).await, say)
}

/// Defers the job, and requests its events.
async fn follow(server: &Server) -> (JobId, Tcp) {
    let mut client = Tcp::connect(server.addr).await;
    let id = client.get("/defer").await.text();
    client.send_get(&format!("/watch/{id}")).await;
    in_time(client.read_until("\"running\"")).await;
    (id.parse().unwrap(), client)
}

/// Returns the data of the remaining events, once the stream has ended.
async fn data(mut client: Tcp) -> Vec<Value> {
    let reply = in_time(client.reply("GET")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("content-type: text/event-stream"), "{}", reply.head);
    let text = reply.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn a_client_hears_how_the_job_stands_and_each_change_and_then_the_stream_ends() {
    let (server, say) = serve().await;
    let (_, mut client) = follow(&server).await;
    say.send(json!({"done": 1, "name": "line\r\nbreak"})).await.unwrap();
    in_time(client.read_until("\"done\":1")).await;
    say.send(json!("done")).await.unwrap();
    let heard = data(client).await;
    let expected = [
        json!({"status": "running", "progress": {"done": 1, "name": "line\r\nbreak"}, "final": false}),
        json!({"status": "succeeded", "final": true}),
    ];
    assert!(heard.ends_with(&expected), "{heard:?}");
    assert!(matches!(heard[0]["status"].as_str(), Some("pending" | "running")), "{heard:?}");
    server.stop().await;
}

#[tokio::test]
async fn no_error_is_sent() {
    let (server, say) = serve().await;
    let (_, client) = follow(&server).await;
    drop(say);
    let heard = data(client).await;
    assert_eq!(heard.last(), Some(&json!({"status": "failed", "final": true})));
    server.stop().await;
}

#[tokio::test]
async fn a_client_hears_that_its_job_was_cancelled() {
    let (server, _say) = serve().await;
    let (id, client) = follow(&server).await;
    assert_eq!(server.runner.cancel(id).await, Cancel::Asked);
    assert_eq!(data(client).await.last(), Some(&json!({"status": "cancelled", "final": true})));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_the_shutdown_is_announced() {
    let (server, say) = serve().await;
    let (_, client) = follow(&server).await;
    let stopped = tokio::spawn(server.stop());
    let heard = data(client).await;
    assert_eq!(heard.last(), Some(&json!({"status": "running", "final": false})));
    say.send(json!("done")).await.unwrap();
    assert_eq!(in_time(stopped).await.unwrap().completed, 1);
}

#[tokio::test]
async fn an_unknown_job_is_not_found() {
    let (server, _say) = serve().await;
    let mut client = Tcp::connect(server.addr).await;
    let reply = client.get(&format!("/watch/{}", JobId::unique())).await;
    assert_eq!((reply.status, reply.text().as_str()), (404, "no such job, or no longer"));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_after_the_shutdown_hears_how_the_job_ended() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let id = scope(&runner, async { defer_fn(|_| async {}).id() }).await;
    runner.shutdown(Duration::from_secs(60)).await;
    let answer = in_time(watch_sse(&runner, id)).await;
    let body = in_time(answer.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(&body[..], b"data: {\"status\":\"succeeded\",\"final\":true}\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_comment_keeps_the_connection_of_a_job_that_takes_long() {
    let runner = Runner::builder().keep_outcomes(10).build();
    let id = scope(&runner, async { defer_fn(|_| pending::<()>()).id() }).await;
    let mut body = watch_sse(&runner, id).await.into_body();
    let began = Instant::now();
    loop {
        let frame = in_time(body.frame()).await.unwrap().unwrap().into_data().unwrap();
        if frame.starts_with(b":") {
            break;
        }
    }
    assert_eq!(began.elapsed(), Duration::from_secs(15));
}

/// A queue that cannot be reached.
struct Away;

impl Queue for Away {
    fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async { Err("away".into()) })
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl InspectQueue for Away {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        Box::pin(async { Err("away".into()) })
    }

    fn failed(&self, _: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        Box::pin(async { Err("away".into()) })
    }

    fn status(&self, _: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        Box::pin(async { Err("away".into()) })
    }

    fn retry(&self, _: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(async { Err("away".into()) })
    }
}

#[tokio::test]
async fn a_client_is_told_to_come_back_if_the_shutdown_comes_before_the_queue_answers() {
    let runner = Runner::builder().keep_outcomes(10).queue(Away).build();
    runner.shutdown(Duration::from_secs(60)).await;
    let answer = in_time(watch_sse(&runner, JobId::unique())).await;
    assert_eq!(answer.status(), 503);
}

//! Jobs for a queue, over a socket: they reach the queue however the request ends. If there is an answer, they reach it
//! first.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use defer_axum::{
    BoxError, BoxFuture, Defer, Deferrable, Job, JobContext, JobResult, Runner,
    queue::{Envelope, Queue},
};
use defer_tests::{By, Feed, Tcp, in_time};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tower_http::catch_panic::CatchPanicLayer;

/// Stores what is pushed, one push for each turn.
#[derive(Clone)]
struct Kept {
    jobs: Arc<Mutex<Vec<Envelope>>>,
    turns: Arc<Semaphore>,
    asked: Arc<Semaphore>,
}

impl Kept {
    fn new(turns: usize) -> Self {
        Self {
            jobs: Arc::default(),
            turns: Arc::new(Semaphore::new(turns)),
            asked: Arc::new(Semaphore::new(0)),
        }
    }

    fn routes(&self) -> Vec<String> {
        self.jobs
            .lock()
            .expect("no test panics here")
            .iter()
            .map(|job| job.metadata["route"].clone())
            .collect()
    }
}

impl Queue for Kept {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            self.asked.add_permits(1);
            self.turns.acquire().await?.forget();
            self.jobs.lock().expect("no test panics here").extend(jobs);
            Ok(())
        })
    }
}

#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
struct Queued;

impl Job for Queued {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

#[tokio::test]
async fn the_answer_comes_when_the_queue_has_the_job_and_the_job_has_its_route() {
    for by in By::BOTH {
        let queue = Kept::new(0);
        let runner = Runner::builder().queue(queue.clone()).build();
        let sign_up = post(async || drop(Queued::defer()));
        let server = by.serve(Router::new().route("/users/{id}", sign_up), &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send("POST /users/7?token=x HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await;
        in_time(queue.asked.acquire()).await.expect("it is open").forget();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!client.has("HTTP/1.1"), "nothing was answered yet");
        queue.turns.add_permits(1);
        assert_eq!(client.reply("POST").await.status, 200);
        assert_eq!(queue.routes(), ["POST /users/{id}"]);
    }
}

#[tokio::test]
async fn jobs_of_a_handler_that_panics_and_of_a_stream_reach_the_queue() {
    for by in By::BOTH {
        let queue = Kept::new(10);
        let runner = Runner::builder().queue(queue.clone()).build();
        let (feed, body) = Feed::new();
        let app = Router::new()
            .route(
                "/panic",
                get(async || {
                    Queued::defer();
                    if true {
                        panic!("on purpose");
                    }
                }),
            )
            .route(
                "/stream",
                get(async move || {
                    let list = Defer::current().expect("there is a layer");
                    // The stream defers these after the head was sent.
                    Body::from_stream(body.take().into_data_stream().map(move |chunk| {
                        list.push(Queued);
                        chunk
                    }))
                }),
            )
            .layer(CatchPanicLayer::new());
        let server = by.serve(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        assert_eq!(client.get("/panic").await.status, 500);
        feed.send("streamed");
        drop(feed);
        assert_eq!(client.get("/stream").await.body, b"streamed");
        in_time(runner.idle()).await;
        assert_eq!((queue.routes().len(), runner.stats().queued), (2, 2));
    }
}

/// No response waits forever for a queue that does not reply.
#[tokio::test]
async fn a_response_that_is_held_for_the_queue_does_not_keep_a_shutdown_from_ending() {
    let queue = Kept::new(0);
    let runner = Runner::builder().queue(queue.clone()).push_timeout(Duration::from_millis(200)).build();
    let app = Router::new().route("/", get(async || drop(Queued::defer())));
    let server = By::Defer.serve(app, &runner).await;
    let mut client = Tcp::connect(server.addr).await;
    client.send_get("/").await;
    in_time(queue.asked.acquire()).await.expect("it is open").forget();
    let report = in_time(server.stop()).await;
    assert_eq!(client.reply("GET").await.status, 200);
    assert_eq!((report.unfinished.len(), runner.stats().succeeded), (0, 1), "it ran in this process");
}

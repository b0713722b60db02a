//! The service under measurement.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{self, State},
    routing::post,
};
use defer_axum::{
    DeferLayer, Deferrable, Job, JobContext, JobResult, Runner,
    event::{JobEvent, JobEventKind},
};
use defer_sqlx::SqlxQueue;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    client::load,
    place::{Floor, Place},
};

pub(crate) const LASTS: Duration = Duration::from_secs(4);

/// The work of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path {
    /// Stores one row directly.
    Row,
    /// Defers a job that runs here: it is stored, and then done.
    Here,
    /// Defers a job that goes through the queue: it is stored, ready, taken, and then done.
    Through,
}

/// Runs on the runner that deferred it.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub(crate) struct Here {
    pub(crate) number: u64,
}

impl Job for Here {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

/// Only a worker on another runner runs it.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub(crate) struct Through {
    pub(crate) number: u64,
}

impl Job for Through {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

/// A server with a worker, and another worker on its own runner, all in this process.
pub(crate) struct Service {
    pub(crate) queue: SqlxQueue,
    address: SocketAddr,
    /// The server's runner.
    runner: Runner,
    /// The other worker's runner.
    other: Runner,
    /// The time that each job waited from the end of its response to its start.
    waits: Arc<Mutex<Vec<Duration>>>,
    /// Dropping this stops the server and the workers.
    _stop: [oneshot::Sender<()>; 2],
}

impl Service {
    pub(crate) async fn start(place: &Place) -> Self {
        // Keeps the rows that were filled in.
        let queue = SqlxQueue::builder().keep_done(Duration::from_secs(24 * 3600));
        let queue = queue.connect(&place.url).await.unwrap();
        let waits = Arc::new(Mutex::new(Vec::new()));
        let noted = waits.clone();
        let note = move |event: &JobEvent| {
            if let (JobEventKind::Succeeded { .. }, Some(wait)) = (event.kind(), event.wait()) {
                noted.lock().unwrap().push(wait);
            }
        };
        let runner = Runner::builder().queue(queue.clone()).on_event(note).build();
        let other = Runner::builder().queue(queue.clone()).build();
        let (stop, stopped) = oneshot::channel();
        let (stop_other, other_stopped) = oneshot::channel();
        let through = queue.worker(other.clone()).job::<Through>().concurrency(256);
        tokio::spawn(through.run_until(async { drop(other_stopped.await) }));
        let worker = queue.worker(runner.clone()).job::<Here>();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/row/{number}", post(row))
            .route("/here/{number}", post(here))
            .route("/through/{number}", post(through_the_queue))
            .layer(DeferLayer::new(runner.clone()))
            .with_state(place.floor.clone());
        let serving = defer_axum::serve(listener, app)
            .with_graceful_shutdown(async { drop(stopped.await) })
            .with_worker(worker);
        tokio::spawn(async { drop(serving.await.unwrap()) });
        Self { queue, address, runner, other, waits, _stop: [stop, stop_other] }
    }

    /// Returns how many requests are answered per second, with their jobs run and settled.
    pub(crate) async fn rate(&self, path: Path, connections: usize) -> f64 {
        let route = match path {
            Path::Row => "row",
            Path::Here => "here",
            Path::Through => "through",
        };
        let before = self.other.stats().succeeded;
        let begun = Instant::now();
        let answered = load(self.address, route, connections, LASTS, Duration::ZERO).await;
        self.runner.idle().await;
        if let Path::Through = path {
            while self.other.stats().succeeded - before < answered.into() {
                // Polled: nothing signals the end of the last of many jobs.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        f64::from(answered) / begun.elapsed().as_secs_f64()
    }

    /// Returns how long jobs that run here waited, one request at a time, in order.
    pub(crate) async fn waits(&self) -> Vec<Duration> {
        load(self.address, "here", 1, LASTS, Duration::from_millis(5)).await;
        self.runner.idle().await;
        let mut waits = self.waits.lock().unwrap().clone();
        waits.sort();
        waits
    }
}

async fn row(State(floor): State<Floor>, extract::Path(number): extract::Path<i64>) -> &'static str {
    floor.insert(number).await;
    "ok"
}

async fn here(extract::Path(number): extract::Path<u64>) -> &'static str {
    Here::defer(number);
    "ok"
}

pub(crate) async fn through_the_queue(extract::Path(number): extract::Path<u64>) -> &'static str {
    Through::defer(number);
    "ok"
}

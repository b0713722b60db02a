//! A queue with a runner, as in a service.

use std::{future::IntoFuture, net::SocketAddr};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    routing::post,
};
use bytes::Bytes;
use defer_axum::{DeferLayer, JobId, JobStatus, Runner, RunnerBuilder, ShutdownReport};
use defer_sqlx::{SqlxQueue, SqlxQueueBuilder, Worker};
use futures_util::stream;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    backend::{Backend, Place},
    jobs::{
        Again, Big, Crash, DefersAndWaits, Fails, FailsFirst, ForTenant, InTurn, Log, Note, Sees, Snoozes,
        Tells, Tenant, Together, Urgent, Waits,
    },
    waiting::{PATIENCE, until},
};

/// A queue and a runner that uses it.
#[derive(Debug)]
pub struct Service {
    pub place: Place,
    pub queue: SqlxQueue,
    pub runner: Runner,
    pub log: Log,
}

impl Service {
    pub async fn on(backend: Backend) -> Self {
        Self::at(&backend.place().await, "log").await
    }

    /// Creates one of several services on this database, with its own log.
    pub async fn at(place: &Place, log: &str) -> Self {
        Self::with(place, log, |queue| queue, |runner| runner).await
    }

    pub async fn with(
        place: &Place,
        log: &str,
        queue: impl FnOnce(SqlxQueueBuilder) -> SqlxQueueBuilder,
        builder: impl FnOnce(RunnerBuilder) -> RunnerBuilder,
    ) -> Self {
        let queue = queue(SqlxQueue::builder()).connect(&place.url).await.unwrap();
        let log = place.log_named(log);
        let runner = builder(runner(&queue, &log)).build();
        Self { place: place.clone(), queue, runner, log }
    }

    pub fn worker(&self) -> Worker {
        all_types(self.queue.worker(self.runner.clone()))
    }

    pub fn works(&self) -> Runs {
        Runs::new(self.worker())
    }

    pub async fn status(&self, id: JobId) -> Option<JobStatus> {
        self.queue.status(id).await.unwrap()
    }

    /// Waits until a job has succeeded.
    pub async fn until_succeeded(&self, id: JobId) {
        until(&format!("{id} has succeeded"), async || {
            self.queue.status(id).await.ok().flatten() == Some(JobStatus::Succeeded)
        })
        .await;
    }

    /// Waits until no job is waiting or running.
    pub async fn until_idle(&self) {
        self.until_waiting(0).await;
    }

    /// Waits until nothing is running and exactly this many jobs are waiting.
    pub async fn until_waiting(&self, count: u64) {
        until(&format!("only {count} wait"), async || {
            let counts = self.queue.counts().await.unwrap();
            (counts.pending, counts.running) == (count, 0)
        })
        .await;
    }

    /// Returns the numbers of jobs that are pending, running, done and failed.
    pub async fn counts(&self) -> [u64; 4] {
        let counts = self.queue.counts().await.unwrap();
        [counts.pending, counts.running, counts.done, counts.failed]
    }

    /// Stops, and waits until the queue has signed off.
    pub async fn close(self) {
        self.queue.close().await;
    }
}

/// Builds a runner with a long push timeout, for slow machines.
pub fn runner(queue: &SqlxQueue, log: &Log) -> RunnerBuilder {
    Runner::builder().state(log.clone()).queue(queue.clone()).push_timeout(PATIENCE)
}

pub fn all_types(worker: Worker) -> Worker {
    let worker = worker.job::<Note>().job::<Tells>().job::<Waits>().job::<Crash>().job::<Fails>();
    let worker = worker.job::<FailsFirst>().job::<Urgent>().job::<ForTenant>().job::<Big>();
    worker
        .job::<Again>()
        .job::<Snoozes>()
        .job::<InTurn>()
        .job::<DefersAndWaits>()
        .job::<Sees>()
        .job::<Together>()
}

/// A running worker.
#[derive(Debug)]
pub struct Runs {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Runs {
    pub fn new(worker: Worker) -> Self {
        let (stop, stopped) = oneshot::channel();
        let run = worker.run_until(async { drop(stopped.await) });
        Self { stop, task: tokio::spawn(async { run.await.unwrap() }) }
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A running server.
#[derive(Debug)]
pub struct Serves {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<ShutdownReport>>,
}

impl Serves {
    /// Serves with a worker in the same process.
    pub async fn new(service: &Service) -> Self {
        Self::app(service, app(&service.runner, &service.log), true).await
    }

    /// Serves, and leaves durable jobs to other processes.
    pub async fn without_worker(service: &Service) -> Self {
        Self::app(service, app(&service.runner, &service.log), false).await
    }

    pub async fn app(service: &Service, app: Router, works: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut serve = defer_axum::serve(listener, app)
            .drain(service.runner.clone())
            .with_graceful_shutdown(async { drop(stopped.await) });
        if works {
            serve = serve.with_worker(service.worker());
        }
        Self { address, stop, task: tokio::spawn(serve.into_future()) }
    }

    pub async fn stop(self) -> ShutdownReport {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap()
    }
}

/// An app with a route for each kind of trouble.
pub fn app(runner: &Runner, log: &Log) -> Router {
    let note = post(async |Path(number): Path<u32>| {
        Note::defer(number);
        "ok"
    });
    let together = post(async |Path(number): Path<u32>| {
        Together::defer(number);
        "ok"
    });
    let tells = post(async |Path(number): Path<u32>| {
        Tells::defer(number);
        "ok"
    });
    let tenant = post(async |defer: defer_axum::Defer, Path(name): Path<String>| {
        defer.insert_extension(Tenant(name));
        ForTenant::defer();
        "ok"
    });
    let big = post(async |Path(size): Path<usize>| {
        Big::defer("x".repeat(size));
        "ok"
    });
    let fails = post(async |Path(error): Path<String>| {
        Fails::defer(error);
        "ok"
    });
    let waits = post(async |State(log): State<Log>, Path(number): Path<u32>| {
        Waits::defer(number, log.0.with_file_name("go"));
        "ok"
    });
    let sees = post(async |defer: defer_axum::Defer| {
        defer.insert_extension(Tenant("acme".to_owned()));
        Sees::defer();
        "twelve bytes"
    });
    let plain = post(async || "ok");
    // The response ends once a file exists.
    let held = post(async |State(log): State<Log>, Path(number): Path<u32>| {
        Tells::defer(number);
        let parts = stream::unfold(0, move |part| {
            let end = log.0.with_file_name("end");
            async move {
                while part == 1 && !end.exists() {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
                (part < 2).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"part")), part + 1))
            }
        });
        Body::from_stream(parts)
    });
    Router::new()
        .route("/note/{number}", note)
        .route("/tells/{number}", tells)
        .route("/together/{number}", together)
        .route("/tenant/{name}", tenant)
        .route("/big/{size}", big)
        .route("/fails/{error}", fails)
        .route("/waits/{number}", waits)
        .route("/held/{number}", held)
        .route("/sees", sees)
        .route("/plain", plain)
        .with_state(log.clone())
        .layer(layer(runner))
}

pub fn layer(runner: &Runner) -> DeferLayer {
    DeferLayer::new(runner.clone()).capture_extension::<Tenant>().capture_request_headers(["x-note"])
}

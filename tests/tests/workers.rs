//! A queue's worker next to the server: `serve(..).with_worker(worker)`.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    future::{Future, IntoFuture, pending},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::get};
use defer_axum::{BoxError, BoxFuture, DeferLayer, Runner, ShutdownReport, defer_fn, queue::RunWorker};
use defer_tests::{Log, Note, Tcp, in_time};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};

/// A worker made from a function that gets the stop signal.
struct Fake<F>(F);

impl<F, R> RunWorker for Fake<F>
where
    F: FnOnce(BoxFuture<'static, ()>) -> R + Send + 'static,
    R: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn run(self: Box<Self>, stop: BoxFuture<'static, ()>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(self.0(stop))
    }
}

/// Creates a worker that logs its start and the stop signal, and then waits until the test lets it end.
fn patient(log: &Log) -> (impl RunWorker, oneshot::Sender<()>) {
    let log = log.clone();
    let (end, ended) = oneshot::channel();
    let worker = Fake(async move |stop: BoxFuture<'static, ()>| {
        log.add("worker starts");
        stop.await;
        log.add("worker stops");
        let _ = ended.await;
        log.add("worker ends");
        Ok(())
    });
    (worker, end)
}

/// A server with routes that defer or take their time, and its runner.
struct Setup {
    log: Log,
    /// Lets the requests of `/waits` be answered.
    answer: Arc<Semaphore>,
    runner: Runner,
    app: Router,
    listener: TcpListener,
    addr: SocketAddr,
}

impl Setup {
    async fn new() -> Self {
        let (log, answer) = (Log::new(), Arc::new(Semaphore::new(0)));
        let (asked, answered) = (log.clone(), answer.clone());
        let waits = async move || {
            asked.add("asked");
            drop(answered.acquire().await);
        };
        let runner = Runner::builder().state(log.clone()).build();
        let app = Router::new()
            .route("/", get(async || "hello"))
            .route("/waits", get(waits))
            .route("/defers", get(async || drop(Note::defer("job"))))
            .layer(DeferLayer::new(runner.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { log, answer, runner, app, listener, addr }
    }

    /// Serves until the sender is dropped.
    fn serve(self, worker: impl RunWorker) -> (oneshot::Sender<()>, Served) {
        let (signal, signaled) = oneshot::channel::<()>();
        let serve = defer_axum::serve(self.listener, self.app)
            .drain(self.runner)
            .with_worker(worker)
            .with_graceful_shutdown(async { drop(signaled.await) });
        (signal, tokio::spawn(serve.into_future()))
    }
}

type Served = JoinHandle<io::Result<ShutdownReport>>;

async fn report(served: Served) -> io::Result<ShutdownReport> {
    in_time(served).await.unwrap()
}

#[tokio::test]
async fn a_worker_runs_beside_the_server_and_is_told_to_stop_at_the_signal() {
    let setup = Setup::new().await;
    let (log, addr) = (setup.log.clone(), setup.addr);
    let (worker, end) = patient(&log);
    let (signal, served) = setup.serve(worker);
    assert_eq!(log.wait_for(1).await, ["worker starts"]);
    assert_eq!(Tcp::connect(addr).await.get("/").await.status, 200);
    assert_eq!(log.lines(), ["worker starts"]);
    drop(signal);
    assert_eq!(log.wait_for(2).await, ["worker starts", "worker stops"]);
    drop(end);
    assert!(report(served).await.is_ok());
}

#[tokio::test]
async fn a_worker_is_told_to_stop_while_requests_are_open() {
    let setup = Setup::new().await;
    let (log, addr, answer) = (setup.log.clone(), setup.addr, setup.answer.clone());
    let (worker, end) = patient(&log);
    let (signal, served) = setup.serve(worker);
    log.wait_for(1).await;
    let mut client = Tcp::connect(addr).await;
    client.send_get("/waits").await;
    log.wait_for(2).await;
    drop(signal);
    assert_eq!(log.wait_for(3).await, ["worker starts", "asked", "worker stops"]);
    end.send(()).unwrap();
    log.wait_for(4).await;
    assert!(!served.is_finished(), "the request is open");
    answer.add_permits(1);
    assert_eq!(in_time(client.reply("GET")).await.status, 200);
    assert!(report(served).await.is_ok());
}

#[tokio::test]
async fn the_drain_ends_when_the_worker_has_stored_how_its_jobs_ended() {
    let setup = Setup::new().await;
    let (log, addr, runner) = (setup.log.clone(), setup.addr, setup.runner.clone());
    let (worker, end) = patient(&log);
    let (signal, served) = setup.serve(worker);
    assert_eq!(Tcp::connect(addr).await.get("/defers").await.status, 200);
    log.wait_for(2).await;
    drop(signal);
    log.wait_for(3).await;
    in_time(runner.idle()).await;
    // The runner has nothing left to do, and the server is waiting for the worker.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!served.is_finished());
    end.send(()).unwrap();
    assert!(report(served).await.unwrap().unfinished.is_empty());
    assert_eq!(log.lines().last().unwrap(), "worker ends");
}

#[tokio::test]
async fn a_worker_that_ends_by_itself_leaves_the_server_running() {
    let setup = Setup::new().await;
    let (log, addr) = (setup.log.clone(), setup.addr);
    let line = log.clone();
    let (signal, served) = setup.serve(Fake(async move |_| {
        line.add("worker ends");
        Ok(())
    }));
    log.wait_for(1).await;
    assert_eq!(Tcp::connect(addr).await.get("/").await.status, 200);
    assert!(!served.is_finished());
    drop(signal);
    assert!(report(served).await.is_ok());
}

#[tokio::test]
async fn a_worker_that_fails_shuts_the_server_down_and_is_its_error_after_the_drain() {
    let setup = Setup::new().await;
    let (log, addr, runner) = (setup.log.clone(), setup.addr, setup.runner.clone());
    let answer = setup.answer.clone();
    let (fail, failed) = oneshot::channel::<()>();
    let (signal, served) = setup.serve(Fake(async move |_| {
        let _ = failed.await;
        Err("the worker is broken".into())
    }));
    // One request is open, and one job is running.
    let (end, ended) = oneshot::channel::<()>();
    let line = log.clone();
    defer_axum::scope(&runner, async {
        defer_fn(|_| async move {
            let _ = ended.await;
            line.add("job ends");
        });
    })
    .await;
    let mut client = Tcp::connect(addr).await;
    client.send_get("/waits").await;
    log.wait_for(1).await;
    drop(fail);
    in_time(runner.shutdown_announced()).await;
    answer.add_permits(1);
    assert_eq!(in_time(client.reply("GET")).await.status, 200);
    assert!(!served.is_finished(), "before the drain");
    drop(end);
    let error = report(served).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::Other, "the worker is broken"));
    assert_eq!(log.lines(), ["asked", "job ends"]);
    drop(signal);
}

#[tokio::test]
async fn a_worker_that_panics_is_an_error_as_one_that_fails() {
    let setup = Setup::new().await;
    let (signal, served) = setup.serve(Fake(async |_| panic!("no luck")));
    let error = report(served).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("a queue's worker panicked: ") && text.contains("no luck"), "{text}");
    drop(signal);
}

#[tokio::test]
async fn a_worker_that_fails_during_the_drain_is_an_error() {
    let setup = Setup::new().await;
    let (signal, served) = setup.serve(Fake(async |stop: BoxFuture<'static, ()>| {
        stop.await;
        Err("the ends are not stored".into())
    }));
    drop(signal);
    assert_eq!(report(served).await.unwrap_err().to_string(), "the ends are not stored");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_stop_does_not_keep_the_server_from_its_end() {
    let Setup { listener, app, runner, .. } = Setup::new().await;
    let serve = defer_axum::serve(listener, app)
        .drain(runner)
        .with_graceful_shutdown(async {})
        .drain_timeout(Duration::from_secs(20))
        .with_worker(Fake(async |_| pending().await));
    let since = tokio::time::Instant::now();
    let error = serve.await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let waited = since.elapsed().as_secs();
    assert_eq!(waited, 23, "the drain timeout, and 3 s to store how jobs ended");
}

#[tokio::test]
async fn the_longest_drain_timeout_is_one() {
    let Setup { listener, app, runner, .. } = Setup::new().await;
    let serve = defer_axum::serve(listener, app)
        .drain(runner)
        .with_graceful_shutdown(async {})
        .drain_timeout(Duration::MAX)
        .with_worker(Fake(async |stop: BoxFuture<'static, ()>| {
            stop.await;
            Ok(())
        }));
    assert!(in_time(serve.into_future()).await.is_ok());
}

#[tokio::test]
async fn several_workers_run_and_one_that_fails_stops_the_others() {
    let Setup { listener, app, runner, log, .. } = Setup::new().await;
    let (worker, end) = patient(&log);
    let line = log.clone();
    let serve = defer_axum::serve(listener, app)
        .drain(runner)
        .with_worker(worker)
        .with_graceful_shutdown(pending())
        .with_worker(Fake(async move |_| {
            line.wait_for(1).await;
            Err("the worker is broken".into())
        }));
    let served = tokio::spawn(serve.into_future());
    assert_eq!(log.wait_for(2).await, ["worker starts", "worker stops"]);
    assert!(!served.is_finished());
    drop(end);
    assert_eq!(report(served).await.unwrap_err().to_string(), "the worker is broken");
    assert_eq!(log.lines(), ["worker starts", "worker stops", "worker ends"]);
}

#[tokio::test]
async fn without_a_signal_a_worker_that_fails_ends_the_server() {
    let Setup { listener, app, runner, .. } = Setup::new().await;
    let worker = Fake(async |_| Err("the worker is broken".into()));
    let serve = defer_axum::serve(listener, app).drain(runner).with_worker(worker);
    assert_eq!(in_time(serve.into_future()).await.unwrap_err().to_string(), "the worker is broken");
}

#[tokio::test]
async fn a_server_that_is_dropped_stops_its_worker_and_lets_it_finish() {
    for has_signal in [true, false] {
        let Setup { listener, app, runner, log, addr, .. } = Setup::new().await;
        let (worker, end) = patient(&log);
        let serve = defer_axum::serve(listener, app).drain(runner.clone()).with_worker(worker);
        let serving = match has_signal {
            true => tokio::spawn(serve.with_graceful_shutdown(pending()).into_future()),
            false => tokio::spawn(async { serve.await.map(|()| ShutdownReport::default()) }),
        };
        log.wait_for(1).await;
        let mut client = Tcp::connect(addr).await;
        assert_eq!(client.get("/").await.status, 200);
        serving.abort();
        assert_eq!(log.wait_for(2).await, ["worker starts", "worker stops"]);
        drop(end);
        assert_eq!(log.wait_for(3).await[2], "worker ends");
        // Another server may use the same runner.
        let announced = tokio::time::timeout(Duration::ZERO, runner.shutdown_announced());
        assert!(announced.await.is_err());
    }
}

//! Shutting a server down: no client can prevent it, and it waits for the jobs of every runner.

use std::{
    convert::Infallible,
    fmt,
    future::{IntoFuture, pending},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    middleware::{Next, from_fn},
    routing::{get, post},
    serve::Listener,
};
use defer_axum::{DeferLayer, Runner, ShutdownReport, defer_fn, scope};
use defer_tests::{Log, Tcp, http2, https, in_time};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// The time that open requests have here.
const SHORT: Duration = Duration::from_millis(50);

/// Defers a job that logs how its response ended.
fn defer_ending(log: &Log) {
    let log = log.clone();
    defer_fn(move |cx| {
        let ending = cx.response().map(|response| response.delivery());
        async move { log.add(ending.map_or("none".to_owned(), |ending| format!("{ending:?}"))) }
    });
}

/// Defers a job that ends when its runner shuts down.
fn defer_until_shutdown(log: &Log, name: &'static str) {
    let log = log.clone();
    defer_fn(move |cx| async move {
        cx.shutting_down().await;
        log.add(name);
    });
}

fn endless() -> Body {
    Body::from_stream(tokio_stream::iter(std::iter::repeat_with(|| {
        Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1024]))
    })))
}

fn silent() -> Body {
    Body::from_stream(tokio_stream::pending::<Result<Bytes, Infallible>>())
}

struct Serving {
    addr: SocketAddr,
    signal: oneshot::Sender<()>,
    task: JoinHandle<io::Result<ShutdownReport>>,
}

impl Serving {
    async fn start(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self::on(listener, addr, app)
    }

    fn on<L>(listener: L, addr: SocketAddr, app: Router) -> Self
    where
        L: Listener<Addr: fmt::Debug + Clone + Sync + 'static>,
    {
        let (signal, stopped) = oneshot::channel::<()>();
        let serve = defer_axum::serve(listener, app)
            .with_graceful_shutdown(async { drop(stopped.await) })
            .close_timeout(SHORT);
        Self { addr, signal, task: tokio::spawn(serve.into_future()) }
    }

    async fn stop(self) -> ShutdownReport {
        drop(self.signal);
        in_time(self.task).await.unwrap().unwrap()
    }
}

/// A service whose handlers defer, and log that they were reached.
fn service(log: &Log, reached: &Log) -> Router {
    let route = |body: fn() -> Body| {
        let (log, reached) = (log.clone(), reached.clone());
        get(async move || {
            defer_ending(&log);
            reached.add("reached");
            body()
        })
    };
    let never = {
        let (log, reached) = (log.clone(), reached.clone());
        async move || {
            defer_ending(&log);
            reached.add("reached");
            pending::<()>().await
        }
    };
    let reads = {
        let (log, reached) = (log.clone(), reached.clone());
        async move |body: Body| {
            defer_ending(&log);
            reached.add("reached");
            axum::body::to_bytes(body, usize::MAX).await.map(drop).map_err(|_| "half a body")
        }
    };
    Router::new()
        .route("/endless", route(endless))
        .route("/silent", route(silent))
        .route("/never", post(never.clone()).get(never))
        .route("/reads", post(reads))
        .layer(DeferLayer::new(Runner::default()))
}

#[tokio::test]
async fn no_client_of_http1_keeps_a_server_from_its_end_and_its_jobs_run() {
    for (request, ending) in [
        ("", None),
        ("GET / HT", None),
        ("GET /silent HTTP/1.1\r\nhost: x\r\n\r\n", Some("Disconnected")),
        // The client does not read it.
        ("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n", Some("Disconnected")),
        ("GET /never HTTP/1.1\r\nhost: x\r\n\r\n", Some("Cancelled")),
        // Neither side reads.
        ("POST /never HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf", Some("Cancelled")),
        // The handler can still answer.
        ("POST /reads HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf", Some("Sent")),
    ] {
        let (log, reached) = (Log::new(), Log::new());
        let serving = Serving::start(service(&log, &reached)).await;
        let mut client = Tcp::connect(serving.addr).await;
        client.send(request).await;
        if ending.is_some() {
            in_time(reached.wait_for(1)).await;
        }
        let report = serving.stop().await;
        assert!(report.unfinished.is_empty(), "{request}: {report:?}");
        assert_eq!(log.lines().first().map(String::as_str), ending, "{request}");
    }
}

#[tokio::test]
async fn no_client_of_http2_keeps_a_server_from_its_end_and_its_jobs_run() {
    for preface in ["PRI * HTTP", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let serving = Serving::start(service(&Log::new(), &Log::new())).await;
        let mut client = Tcp::connect(serving.addr).await;
        client.send(preface).await;
        serving.stop().await;
    }
    for (path, ending) in [("/silent", "Disconnected"), ("/endless", "Disconnected"), ("/never", "Cancelled")]
    {
        let (log, reached) = (Log::new(), Log::new());
        let serving = Serving::start(service(&log, &reached)).await;
        let mut client = http2::connect(serving.addr).await;
        // The client neither reads it nor releases the window.
        let response = client.get(path).await;
        in_time(reached.wait_for(1)).await;
        let report = serving.stop().await;
        assert!(report.unfinished.is_empty(), "{path}: {report:?}");
        assert_eq!(log.lines(), [ending], "{path}");
        drop(response);
    }
}

#[tokio::test]
async fn no_client_over_tls_keeps_a_server_from_its_end_and_its_jobs_run() {
    for (protocol, path) in [("http/1.1", "/silent"), ("http/1.1", "/endless"), ("http/1.1", ""), ("h2", "")]
    {
        let (log, reached) = (Log::new(), Log::new());
        let (listener, addr) = https::listen().await;
        let serving = Serving::on(listener, addr, service(&log, &reached));
        // This client never sends its TLS hello.
        let _stranger = TcpStream::connect(addr).await.unwrap();
        let (io, _) = https::connect(addr, protocol).await;
        let mut client = Tcp::over(io);
        if !path.is_empty() {
            client.send_get(path).await;
            in_time(reached.wait_for(1)).await;
        }
        let report = serving.stop().await;
        assert!(report.unfinished.is_empty(), "{path}: {report:?}");
        assert_eq!(log.lines().len(), usize::from(!path.is_empty()), "{protocol} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_is_left_behind() {
    let (entered, leaves) = (Log::new(), Arc::new(AtomicBool::new(false)));
    let (enter, leave) = (entered.clone(), leaves.clone());
    let blocks = async move || {
        enter.add("in");
        while !leave.load(Ordering::Acquire) {
            // Blocks on purpose.
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    /// Lets the blocking thread end even if the test fails, because the runtime waits for it.
    struct Leaves(Arc<AtomicBool>);
    impl Drop for Leaves {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let _leaves = Leaves(leaves);
    let serving = Serving::start(Router::new().route("/", get(blocks))).await;
    let mut client = Tcp::connect(serving.addr).await;
    client.send_get("/").await;
    entered.wait_for(1).await;
    serving.stop().await;
}

#[tokio::test]
async fn a_server_without_clients_ends_at_its_signal() {
    // Otherwise this would wait forever.
    Serving::start(service(&Log::new(), &Log::new())).await.stop().await;
}

#[tokio::test]
async fn a_signal_that_panics_is_a_signal() {
    let (log, reached) = (Log::new(), Log::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (signal, stopped) = oneshot::channel::<()>();
    let serve = defer_axum::serve(listener, service(&log, &reached))
        .with_graceful_shutdown(async {
            let _ = stopped.await;
            panic!("the signal's panic");
        })
        .close_timeout(SHORT);
    let serving = tokio::spawn(serve.into_future());
    let mut client = Tcp::connect(addr).await;
    client.send_get("/silent").await;
    reached.wait_for(1).await;
    drop(signal);
    in_time(serving).await.unwrap().unwrap();
    assert_eq!(log.lines(), ["Disconnected"]);
}

/// A handler that never answers, and whose drop takes a moment before it defers.
fn lets_go_late(log: &Log, reached: &Log, runner: &Runner) -> Router {
    struct Defers(Log);
    impl Drop for Defers {
        fn drop(&mut self) {
            // A server that does not wait would end in this time. Waiting longer changes nothing.
            std::thread::sleep(SHORT * 2);
            let log = self.0.clone();
            defer_fn(move |_| async move { log.add("deferred late") });
        }
    }
    let (log, reached) = (log.clone(), reached.clone());
    let handler = async move || {
        let _defers = Defers(log);
        reached.add("in");
        pending::<()>().await
    };
    Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_an_http2_handler_defers_while_it_is_dropped_are_waited_for() {
    let (log, reached) = (Log::new(), Log::new());
    let serving = Serving::start(lets_go_late(&log, &reached, &Runner::default())).await;
    let response = http2::connect(serving.addr).await.get("/").await;
    reached.wait_for(1).await;
    serving.stop().await;
    assert_eq!(log.lines(), ["deferred late"]);
    drop(response);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_the_handler_of_a_client_that_leaves_in_time_defers_while_it_is_dropped_are_waited_for() {
    let (log, reached, runner) = (Log::new(), Log::new(), Runner::default());
    let app = lets_go_late(&log, &reached, &runner);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (signal, stopped) = oneshot::channel::<()>();
    let serve = defer_axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(serve.into_future());
    let io = TcpStream::connect(addr).await.unwrap();
    let (mut client, connection) = h2::client::handshake(io).await.unwrap();
    let connection = tokio::spawn(async move { drop(connection.await) });
    let request = http::Request::get("http://test/").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    reached.wait_for(1).await;
    drop(signal);
    in_time(runner.shutdown_announced()).await;
    connection.abort();
    in_time(serving).await.unwrap().unwrap();
    assert_eq!(log.lines(), ["deferred late"]);
    drop((client, response));
}

#[tokio::test]
async fn requests_that_end_in_time_are_finished() {
    let (log, reached, runner) = (Log::new(), Log::new(), Runner::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (signal, stopped) = oneshot::channel::<()>();
    let (finish, finished) = oneshot::channel::<()>();
    let finished = Arc::new(tokio::sync::Mutex::new(Some(finished)));
    let (ending, reaches) = (log.clone(), reached.clone());
    let handler = async move || {
        defer_ending(&ending);
        reaches.add("in");
        let finished = finished.lock().await.take().unwrap();
        drop(finished.await);
        "whole"
    };
    let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()));
    // The default limit is long enough for everything here.
    let serve = defer_axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(serve.into_future());
    let mut client = Tcp::connect(addr).await;
    client.send_get("/").await;
    reached.wait_for(1).await;
    drop(signal);
    in_time(runner.shutdown_announced()).await;
    drop(finish);
    assert_eq!(client.reply("GET").await.text(), "whole");
    in_time(serving).await.unwrap().unwrap();
    assert_eq!(log.lines(), ["Sent"]);
}

#[tokio::test]
async fn a_shutdown_waits_for_the_jobs_of_every_layer_a_request_came_to() {
    let log = Log::new();
    let route = |name| {
        let log = log.clone();
        get(async move || defer_until_shutdown(&log, name))
    };
    let outer = log.clone();
    let outside = from_fn(move |request: Request, next: Next| {
        let log = outer.clone();
        async move {
            let response = next.run(request).await;
            // Outside of any scope.
            defer_until_shutdown(&log, "outside");
            response
        }
    });
    let own = Router::new().route("/own", route("own")).layer(DeferLayer::new(Runner::default()));
    let other = Router::new().route("/other", route("other")).layer(DeferLayer::new(Runner::default()));
    let global = Router::new().route("/global", route("global")).layer(DeferLayer::default());
    let unused = Runner::default();
    let app = own.merge(other).merge(global).layer(outside);
    let idle = Router::new().route("/unused", get(async || ())).layer(DeferLayer::new(unused.clone()));
    let serving = Serving::start(app.merge(idle)).await;
    for path in ["/own", "/other", "/global"] {
        assert_eq!(Tcp::connect(serving.addr).await.get(path).await.status, 200);
    }
    let report = serving.stop().await;
    assert!(report.unfinished.is_empty(), "{report:?}");
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(lines, ["global", "other", "outside", "outside", "outside", "own"]);
}

#[tokio::test]
async fn a_shutdown_waits_for_a_runner_that_it_was_given() {
    for late in [false, true] {
        let (log, runner) = (Log::new(), Runner::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (signal, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let serve = defer_axum::serve(listener, Router::new());
        let serving = match late {
            false => serve.drain(runner.clone()).with_graceful_shutdown(stopped),
            true => serve.with_graceful_shutdown(stopped).drain(runner.clone()),
        };
        let serving = tokio::spawn(serving.into_future());
        scope(&runner, async { defer_until_shutdown(&log, "of a consumer") }).await;
        drop(signal);
        in_time(serving).await.unwrap().unwrap();
        assert_eq!(log.lines(), ["of a consumer"]);
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_what_jobs_of_one_runner_defer_on_another() {
    let (log, other) = (Log::new(), Runner::default());
    let handler = {
        let (log, other) = (log.clone(), other.clone());
        async move || {
            defer_fn(move |cx| async move {
                cx.shutting_down().await;
                // The other runner is idle meanwhile.
                tokio::time::sleep(SHORT).await;
                let late = async move {
                    tokio::time::sleep(SHORT).await;
                    log.add("late");
                };
                scope(&other, async { drop(defer_fn(|_| late)) }).await;
            });
        }
    };
    let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(Runner::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (signal, stopped) = oneshot::channel::<()>();
    let serve = defer_axum::serve(listener, app)
        .drain(other)
        .with_graceful_shutdown(async { drop(stopped.await) })
        .drain_timeout(Duration::from_secs(60));
    let serving = tokio::spawn(serve.into_future());
    assert_eq!(Tcp::connect(addr).await.get("/").await.status, 200);
    drop(signal);
    in_time(serving).await.unwrap().unwrap();
    assert_eq!(log.lines(), ["late"]);
}

#[tokio::test]
async fn an_app_on_two_servers_is_drained_by_both() {
    let log = Log::new();
    let handler = {
        let log = log.clone();
        async move || defer_until_shutdown(&log, "job")
    };
    let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(Runner::default()));
    let servers = [Serving::start(app.clone()).await, Serving::start(app).await];
    for server in &servers {
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.status, 200);
    }
    let [one, other] = servers;
    one.stop().await;
    assert_eq!(log.lines(), ["job", "job"]);
    other.stop().await;
}

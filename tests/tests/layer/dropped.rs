//! Values that are dropped during a request may defer in their `Drop`, and may panic. No job is lost.

use std::{
    convert::Infallible,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::Response,
    routing::get,
};
use defer_axum::{Defer, DeferLayer, Runner, defer_fn, scope};
use defer_tests::{By, Log, NoteEnding, Tcp, http2, runner};
use http_body::Frame;
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt, service_fn};

/// Defers when it is dropped.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        NoteEnding::defer();
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the drop's panic");
    }
}

/// An endless body that holds a value.
struct Holding<T>(T);

impl<T: Unpin> http_body::Body for Holding<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// A handler that holds a value that outlives its panic.
struct Panics {
    defers: bool,
    _guard: Guard,
}

impl Future for Panics {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if self.defers {
            NoteEnding::defer();
        }
        panic!("the handler's panic");
    }
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn panics(f: impl FnOnce()) -> bool {
    let panicked = catch_unwind(AssertUnwindSafe(f)).is_err();
    assert!(Defer::current().is_none(), "the thread is still in the request's scope");
    panicked
}

/// Starts a request that gets no answer, and drops it.
async fn cancel<F>(log: &Log, mut handler: impl FnMut() -> F + Clone) -> Runner
where
    F: Future<Output = Result<Response, Infallible>>,
{
    let runner = runner(log);
    let app = DeferLayer::new(runner.clone()).layer(service_fn(move |_: Request| handler()));
    {
        let mut response = pin!(app.oneshot(Request::default()));
        assert!(poll_once(response.as_mut()).is_pending());
    }
    runner.idle().await;
    runner
}

#[tokio::test]
async fn what_a_cancelled_handler_defers_while_it_is_dropped_is_told_so() {
    let log = Log::new();
    let handler = || async {
        let _guard = Guard;
        pending().await
    };
    let runner = cancel(&log, handler).await;
    assert_eq!((runner.stats().deferred, log.lines()), (1, vec!["Cancelled 0 0".to_owned()]));
}

#[tokio::test]
async fn jobs_run_if_a_cancelled_handler_panics_while_it_is_dropped() {
    let log = Log::new();
    let runner = runner(&log);
    let app = DeferLayer::new(runner.clone()).layer(service_fn(|_: Request| async {
        let _bomb = Bomb;
        NoteEnding::defer();
        pending::<Result<Response, Infallible>>().await
    }));
    let mut response = Box::pin(app.oneshot(Request::default()));
    assert!(poll_once(response.as_mut()).is_pending());
    assert!(panics(|| drop(response)));
    runner.idle().await;
    assert_eq!(log.lines(), ["Cancelled 0 0"]);
}

#[tokio::test]
async fn what_a_handler_defers_while_it_is_dropped_after_a_panic_that_was_caught_is_told_of_the_panic() {
    for defers in [false, true] {
        let log = Log::new();
        let runner = runner(&log);
        let handler = move |_: Request| Panics { defers, _guard: Guard };
        let mut app = DeferLayer::new(runner.clone()).layer(service_fn(handler));
        let mut response = Box::pin(app.call(Request::default()));
        assert!(panics(|| drop(poll_once(response.as_mut()))));
        runner.idle().await;
        let before = usize::from(defers);
        assert_eq!(log.lines(), vec!["Panicked 0 0"; before], "at once");
        drop(response);
        runner.idle().await;
        assert_eq!(log.lines(), vec!["Panicked 0 0"; before + 1]);
        assert_eq!(runner.stats().succeeded, before as u64 + 1);
    }
}

#[tokio::test]
async fn what_a_handler_defers_that_panics_before_it_returns_its_future_runs() {
    let log = Log::new();
    let runner = runner(&log);
    let handler = |_: Request| {
        NoteEnding::defer();
        assert!(Defer::current().is_none(), "the handler's panic");
        async { Ok::<Response, Infallible>(Response::default()) }
    };
    let mut app = DeferLayer::new(runner.clone()).layer(service_fn(handler));
    assert!(panics(|| drop(app.call(Request::default()))));
    runner.idle().await;
    assert_eq!(log.lines(), ["Panicked 0 0"]);
}

#[tokio::test]
async fn what_a_handler_that_returns_an_error_defers_while_it_is_dropped_runs() {
    let log = Log::new();
    let runner = runner(&log);
    let app = DeferLayer::new(runner.clone()).layer(service_fn(|_: Request| async {
        let _guard = Guard;
        Err::<Response, _>("the service's error")
    }));
    assert_eq!(app.oneshot(Request::default()).await.unwrap_err(), "the service's error");
    runner.idle().await;
    // The layer cannot know who answers.
    assert_eq!(log.lines(), ["Cancelled 0 0"]);
}

#[tokio::test]
async fn what_a_body_defers_that_is_dropped_while_its_response_waits_for_room_is_told_so() {
    let log = Log::new();
    let runner = Runner::builder().state(log.clone()).max_running(1).max_pending(1).build();
    let (release, started) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (until, starts) = (release.clone(), started.clone());
    let holds = async move {
        starts.add_permits(1);
        drop(until.acquire().await);
    };
    scope(&runner, async { drop(defer_fn(|_| holds)) }).await;
    drop(started.acquire().await);
    scope(&runner, async { drop(defer_fn(|_| async {})) }).await;
    let app = DeferLayer::new(runner.clone()).layer(service_fn(|_: Request| async {
        NoteEnding::defer();
        Ok::<_, Infallible>(Response::new(Body::new(Holding(Guard))))
    }));
    let mut response = Box::pin(app.oneshot(Request::default()));
    assert!(poll_once(response.as_mut()).is_pending());
    drop(response);
    release.add_permits(1);
    runner.idle().await;
    assert_eq!(log.lines(), ["Disconnected 0 0"; 2]);
}

#[tokio::test]
async fn jobs_run_if_the_body_panics_while_it_is_dropped() {
    let log = Log::new();
    let runner = runner(&log);
    let app = DeferLayer::new(runner.clone()).layer(service_fn(|_: Request| async {
        NoteEnding::defer();
        Ok::<_, Infallible>(Response::new(Body::new(Holding(Bomb))))
    }));
    let response = app.oneshot(Request::default()).await.unwrap();
    assert!(panics(|| drop(response)));
    runner.idle().await;
    assert_eq!(log.lines(), ["Disconnected 200 0"]);
}

#[tokio::test]
async fn under_serve_too() {
    for is_http2 in [false, true] {
        let log = Log::new();
        let handler = async || {
            NoteEnding::defer();
            Response::new(Body::new(Holding(Bomb)))
        };
        let server = By::Defer.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        if is_http2 {
            drop(http2::body_of(http2::connect(server.addr).await.get("/").await).await);
        } else {
            let mut client = Tcp::connect(server.addr).await;
            client.send_get("/").await;
            client.read_until("\r\n\r\n").await;
        }
        assert_eq!(log.wait_for(1).await, ["Panicked 200 0"], "HTTP/2: {is_http2}");
    }
}

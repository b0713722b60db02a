//! The server: axum's, with a watched listener and a drain at its end.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, IntoFuture, pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::Request,
    response::Response,
    serve::{IncomingStream, Listener, ListenerExt},
};
use bytes::Bytes;
use defer_core::{BoxError, BoxFuture, Runner, ShutdownReport, queue::RunWorker};
use http_body::Body as HttpBody;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tower_service::Service;

use crate::servers::Drained;

use super::{
    io::ServedIo,
    listener::{ServedListener, Watched},
    service::MakeServed,
    state::ServerState,
    worker::{StopWorkers, Workers},
};

/// The default time that a shutdown waits for open requests. Together with [`DRAIN_TIMEOUT`] it is less than the 30 s that
/// Kubernetes gives a process.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
/// The default time that a shutdown then waits for jobs.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that failed connections have to end. A connection whose handler blocks its thread does not
/// end.
const FAIL_WITHIN: Duration = Duration::from_secs(1);

/// Serves an app, like [`axum::serve`](axum::serve()). In addition, jobs start when their response has been sent, and a
/// graceful shutdown waits for them.
///
/// A graceful shutdown drains the runner of each [`DeferLayer`](crate::DeferLayer) that a request reached; the
/// [global](Runner::global) runner, if it was used; those of [workers](Serve::with_worker); and those that you pass to
/// [`drain`](Serve::drain). Pass the runners of layers behind a middleware that runs requests in other tasks, such as tower's
/// `buffer`, because `serve` does not see them. The global runner belongs to the whole process: when one server shuts down, the
/// jobs of other servers on it end too.
///
/// The listener may be a TCP or Unix listener, one with a tap, or your own, such as for TLS. The app may be a `Router`, a
/// `MethodRouter`, or a make-service, with any body of [`Bytes`]. The [module](super) says what "sent" means.
///
/// ```no_run
/// # use axum::Router;
/// # use defer_axum::DeferLayer;
/// # async fn run() -> std::io::Result<()> {
/// let app = Router::new().layer(DeferLayer::default());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// defer_axum::serve(listener, app).await
/// # }
/// ```
pub fn serve<L, M>(listener: L, app: M) -> Serve<L, M>
where
    L: Listener<Addr: Clone + Sync + 'static>,
    M: App<L>,
{
    Serve { listener, app, state: Arc::default(), workers: Workers::default() }
}

/// An app that [`serve`] accepts: a `Router` that has its state, a `MethodRouter`, or a make-service, with any body of
/// [`Bytes`]. Implemented for every type that axum's `serve` accepts, and for no other.
#[diagnostic::on_unimplemented(
    message = "`serve` cannot serve a `{Self}`",
    label = "not an app for this listener",
    note = "a `Router<S>` lacks a state of type `S`: give it one with `.with_state(..)`, which makes it a `Router<()>`",
    note = "a connect info of your own comes with `defer_axum::serve::with_connect_info`"
)]
pub trait App<L: Listener> {}

#[diagnostic::do_not_recommend]
impl<L, M, S, B> App<L> for M
where
    L: Listener<Addr: Clone + Sync + 'static>,
    M: for<'a> Service<IncomingStream<'a, ServedListener<L>>, Error = Infallible, Response = S>,
    S: Service<Request, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
}

/// A server that runs when awaited. Returned by [`serve`].
///
/// It never completes unless a [worker](Self::with_worker) fails. To stop it, use
/// [`with_graceful_shutdown`](Self::with_graceful_shutdown).
///
/// # Errors
///
/// If a worker fails. axum itself handles errors of `accept` (axum 0.8).
///
/// # Cancel safety
///
/// If dropped, it stops accepting connections. Open connections finish the request that they have begun, in their own tasks,
/// and end (axum 0.8.9). Jobs go on; to wait for them, shut the runner down. Workers stop taking jobs, and finish those that
/// they have in their own tasks.
#[must_use = "futures must be awaited or polled"]
pub struct Serve<L, M> {
    listener: L,
    app: M,
    state: Arc<ServerState>,
    workers: Workers,
}

impl<L: Listener, M> Serve<L, M> {
    /// Also drains this runner at a graceful shutdown. Use it for a runner whose jobs do not come from this server, such as
    /// those of a message consumer.
    pub fn drain(self, runner: Runner) -> Self {
        self.state.drained.add(runner);
        self
    }

    /// Runs a queue's worker beside the server, in a task of its own. Several are allowed.
    ///
    /// With a [graceful shutdown](Self::with_graceful_shutdown), the worker stops taking jobs at the signal. The drain ends
    /// when the worker has stored how each of its jobs ended, so no other process runs them again.
    ///
    /// A worker that fails or panics ends the server: the error is logged immediately, the server shuts down as at its signal,
    /// and after the drain it returns the error instead of the report. A database outage is not such a failure.
    ///
    /// ```
    /// # use axum::Router;
    /// # use defer_axum::{DeferLayer, Runner, queue::RunWorker};
    /// # async fn signal() {}
    /// # async fn run(worker: impl RunWorker, runner: Runner) -> std::io::Result<()> {
    /// let app = Router::new().layer(DeferLayer::new(runner));
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// defer_axum::serve(listener, app).with_worker(worker).with_graceful_shutdown(signal()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_worker(mut self, worker: impl RunWorker) -> Self {
        if let Some(runner) = worker.runner() {
            self.state.drained.add(runner);
        }
        self.workers.push(worker);
        self
    }

    /// Stops when `signal` completes: stops accepting connections, finishes open requests for at most the [close
    /// timeout](WithGracefulShutdown::close_timeout), then drains the runners for at most the [drain
    /// timeout](WithGracefulShutdown::drain_timeout).
    ///
    /// End your streams when [`Runner::shutdown_announced`] completes, which happens at the signal. Responses that have not
    /// ended at the close timeout are broken off.
    pub fn with_graceful_shutdown<F>(self, signal: F) -> WithGracefulShutdown<L, M, F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        WithGracefulShutdown {
            serve: self,
            signal,
            close_timeout: CLOSE_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// Returns the listener's error.
    pub fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

/// A server that runs when awaited, and stops at a signal. Returned by [`Serve::with_graceful_shutdown`].
///
/// It completes with a report about the jobs that were left when the last request was finished.
///
/// # Errors
///
/// If a [worker](Self::with_worker) fails, or does not stop in time. axum itself handles errors of `accept` (axum 0.8).
///
/// # Cancel safety
///
/// If dropped while it serves, it stops accepting connections. Open connections go on, and finish when the signal comes. If
/// dropped while it drains, it stops no job. In either case, workers stop taking jobs, and finish those that they have in their
/// own tasks.
///
/// # Panics
///
/// On a runtime without a timer, at the signal.
#[must_use = "futures must be awaited or polled"]
pub struct WithGracefulShutdown<L, M, F> {
    serve: Serve<L, M>,
    signal: F,
    close_timeout: Duration,
    drain_timeout: Duration,
}

impl<L: Listener, M, F> WithGracefulShutdown<L, M, F> {
    /// Sets how long open requests may take after the signal: 15 s by default. Then the remaining connections fail, however
    /// silent or slow their clients are: bodies and handlers are dropped, and their jobs are released as
    /// [`Disconnected`](crate::Delivery::Disconnected), or as [`Cancelled`](crate::Delivery::Cancelled) if there was no
    /// response.
    ///
    /// A handler that blocks its thread cannot be dropped. The server leaves it behind after another second.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Also drains this runner. See [`Serve::drain`].
    pub fn drain(mut self, runner: Runner) -> Self {
        self.serve = self.serve.drain(runner);
        self
    }

    /// Sets how long to wait for jobs after the requests have finished: 10 s by default. Jobs that have not ended by then are
    /// stopped, and listed in the [`ShutdownReport`].
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Runs a queue's worker beside the server, until the signal. See [`Serve::with_worker`].
    ///
    /// After the signal, the worker has the [drain timeout](Self::drain_timeout), and 3 s more to store how its jobs ended.
    /// Jobs that are left then run in another process.
    pub fn with_worker(mut self, worker: impl RunWorker) -> Self {
        self.serve = self.serve.with_worker(worker);
        self
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// Returns the listener's error.
    pub fn local_addr(&self) -> io::Result<L::Addr> {
        self.serve.local_addr()
    }
}

fn watched<L: Listener>(listener: L, state: &Arc<ServerState>) -> ServedListener<L> {
    fn leave<I>(_: &mut ServedIo<I>) {}
    Watched::new(listener, state.clone()).tap_io(leave as fn(&mut ServedIo<L::Io>))
}

impl<L, M, S, B> IntoFuture for Serve<L, M>
where
    L: Listener<Addr: fmt::Debug + Clone + Sync + 'static>,
    M: for<'a> Service<IncomingStream<'a, ServedListener<L>>, Error = Infallible, Response = S>
        + Send
        + 'static,
    for<'a> <M as Service<IncomingStream<'a, ServedListener<L>>>>::Future: Send,
    S: Service<Request, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = io::Result<()>;
    type IntoFuture = ServeFuture<()>;

    fn into_future(self) -> ServeFuture<()> {
        if !self.workers.is_empty() {
            // If this is dropped, it ends its connections as axum's server does, and announces nothing.
            let (alive, dropped) = oneshot::channel::<()>();
            let serving = serve_until(self, async { dropped.await.is_ok() }, CLOSE_TIMEOUT, DRAIN_TIMEOUT);
            return ServeFuture(Box::pin(async move {
                let _alive = alive;
                serving.await.map(drop)
            }));
        }
        ServeFuture(Box::pin(async move {
            axum::serve(watched(self.listener, &self.state), MakeServed::new(self.app)).await
        }))
    }
}

impl<L, M, S, B, F> IntoFuture for WithGracefulShutdown<L, M, F>
where
    L: Listener<Addr: fmt::Debug + Clone + Sync + 'static>,
    M: for<'a> Service<IncomingStream<'a, ServedListener<L>>, Error = Infallible, Response = S>
        + Send
        + 'static,
    for<'a> <M as Service<IncomingStream<'a, ServedListener<L>>>>::Future: Send,
    S: Service<Request, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    type Output = io::Result<ShutdownReport>;
    type IntoFuture = ServeFuture<ShutdownReport>;

    fn into_future(self) -> ServeFuture<ShutdownReport> {
        let Self { serve, signal, close_timeout, drain_timeout } = self;
        let announced = async {
            signal.await;
            true
        };
        ServeFuture(Box::pin(serve_until(serve, announced, close_timeout, drain_timeout)))
    }
}

/// Serves until the signal, or until a worker fails, and drains. The signal says whether to announce a shutdown.
async fn serve_until<L, M, S, B>(
    serve: Serve<L, M>,
    signal: impl Future<Output = bool> + Send + 'static,
    close_timeout: Duration,
    drain_timeout: Duration,
) -> io::Result<ShutdownReport>
where
    L: Listener<Addr: fmt::Debug + Clone + Sync + 'static>,
    M: for<'a> Service<IncomingStream<'a, ServedListener<L>>, Error = Infallible, Response = S>
        + Send
        + 'static,
    for<'a> <M as Service<IncomingStream<'a, ServedListener<L>>>>::Future: Send,
    S: Service<Request, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let Serve { listener, app, state, workers } = serve;
    let mut workers = workers.start();
    let (fail, failed) = oneshot::channel();
    let (closes, closing) = oneshot::channel();
    let mut closing_begins =
        ClosingBegins { workers: workers.stopper(), state: state.clone(), closes: Some(closes) };
    let stopped = async move {
        let announces = tokio::select! {
            announces = signal => announces,
            // `fail` sends nothing if the server is dropped.
            Ok(()) = failed => true,
        };
        if announces {
            closing_begins.announce();
        } else {
            closing_begins.workers.stop();
        }
    };
    let listener = watched(listener, &state);
    let serving = axum::serve(listener, MakeServed::new(app)).with_graceful_shutdown(stopped);
    let served = {
        let mut serving = pin!(serving.into_future());
        let mut late = pin!(late(closing, &state, close_timeout));
        let mut fail = Some(fail);
        loop {
            tokio::select! {
                served = &mut serving => {
                    // HTTP/2 handlers have their own tasks.
                    if state.has_failed() {
                        late.await;
                    } else {
                        // Waits no longer for an open upgrade.
                        let _ = timeout(FAIL_WITHIN, state.all_gone()).await;
                    }
                    break served;
                }
                () = &mut late => break Ok(()),
                () = workers.failed(), if fail.is_some() => {
                    // The receiver is gone after the signal.
                    let _ = fail.take().map(|fail| fail.send(()));
                }
            }
        }
    };
    let since = Instant::now();
    let report = drain(&state.drained, drain_timeout).await;
    let ended = workers.ended(drain_timeout.saturating_sub(since.elapsed())).await;
    served.and(ended).map(|()| report)
}

/// Begins the shutdown at the signal, when a worker fails, or if the signal's future panics: axum treats a panic as the signal
/// (0.8.9).
struct ClosingBegins {
    workers: StopWorkers,
    state: Arc<ServerState>,
    closes: Option<oneshot::Sender<()>>,
}

impl ClosingBegins {
    fn announce(&mut self) {
        self.workers.stop();
        self.state.drained.announce();
        self.state.close();
        // The receiver is gone if the server is dropped.
        let _ = self.closes.take().map(|closes| closes.send(()));
    }
}

impl Drop for ClosingBegins {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.announce();
        }
    }
}

/// Completes when the server must go on without the remaining connections.
async fn late(closing: oneshot::Receiver<()>, state: &ServerState, close_timeout: Duration) {
    if closing.await.is_err() {
        return pending().await;
    }
    sleep(close_timeout).await;
    state.fail();
    if timeout(FAIL_WITHIN, state.all_gone()).await.is_err() {
        tracing::error!(target: "defer", "not all of a connection ended with the server: a handler blocks its thread, or an upgrade such as a WebSocket goes on");
    }
}

/// Shuts all runners down repeatedly until none of them has anything left. Jobs of one may defer on another, or on one that was
/// not known before.
async fn drain(drained: &Drained, timeout: Duration) -> ShutdownReport {
    let since = Instant::now();
    let mut report = ShutdownReport::default();
    loop {
        let runners = drained.runners();
        let left = timeout.saturating_sub(since.elapsed());
        shut_down(&runners, left, &mut report).await;
        let is_idle = |runner: &Runner| {
            let stats = runner.stats();
            stats.pending + stats.running == 0
        };
        let now = drained.runners();
        // A newly known runner is shut down too, if only to report its jobs.
        if now.len() == runners.len() && (since.elapsed() >= timeout || now.iter().all(is_idle)) {
            report.unfinished.sort_by_key(|job| job.id);
            return report;
        }
    }
}

/// Shuts runners down concurrently.
async fn shut_down(runners: &[Runner], timeout: Duration, report: &mut ShutdownReport) {
    let mut shutdowns: Vec<_> = runners.iter().map(|runner| Box::pin(runner.shutdown(timeout))).collect();
    poll_fn(|cx| {
        shutdowns.retain_mut(|shutdown| match shutdown.as_mut().poll(cx) {
            Poll::Ready(ended) => {
                report.completed += ended.completed;
                report.unfinished.extend(ended.unfinished);
                report.queued += ended.queued;
                false
            }
            Poll::Pending => true,
        });
        if shutdowns.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The future of a server, with or without a graceful shutdown.
pub struct ServeFuture<T>(BoxFuture<'static, io::Result<T>>);

impl<T> Future for ServeFuture<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for ServeFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeFuture").finish_non_exhaustive()
    }
}

impl<L: fmt::Debug, M> fmt::Debug for Serve<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("state", &self.state)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl<L: fmt::Debug, M, F> fmt::Debug for WithGracefulShutdown<L, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithGracefulShutdown")
            .field("serve", &self.serve)
            .field("close_timeout", &self.close_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

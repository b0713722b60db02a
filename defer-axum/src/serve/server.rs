//! The server: axum's, with a watched listener and a drain at its end.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, IntoFuture},
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::Request,
    response::Response,
    serve::{IncomingStream, Listener, ListenerExt},
};
use defer_core::{BoxFuture, Runner, ShutdownReport};
use tower_service::Service;

use super::{
    io::ServedIo,
    listener::{ServedListener, Watched},
    service::MakeServed,
};

/// How long a shutdown waits for jobs, unless set.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves an app as [`axum::serve`](axum::serve()) does. In addition, jobs start when their response has been sent, and a
/// graceful shutdown waits for them.
///
/// Pass the runner of the app's [`DeferLayer`](crate::DeferLayer), which is drained at the shutdown.
///
/// The listener may be a TCP or Unix listener, one with a tap, or your own, such as for TLS. The app may be a `Router`, a
/// `MethodRouter`, or a make-service. The [module](super) says what "sent" means.
///
/// ```no_run
/// # use axum::Router;
/// # use defer_axum::{DeferLayer, Runner};
/// # async fn run() -> std::io::Result<()> {
/// let runner = Runner::default();
/// let app = Router::new().layer(DeferLayer::new(runner.clone()));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// defer_axum::serve(listener, app, runner).await?;
/// # Ok(())
/// # }
/// ```
pub fn serve<L, M, S>(listener: L, app: M, runner: Runner) -> Serve<L, M>
where
    L: Listener<Addr: Clone + Sync + 'static>,
    M: for<'a> Service<IncomingStream<'a, ServedListener<L>>, Error = Infallible, Response = S>,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    Serve { listener, app, runner }
}

/// A server that runs once you await it. Returned by [`serve`].
///
/// It never completes: use [`with_graceful_shutdown`](Self::with_graceful_shutdown) to stop it.
///
/// # Errors
///
/// None. The output is an `io::Result` only to match `axum::serve`, which handles errors of `accept` itself (axum 0.8).
///
/// # Cancel safety
///
/// If dropped, it accepts no more connections. An open connection finishes the request that it has begun, in its own task, and
/// ends (axum 0.8.9). Jobs go on. To wait for them, shut the runner down.
#[must_use = "futures must be awaited or polled"]
pub struct Serve<L, M> {
    listener: L,
    app: M,
    runner: Runner,
}

impl<L: Listener, M> Serve<L, M> {
    /// Stops when `signal` completes: accepts no more connections, finishes the open requests, and then drains the
    /// runner for at most the [drain timeout](WithGracefulShutdown::drain_timeout).
    ///
    /// As with axum, a response that never ends keeps the server from stopping. End your streams when
    /// [`Runner::shutdown_announced`] completes, which is at the signal.
    pub fn with_graceful_shutdown<F>(self, signal: F) -> WithGracefulShutdown<L, M, F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        WithGracefulShutdown { serve: self, signal, drain_timeout: DRAIN_TIMEOUT }
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

/// A server that runs once you await it, and stops at a signal. Returned by [`Serve::with_graceful_shutdown`].
///
/// It completes with a report of the jobs that were left when the last request was finished.
///
/// # Errors
///
/// None. The output is an `io::Result` only to match `axum::serve`, which handles errors of `accept` itself (axum 0.8).
///
/// # Cancel safety
///
/// If dropped while it serves, it accepts no more connections. Open connections go on, and finish when the signal comes. If
/// dropped while it drains, it stops no job.
///
/// # Panics
///
/// On a runtime without a timer, when it begins to drain.
#[must_use = "futures must be awaited or polled"]
pub struct WithGracefulShutdown<L, M, F> {
    serve: Serve<L, M>,
    signal: F,
    drain_timeout: Duration,
}

impl<L: Listener, M, F> WithGracefulShutdown<L, M, F> {
    /// Sets how long to wait for jobs once the requests are finished: 30 s by default. Jobs that have not ended by then are
    /// stopped, and named in the [`ShutdownReport`].
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
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

fn watched<L: Listener>(listener: L) -> ServedListener<L> {
    fn leave<I>(_: &mut ServedIo<I>) {}
    Watched(listener).tap_io(leave as fn(&mut ServedIo<L::Io>))
}

impl<L, M, S> IntoFuture for Serve<L, M>
where
    L: Listener<Addr: fmt::Debug + Clone + Sync + 'static>,
    M: for<'a> Service<IncomingStream<'a, ServedListener<L>>, Error = Infallible, Response = S>
        + Send
        + 'static,
    for<'a> <M as Service<IncomingStream<'a, ServedListener<L>>>>::Future: Send,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Output = io::Result<ShutdownReport>;
    type IntoFuture = ServeFuture;

    fn into_future(self) -> ServeFuture {
        ServeFuture(Box::pin(async move {
            axum::serve(watched(self.listener), MakeServed::new(self.app)).await?;
            Ok(self.runner.shutdown(DRAIN_TIMEOUT).await)
        }))
    }
}

impl<L, M, S, F> IntoFuture for WithGracefulShutdown<L, M, F>
where
    L: Listener<Addr: fmt::Debug + Clone + Sync + 'static>,
    M: for<'a> Service<IncomingStream<'a, ServedListener<L>>, Error = Infallible, Response = S>
        + Send
        + 'static,
    for<'a> <M as Service<IncomingStream<'a, ServedListener<L>>>>::Future: Send,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    F: Future<Output = ()> + Send + 'static,
{
    type Output = io::Result<ShutdownReport>;
    type IntoFuture = ServeFuture;

    fn into_future(self) -> ServeFuture {
        let Self { serve, signal, drain_timeout } = self;
        ServeFuture(Box::pin(async move {
            let runner = serve.runner.clone();
            let announced = async move {
                signal.await;
                runner.announce_shutdown();
            };
            axum::serve(watched(serve.listener), MakeServed::new(serve.app))
                .with_graceful_shutdown(announced)
                .await?;
            Ok(serve.runner.shutdown(drain_timeout).await)
        }))
    }
}

/// The future of [`serve`], with or without a graceful shutdown.
pub struct ServeFuture(BoxFuture<'static, io::Result<ShutdownReport>>);

impl Future for ServeFuture {
    type Output = io::Result<ShutdownReport>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ServeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeFuture").finish_non_exhaustive()
    }
}

impl<L: fmt::Debug, M> fmt::Debug for Serve<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("runner", &self.runner)
            .finish_non_exhaustive()
    }
}

impl<L: fmt::Debug, M, F> fmt::Debug for WithGracefulShutdown<L, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithGracefulShutdown")
            .field("serve", &self.serve)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

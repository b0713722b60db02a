//! Servers on a free port of the loopback interface.

use std::{io, net::SocketAddr};

use axum::{Router, serve::Listener};
use defer_axum::{DeferLayer, Runner, ShutdownReport};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// A running server, stopped by the end of the test's runtime or by [`stop`](Self::stop).
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The runner of its layer.
    pub runner: Runner,
    signal: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<ShutdownReport>>,
}

impl Server {
    /// Serves routes under a `DeferLayer` by `defer_axum::serve`.
    pub async fn start(routes: Router, runner: Runner) -> Self {
        let app = routes.layer(DeferLayer::new(runner.clone()));
        Self::start_app(app, runner).await
    }

    /// Serves an app that has its layers by `defer_axum::serve`.
    pub async fn start_app(app: Router, runner: Runner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::start_on(listener, app, runner)
    }

    /// Serves an app by `defer_axum::serve` on this listener.
    pub fn start_on<L>(listener: L, app: Router, runner: Runner) -> Self
    where
        L: Listener<Addr = SocketAddr>,
    {
        let addr = listener.local_addr().expect("a bound listener has an address");
        let (signal, stopped) = oneshot::channel::<()>();
        let serve = defer_axum::serve(listener, app, runner.clone())
            .with_graceful_shutdown(async move { drop(stopped.await) });
        Self { addr, runner, signal: Some(signal), task: tokio::spawn(serve.into_future()) }
    }

    /// Serves routes under a `DeferLayer` by `axum::serve`.
    pub async fn start_plain(routes: Router, runner: Runner) -> Self {
        let app = routes.layer(DeferLayer::new(runner.clone()));
        Self::start_plain_app(app, runner).await
    }

    /// Serves an app that has its layers by `axum::serve`.
    pub async fn start_plain_app(app: Router, runner: Runner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let (signal, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let serve = axum::serve(listener, app);
            serve.with_graceful_shutdown(async move { drop(stopped.await) }).await?;
            Ok(ShutdownReport::default())
        });
        Self { addr, runner, signal: Some(signal), task }
    }

    /// Shuts down gracefully, and waits for it.
    pub async fn stop(mut self) -> ShutdownReport {
        drop(self.signal.take());
        let stopped = self.task.await.expect("the server does not panic");
        stopped.expect("the server does not fail")
    }
}

//! Servers. Most promises hold under each of them.

use std::{borrow::Borrow, fmt, future::IntoFuture, io, net::SocketAddr};

use axum::{Router, serve::Listener};
use defer_axum::{DeferLayer, Delivery, Runner, ShutdownReport};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// The servers that can run an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `defer_axum::serve`.
    Defer,
    /// `axum::serve`.
    Axum,
}

impl By {
    /// Both servers.
    pub const BOTH: [Self; 2] = [Self::Defer, Self::Axum];

    /// Returns the delivery that a job sees for a response that was sent in full.
    pub fn whole(self) -> Delivery {
        match self {
            Self::Defer => Delivery::Sent,
            Self::Axum => Delivery::Finished,
        }
    }

    /// Serves routes under a `DeferLayer`, on a free port.
    pub async fn serve(self, routes: Router, runner: impl Borrow<Runner>) -> Server {
        let app = routes.layer(DeferLayer::new(runner.borrow().clone()));
        self.serve_app(app, runner).await
    }

    /// Serves an app that has its own layers, on a free port.
    pub async fn serve_app(self, app: Router, runner: impl Borrow<Runner>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        self.serve_on(listener, app, runner)
    }

    /// Serves an app that has its own layers, on this listener.
    pub fn serve_on<L>(self, listener: L, app: Router, runner: impl Borrow<Runner>) -> Server<L::Addr>
    where
        L: Listener<Addr: fmt::Debug + Clone + Sync + 'static>,
    {
        let runner = runner.borrow().clone();
        let addr = listener.local_addr().expect("a bound listener has an address");
        let (signal, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let task = match self {
            Self::Defer => {
                let serve = defer_axum::serve(listener, app).with_graceful_shutdown(stopped);
                tokio::spawn(serve.into_future())
            }
            Self::Axum => {
                let serve = axum::serve(listener, app).with_graceful_shutdown(stopped);
                tokio::spawn(async { serve.await.map(|()| ShutdownReport::default()) })
            }
        };
        Server { addr, runner, signal: Some(signal), task }
    }
}

/// A running server. Dropping it shuts it down gracefully.
#[derive(Debug)]
pub struct Server<A = SocketAddr> {
    /// The address that it listens on.
    pub addr: A,
    /// The runner of its layer.
    pub runner: Runner,
    signal: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<ShutdownReport>>,
}

impl<A> Server<A> {
    /// Shuts down gracefully, and waits until that is done.
    pub async fn stop(mut self) -> ShutdownReport {
        drop(self.signal.take());
        let stopped = self.task.await.expect("the server does not panic");
        stopped.expect("the server does not fail")
    }

    /// Keeps the server running until the test's runtime ends.
    pub fn detach(self) {
        std::mem::forget(self.signal);
    }
}

//! One connection of a server that is not [`serve`](super::serve()).

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use axum::response::Response;
use bytes::Bytes;
use defer_core::BoxError;
use http::Request;
use http_body::Body as HttpBody;
use tower_service::Service;

use super::{
    io::ServedIo,
    service::{Served, WatchedFuture},
};

/// Watches one connection of your own server, so that jobs start when their response has been sent, as under
/// [`serve`](super::serve()).
///
/// Pass both returned values to hyper: the I/O object, and the service, which is the app on this connection. The
/// [module](super) says what "sent" means.
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use defer_axum::{DeferLayer, Runner, serve::watch_connection};
/// use hyper_util::{
///     rt::{TokioExecutor, TokioIo},
///     server::conn::auto::Builder,
///     service::TowerToHyperService,
/// };
/// use tokio::net::TcpListener;
///
/// #[tokio::main]
/// async fn main() -> std::io::Result<()> {
///     let app = Router::new().route("/", get(|| async { "hello" })).layer(DeferLayer::new(Runner::default()));
///     let listener = TcpListener::bind("127.0.0.1:3000").await?;
///     loop {
///         let (stream, _) = listener.accept().await?;
///         let app = app.clone();
///         tokio::spawn(async move {
///             // A TLS handshake comes first: watch the stream that it returns.
///             let (io, app) = watch_connection(stream, app);
///             let served = Builder::new(TokioExecutor::new())
///                 .serve_connection_with_upgrades(TokioIo::new(io), TowerToHyperService::new(app))
///                 .await;
///             if let Err(error) = served {
///                 tracing::debug!(error, "a connection failed");
///             }
///         });
///     }
/// }
/// ```
///
/// At a shutdown, call [`Runner::announce_shutdown`], finish the connections, then await [`Runner::shutdown`].
///
/// # Requirements
///
/// - The I/O object must be directly under hyper, outside TLS and outside your own buffers. A buffer between the two would hold
///   bytes that are reported as sent.
/// - The service must be directly under hyper, outside every layer. Add the client's address inside it, for example with
///   `Extension` or `MockConnectInfo`.
/// - Over HTTP/2, the executor must spawn a Tokio task for each stream, like `TokioExecutor`. If streams run in the
///   connection's task, sent responses are reported as [`Disconnected`](crate::Delivery::Disconnected).
/// - Do not use `preserve_header_case` for responses that a hyper client passes on. It needs the extensions of the response,
///   which are dropped here, so that jobs that they defer belong to the request.
/// - hyper has to be 1.12 or newer, and h2 0.4.20 or newer. The feature `http2` requires the latter.
///
/// With hyper's `pipeline_flush`, jobs start when the whole batch of responses has been sent, and
/// [`bytes_sent`](crate::ResponseInfo::bytes_sent) of a response that was broken off is 0.
///
/// [`Runner::announce_shutdown`]: crate::Runner::announce_shutdown
/// [`Runner::shutdown`]: crate::Runner::shutdown
pub fn watch_connection<I, S>(io: I, app: S) -> (ServedIo<I>, ServedService<S>) {
    let io = ServedIo::new(io, None);
    let served = Served::new(app, Arc::clone(io.connection()), Received);
    (io, ServedService(served))
}

/// Marks a request that came over a connection.
#[derive(Clone, Copy)]
struct Received;

/// An app on a connection that is watched. Returned by [`watch_connection`].
///
/// Its response's body is axum's, and its error is the app's. If the app fails, its jobs are released as
/// [`Disconnected`](crate::Delivery::Disconnected).
pub struct ServedService<S>(Served<S, Received>);

impl<S, Q, R> Service<Request<Q>> for ServedService<S>
where
    S: Service<Request<Q>, Response = Response<R>>,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = WatchedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        self.0.call(request)
    }
}

impl<S: Clone> Clone for ServedService<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for ServedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedService").finish_non_exhaustive()
    }
}

//! The acceptor for `axum-server`.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum_server::accept::{Accept, DefaultAcceptor};
use pin_project_lite::pin_project;

use super::{
    io::ServedIo,
    watch::{ServedService, watch_connection},
};

/// Gives an [`axum-server`](axum_server) the guarantee of [`serve`](super::serve()): jobs start when their response has been
/// sent. Requires the feature `axum-server`.
///
/// Wrap the server's acceptor with `Server::map`:
///
/// ```no_run
/// use std::{net::SocketAddr, time::Duration};
///
/// use axum::{Router, routing::get};
/// use axum_server::{Handle, tls_rustls::RustlsConfig};
/// use defer_axum::{DeferLayer, Runner, serve::DeferAcceptor};
///
/// #[tokio::main]
/// async fn main() -> std::io::Result<()> {
///     let runner = Runner::default();
///     let app = Router::new().route("/", get(|| async { "hello" })).layer(DeferLayer::new(runner.clone()));
///
///     let handle = Handle::new();
///     tokio::spawn({
///         let (runner, handle) = (runner.clone(), handle.clone());
///         async move {
///             if tokio::signal::ctrl_c().await.is_ok() {
///                 runner.announce_shutdown();
///                 handle.graceful_shutdown(Some(Duration::from_secs(30)));
///             }
///         }
///     });
///
///     let tls = RustlsConfig::from_pem_file("cert.pem", "key.pem").await?;
///     axum_server::bind_rustls(SocketAddr::from(([0, 0, 0, 0], 443)), tls)
///         .map(DeferAcceptor::new)
///         .handle(handle)
///         .serve(app.into_make_service())
///         .await?;
///
///     // The connections are finished. Now the jobs.
///     let report = runner.shutdown(Duration::from_secs(30)).await;
///     for job in report.unfinished {
///         eprintln!("not done: {} {}", job.name, job.id);
///     }
///     Ok(())
/// }
/// ```
///
/// It must be the outermost acceptor. Inside another one, such as a TLS acceptor, it would see encrypted bytes, and its reports
/// would be wrong.
///
/// As with [`watch_connection`], `bytes_sent` is 0 for a response that was broken off while hyper's `pipeline_flush` was on.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeferAcceptor<A = DefaultAcceptor> {
    inner: A,
}

impl<A> DeferAcceptor<A> {
    /// Watches the connections that this acceptor accepts.
    pub fn new(inner: A) -> Self {
        Self { inner }
    }

    /// Returns a reference to the inner acceptor.
    pub fn get_ref(&self) -> &A {
        &self.inner
    }
}

impl<A: Accept<I, S>, I, S> Accept<I, S> for DeferAcceptor<A> {
    type Stream = ServedIo<A::Stream>;
    type Service = ServedService<A::Service>;
    type Future = DeferAcceptFuture<A::Future>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        DeferAcceptFuture { inner: self.inner.accept(stream, service) }
    }
}

pin_project! {
    /// The future of [`DeferAcceptor`].
    ///
    /// # Errors
    ///
    /// Returns the error of the inner acceptor.
    #[derive(Debug)]
    pub struct DeferAcceptFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, I, S> Future for DeferAcceptFuture<F>
where
    F: Future<Output = io::Result<(I, S)>>,
{
    type Output = io::Result<(ServedIo<I>, ServedService<S>)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (stream, service) = ready!(self.project().inner.poll(cx))?;
        Poll::Ready(Ok(watch_connection(stream, service)))
    }
}

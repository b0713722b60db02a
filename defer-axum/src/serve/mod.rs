//! A server that starts jobs once their response has really been sent.
//!
//! [`serve`] is `axum::serve` with one addition: it knows when the operating system has accepted the last byte of each
//! response. Under any other server, a job starts when the response's body has ended. Much of the body may then still be
//! in the server's buffers, or wait for the client's flow-control window.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use defer_axum::DeferLayer;
//!
//! # async fn shutdown_signal() {}
//! # async fn run() -> std::io::Result<()> {
//! let app = Router::new().route("/", get(|| async { "hello" })).layer(DeferLayer::default());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!
//! let report = defer_axum::serve(listener, app)
//!     .with_graceful_shutdown(shutdown_signal())
//!     .await?;
//! for job in report.unfinished {
//!     eprintln!("not done: {} {}", job.name, job.id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What "sent" means
//!
//! Over HTTP/1, the last byte of the response was written to the connection's I/O object and flushed. hyper 1.12 empties its
//! write buffer before it flushes, so the response is sent at the first flush that succeeds after the body's end.
//!
//! Over HTTP/2, the last DATA frame was written and flushed. A response with jobs has an empty DATA frame (9 bytes) after its
//! content, which carries a guard. h2 0.4 drops the guard when it has encoded the frame, or when it throws the frame away because the
//! stream was reset: which of the two, the bytes on the wire tell. Trailers follow that frame and may still be outstanding. An upgrade over HTTP/2
//! (extended CONNECT, RFC 8441) has no end of its own: its jobs start when the server has taken the head, with
//! [`Finished`](crate::Delivery::Finished).
//!
//! If the response has a `content-length`, its last byte is the last of those that were announced. The body may end later, or yield
//! more, which does not count. A body that ends short of it has [failed](crate::Delivery::Failed).
//!
//! No job starts earlier. While the socket is full a job may start a little later, because h2 puts the frames of several
//! streams into one buffer (16 KiB) and flushes once all of it is written.
//!
//! What counts is the outermost response, outside of every layer: a layer may buffer or replace a response, or answer
//! for a service that failed. A request that is made in this process, such as with `router.oneshot(..)` in a handler, a
//! job or a stream, has a response of its own. Its jobs start when the body of that response has ended, and see its
//! status. `serve` tells the two apart by the `ConnectInfo` that it inserts into the extensions of each request it
//! receives. This has two consequences:
//!
//! - If a handler makes a request with its own request's extensions, or its `ConnectInfo`, the jobs of that request
//!   belong to the response that goes out.
//! - If a middleware runs the rest of the request in another task, with `tokio::spawn`, that response cannot be seen. It is
//!   [`Finished`](crate::Delivery::Finished) when its body has ended, as under another server.
//!
//! What the operating system has accepted is in its send buffer. Only the client can say that it was received.
//!
//! # TLS
//!
//! Give [`serve`] a listener that does the handshakes, such as `tls_listener::TlsListener` (its feature `axum`). The last byte
//! is then the last byte of the last TLS record. The example `tls` is such a server, with rustls and both versions of HTTP.
//!
//! # Other servers
//!
//! | you serve with | what makes "sent" exact |
//! |---|---|
//! | `axum::serve` | [`serve`] in its place |
//! | `axum-server` | [`DeferAcceptor`], with the feature `axum-server` |
//! | a loop of your own over hyper-util | [`watch_connection`] |
//! | anything else | nothing: jobs start when the body has ended, with [`Finished`](crate::Delivery::Finished) |
//!
//! # Connection info
//!
//! `ConnectInfo<SocketAddr>` works with a plain [`Router`](axum::Router) and with `into_make_service_with_connect_info`. For
//! your own type, use [`with_connect_info`]: `serve` has a listener of its own, so an implementation of
//! [`Connected`](axum::extract::connect_info::Connected) for `IncomingStream<'_, TcpListener>` is none for it, and one for
//! [`ServedListener`] is not allowed, because axum has one for each of those (E0119).

#[cfg(feature = "axum-server")]
mod acceptor;
mod body;
mod body_counter;
mod connection;
mod frames;
mod io;
mod last_frame;
mod listener;
mod server;
mod service;
mod state;
mod watch;
mod worker;

#[cfg(feature = "axum-server")]
pub use self::acceptor::{DeferAcceptFuture, DeferAcceptor};
pub use self::{
    io::ServedIo,
    listener::{ServedListener, Watched, WithConnectInfo, with_connect_info},
    server::{App, Serve, ServeFuture, WithGracefulShutdown, serve},
    service::WatchedFuture,
    watch::{ServedService, watch_connection},
};

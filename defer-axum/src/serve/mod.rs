//! A server that starts jobs once their response has been sent.
//!
//! [`serve`] is `axum::serve` with one addition: it knows when the operating system has accepted the last byte of each response.
//! Under any other server, a job starts when the body of its response has ended. At that point much of the body may still be in the
//! server's buffers, or wait for the client's flow-control window.
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
//! Over HTTP/1, the last byte of the response has been written to the connection's I/O object and flushed. hyper 1.12 empties its
//! write buffer before it flushes, so the response is sent at the first successful flush after the end of the body.
//!
//! Over HTTP/2, the last DATA frame has been written and flushed. A response with jobs gets an empty DATA frame (9 bytes) after its
//! content, which carries a guard. h2 0.4 drops the guard when it has encoded the frame, or when it discards the frame because the
//! stream was reset. The bytes on the wire tell which. Trailers follow that frame and may still be pending. An upgrade over HTTP/2
//! (extended CONNECT, RFC 8441) has no end of its own: its jobs start when the server has taken the head, with
//! [`Finished`](crate::Delivery::Finished).
//!
//! If the response has a `content-length`, its last byte is the last announced one. Nothing after it counts, even if the body ends
//! later or yields more. A body that ends before it has [failed](crate::Delivery::Failed).
//!
//! No job starts earlier. While the socket is full, a job may start slightly later, because h2 collects frames of several streams
//! in one buffer (16 KiB) and flushes only after writing all of it.
//!
//! The outermost response counts, outside every layer: a layer may buffer or replace a response, or answer for a service that
//! failed. A request made inside this process, such as with `router.oneshot(..)` in a handler, a job or a stream, has a response of
//! its own. Its jobs start when the body of that response has ended, and see its status. `serve` tells the two apart by the
//! `ConnectInfo` that it inserts into the extensions of each request it receives. This has two consequences:
//!
//! - If a handler makes a request with the extensions of its own request, or with its `ConnectInfo`, the jobs of that request
//!   belong to the outgoing response.
//! - If a middleware runs the rest of the request in another task, with `tokio::spawn`, `serve` cannot see that response. It is
//!   [`Finished`](crate::Delivery::Finished) when its body has ended, as under another server.
//!
//! The operating system keeps accepted bytes in its send buffer. Only the client can say that it received them.
//!
//! # TLS
//!
//! Give [`serve`] a listener that does the handshakes, such as `tls_listener::TlsListener` (with its feature `axum`). The last byte
//! is then the last byte of the last TLS record. The example `tls` is such a server, with rustls, HTTP/1 and HTTP/2.
//!
//! # Other servers
//!
//! | server | how to make "sent" exact |
//! |---|---|
//! | `axum::serve` | use [`serve`] instead |
//! | `axum-server` | use [`DeferAcceptor`], with the feature `axum-server` |
//! | your own hyper-util loop | use [`watch_connection`] |
//! | any other | not possible: jobs start when the body has ended, with [`Finished`](crate::Delivery::Finished) |
//!
//! # Connection info
//!
//! `ConnectInfo<SocketAddr>` works with a plain [`Router`](axum::Router) and with `into_make_service_with_connect_info`. For your
//! own type, use [`with_connect_info`]. `serve` wraps the listener, so an implementation of
//! [`Connected`](axum::extract::connect_info::Connected) for `IncomingStream<'_, TcpListener>` does not apply, and one for
//! [`ServedListener`] is not allowed, because axum already implements it for each such listener (E0119).

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

//! Serving an app so that jobs start when a response has really been sent.
//!
//! [`serve`] is `axum::serve` with one addition: it knows when the operating system has accepted the last byte of
//! each response. Under any other server, a job starts when the response's body has ended, and then much of it may
//! still be in the server's buffers or wait for the client's flow-control window.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use defer_axum::{DeferLayer, Runner};
//!
//! # async fn shutdown_signal() {}
//! # async fn run() -> std::io::Result<()> {
//! let runner = Runner::default();
//! let app = Router::new().route("/", get(|| async { "hello" })).layer(DeferLayer::new(runner.clone()));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!
//! let report = defer_axum::serve(listener, app, runner)
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
//! Over HTTP/1, the last byte of the response was written to the connection's I/O object and flushed. hyper 1.12
//! empties its write buffer before it flushes, so the first flush that succeeds after the body's end is the moment.
//!
//! Over HTTP/2, the last DATA frame was written and flushed. A response that has jobs ends with an empty DATA frame
//! (9 bytes), which carries a guard. h2 0.4 drops the guard when it has written the frame, or when it throws the frame
//! away because the stream was reset. Trailers follow the guard, and may be outstanding. An upgrade over HTTP/2
//! (extended CONNECT, RFC 8441) has no end of its own: its jobs start when the server has taken the head, and are told
//! [`Finished`](crate::Delivery::Finished).
//!
//! No job starts before that; while the socket is full it may start a little later, because h2 puts the frames of
//! several streams into one buffer (16 KiB) and flushes when all of it was written.
//!
//! The response that counts is the outermost one, outside of every layer: a layer may buffer or replace it, or answer
//! for a service that failed. A response to a request that was made in this process, such as with `router.oneshot(..)`
//! in a handler, a job or a stream, is not that one: its jobs start when its own body has ended, and are told of its own
//! status. What tells the two apart is the `ConnectInfo` that `serve` puts into the extensions of what it receives. So a
//! handler that makes a request with the extensions of its own, or with its `ConnectInfo`, passes that on: the jobs of
//! such a request belong to the response that goes out. And a middleware that runs the rest of the request in a task of
//! its own, with `tokio::spawn`, hides its response: that is [`Finished`](crate::Delivery::Finished) when its body has
//! ended, as under another server.
//!
//! What the operating system accepted is in its send buffer. That the client has received it only the client can say.
//!
//! # Connection info
//!
//! `ConnectInfo<SocketAddr>` works with a plain [`Router`](axum::Router), and with
//! `into_make_service_with_connect_info`. For a type of one's own, implement
//! [`Connected`](axum::extract::connect_info::Connected) for `IncomingStream<'_, ServedListener<L>>`.

mod body;
mod connection;
mod io;
mod last_frame;
mod listener;
mod server;
mod service;
mod taken;

pub use self::{
    io::ServedIo,
    listener::{ServedListener, Watched},
    server::{Serve, WithGracefulShutdown, serve},
};

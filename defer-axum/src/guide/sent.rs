//! What "sent" means: when exactly a job starts, after which responses it runs, and what it is told.
//!
//! This program asks two servers for 8 MB, and reads nothing for a while. The two differ in one line.
//!
//! ```sh
//! cargo add axum defer-axum
//! cargo add tokio --features full
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use defer_axum::{DeferLayer, Runner, defer_fn};
//! use tokio::{
//!     io::{AsyncReadExt, AsyncWriteExt},
//!     net::{TcpListener, TcpStream},
//! };
//!
//! async fn download() -> Vec<u8> {
//!     defer_fn(|cx| async move {
//!         if let Some(response) = cx.response() {
//!             println!("  the job starts: {}", response.delivery());
//!         }
//!     });
//!     vec![0; 8_000_000]
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     for name in ["axum::serve", "defer_axum::serve"] {
//!         println!("{name}");
//!         let runner = Runner::default();
//!         let app = Router::new().route("/", get(download)).layer(DeferLayer::new(runner.clone()));
//!         let listener = TcpListener::bind("127.0.0.1:0").await?;
//!         let mut client = TcpStream::connect(listener.local_addr()?).await?;
//!         if name == "axum::serve" {
//!             tokio::spawn(axum::serve(listener, app).into_future());
//!         } else {
//!             tokio::spawn(defer_axum::serve(listener, app).into_future());
//!         }
//!
//!         client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
//!         tokio::time::sleep(Duration::from_millis(500)).await; // it reads late
//!         println!("  the client begins to read");
//!         client.read_to_end(&mut Vec::new()).await?;
//!         runner.idle().await;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! axum::serve
//!   the job starts: finished
//!   the client begins to read
//! defer_axum::serve
//!   the client begins to read
//!   the job starts: sent
//! ```
//!
//! Under [`defer_axum::serve`] a job starts when the operating system has accepted the last byte of the response, over HTTP/1 and
//! HTTP/2. Under any other server it starts when the body has ended, which is when the server has taken it into its buffers. So
//! put behind `serve` what must not run ahead of its response. Where a few buffers do not matter, any server will do. The module
//! [`serve`](mod@crate::serve#what-sent-means) has the fine print of each protocol.
//!
//! The same exactness is there for `axum-server`, with [`DeferAcceptor`](crate::serve::DeferAcceptor), and for a loop of your
//! own on hyper-util, with [`watch_connection`](crate::serve::watch_connection).
//!
//! # How a response can end
//!
//! However it ends, its jobs are released once, and [`ResponseInfo::delivery`] tells how it was:
//!
//! | [`Delivery`] | the response |
//! |---|---|
//! | `Sent` | was accepted to its last byte; under `defer_axum::serve` only |
//! | `Finished` | has ended as far as its body goes; how much of it has left is unknown |
//! | `Disconnected` | was not complete when the client left |
//! | `Failed` | broke off, because its body yielded an error, or ended short of the length that it announced |
//! | `Cancelled` | never came: the handler was dropped, because the client left or a timeout fired |
//! | `Panicked` | never came, or broke off: the handler or the body panicked |
//! | `Unfinished` | was not over [in time](#clients-that-do-not-read), if you set a limit |
//! | `Unknown` | was not over when its process died; only of a durable job, which another process runs |
//!
//! The last byte is that of the announced length, if there is a `content-length`. What follows that, such as the end of the body or
//! trailers, may come later, and more bytes than were announced do not count.
//!
//! Nobody but the client can say that a response was received. If you have to know that, let the client say so, in another
//! request.
//!
//! # Run it only if
//!
//! By default a job runs after each of these, and after each status. Ask for less where you mean less:
//!
//! ```
//! use defer_axum::{Deferrable, Delivery, Job, JobContext, JobResult, defer_fn};
//!
//! #[derive(Deferrable)]
//! #[defer(on = "success")] // status below 400, and the handler neither panicked nor was cancelled
//! struct SendReceipt {
//!     order: u64,
//! }
//!
//! impl Job for SendReceipt {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         println!("the receipt of order {}", self.order);
//!         Ok(())
//!     }
//! }
//!
//! async fn order() {
//!     SendReceipt::defer(7);
//!     defer_fn(|_cx| async { println!("try the transfer again") })
//!         .when(|response| response.delivery() == Delivery::Disconnected);
//! }
//! ```
//!
//! [`on_success`] and [`always`] do the same for one job of a type. A job that does not run for its condition is counted as
//! skipped, and is an [event](super::seeing). A client that leaves during the response does not make it a failure: `on =
//! "success"` is about what the handler did.
//!
//! # Bodies that stream
//!
//! The jobs of a response that streams wait for the end of the stream. The body may defer more, while it is polled: those jobs
//! belong to the request too, and run after the handler's. (A body that announces a short length is [not polled in the request's
//! scope](crate::middleware#bodies).) An event stream may go on for hours. What must not wait for its end goes to a task of its
//! own, or to a [`scope`](crate::scope()).
//!
//! # Clients that do not read
//!
//! A client that reads slowly, or a stream that does not end, withholds its request's jobs for as long as the connection lasts. Set a
//! limit, which counts from the handler's answer:
//!
//! ```
//! use std::time::Duration;
//!
//! use defer_axum::{DeferLayer, Runner};
//!
//! let layer = DeferLayer::new(Runner::default()).release_after(Duration::from_secs(300));
//! ```
//!
//! The response goes on. Its jobs see [`Delivery::Unfinished`], the status, and how many bytes had left by then.
//!
//! # Layers around it
//!
//! Under `serve` the response that counts is the one that goes out, outside of every layer. Where a compression layer holds bytes
//! back, the job waits for the compressed ones. Where a layer answers for a service that failed, the job waits for that answer
//! and is told its status. Under another server a job is told of the response as it leaves the [`DeferLayer`], so add that layer
//! last: what is added last is outermost.
//!
//! A `CatchPanicLayer` inside the `DeferLayer` makes a panic a response like any other, with its status. Outside of it, jobs run at
//! once, with `Panicked` and no status.
//!
//! A middleware that records every request, also one that is refused, panics or whose client leaves, defers before it calls
//! `next.run(request)`, inside the `DeferLayer`: its job is told how that ended.
//!
//! A time limit outside of the `DeferLayer` drops the handler, and its jobs start at once, with `Cancelled`. One that is inside
//! makes a response, with a status, for which they wait.
//!
//! # TLS
//!
//! `serve` takes any [`Listener`]. One that does the TLS handshake in its `accept` has the same exactness: `serve` watches the
//! flushes of the stream that it returns, and a TLS stream flushes what it encrypted to its socket. Behind a proxy that ends TLS,
//! "sent" is up to the proxy.
//!
//! [`defer_axum::serve`]: crate::serve()
//! [`DeferLayer`]: crate::DeferLayer
//! [`Delivery`]: crate::Delivery
//! [`Delivery::Unfinished`]: crate::Delivery::Unfinished
//! [`ResponseInfo::delivery`]: crate::ResponseInfo::delivery
//! [`on_success`]: crate::Deferred::on_success
//! [`always`]: crate::Deferred::always
//! [`Listener`]: axum::serve::Listener

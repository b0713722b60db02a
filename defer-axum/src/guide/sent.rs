//! When a job starts: what "sent" means, after which responses a job runs, and what it knows about them.
//!
//! This program requests 8 MB from two servers and reads nothing for a while. The servers differ in one line.
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
//!         tokio::time::sleep(Duration::from_millis(500)).await; // a slow client
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
//! Under [`defer_axum::serve`], a job starts when the operating system has accepted the last byte of the response, over HTTP/1 and
//! HTTP/2. Under any other server, it starts when the body has ended, which is when the server has copied it into its buffers. Use
//! `serve` if a job must not start before its response is sent. If a few buffered bytes do not matter, use any server. The module
//! [`serve`](mod@crate::serve#what-sent-means) has the details of each protocol.
//!
//! You get the same guarantee with `axum-server` and [`DeferAcceptor`](crate::serve::DeferAcceptor), and with your own hyper-util
//! loop and [`watch_connection`](crate::serve::watch_connection).
//!
//! # How a response can end
//!
//! Every response releases its jobs exactly once. [`ResponseInfo::delivery`] says how it ended:
//!
//! | [`Delivery`] | the response |
//! |---|---|
//! | `Sent` | was accepted to its last byte; only under `defer_axum::serve` and its equivalents |
//! | `Finished` | has a body that has ended; the server may still be buffering it |
//! | `Disconnected` | was incomplete when the client left |
//! | `Failed` | broke off: its body returned an error, or ended short of its announced length |
//! | `Cancelled` | never came: the handler was dropped because the client left or a timeout fired |
//! | `Panicked` | never came, or broke off: the handler or the body panicked |
//! | `Unfinished` | was not over [in time](#clients-that-do-not-read), if you set a limit |
//! | `Unknown` | was not over when its process died; only seen by a durable job that another process runs |
//!
//! If there is a `content-length`, the last byte is the last announced one. The end of the body or trailers may come later, and
//! bytes beyond the announced length do not count.
//!
//! Only the client knows that it received a response. If you need to know, have the client confirm it in another request.
//!
//! # Run it only if
//!
//! By default, a job runs after each of these endings and after every status. To run it less often:
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
//! [`on_success`] and [`always`] set this for a single job. A job whose condition is false is counted as skipped and emits an
//! [event](super::seeing). A client that leaves during the response does not make it a failure: `on = "success"` only judges the
//! handler.
//!
//! # Streaming bodies
//!
//! The jobs of a streaming response wait for the end of the stream. The body can defer more jobs while it is polled. They belong to
//! the request too, and run after the handler's jobs. (A body that announces a short length is [not polled in the request's
//! scope](crate::middleware#bodies).) An event stream can last for hours: if work must not wait for its end, give it a task of its
//! own or a [`scope`](crate::scope()).
//!
//! # Clients that do not read
//!
//! A client that reads slowly, or a stream that does not end, delays its request's jobs for as long as the connection lasts. To
//! limit the delay, set a time after which the jobs are released, counted from the handler's answer:
//!
//! ```
//! use std::time::Duration;
//!
//! use defer_axum::{DeferLayer, Runner};
//!
//! let layer = DeferLayer::new(Runner::default()).release_after(Duration::from_secs(300));
//! ```
//!
//! The response goes on. Its jobs see [`Delivery::Unfinished`], the status, and how many bytes had been sent by then.
//!
//! # With other layers
//!
//! Under `serve`, the outermost response counts, outside every layer. If a compression layer buffers bytes, the job waits for the
//! compressed ones. If a layer answers for a service that failed, the job waits for that answer and sees its status. Under another
//! server, a job sees the response as it leaves the [`DeferLayer`], so add that layer last, which makes it the outermost one.
//!
//! A `CatchPanicLayer` inside the `DeferLayer` turns a panic into an ordinary response with a status. If it is outside, jobs run
//! immediately, with `Panicked` and no status.
//!
//! A timeout inside the `DeferLayer` produces a response with a status, and jobs wait for that response. A timeout outside drops
//! the handler, and its jobs start immediately, with `Cancelled`.
//!
//! To record every request, including refused ones, panics and clients that leave, defer in a middleware inside the `DeferLayer`,
//! before `next.run(request)`: see [the recipe](super::recipes#audit-refused-requests).
//!
//! # TLS
//!
//! `serve` accepts any [`Listener`]. A listener that does the TLS handshake in `accept` gets the same guarantee: `serve` watches
//! the flushes of the stream that it returns, and a TLS stream flushes what it has encrypted to its socket. Behind a proxy that
//! terminates TLS, "sent" means sent to the proxy.
//!
//! [`defer_axum::serve`]: crate::serve()
//! [`DeferLayer`]: crate::DeferLayer
//! [`Delivery`]: crate::Delivery
//! [`Delivery::Unfinished`]: crate::Delivery::Unfinished
//! [`ResponseInfo::delivery`]: crate::ResponseInfo::delivery
//! [`on_success`]: crate::Deferred::on_success
//! [`always`]: crate::Deferred::always
//! [`Listener`]: axum::serve::Listener

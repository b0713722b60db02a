//! What a job finds when it runs: the state of its runner, its request, and how the response ended.
//!
//! ```sh
//! cargo add axum defer-axum
//! cargo add tokio --features full
//! ```
//!
//! ```rust,no_run
//! use axum::{Router, http::StatusCode, routing::get};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
//! use tokio::sync::mpsc;
//!
//! /// What all jobs share: here the way to a log, in your program a mailer, a pool of connections, an HTTP client.
//! struct AccessLog(mpsc::UnboundedSender<String>);
//!
//! #[derive(Deferrable)]
//! struct Note;
//!
//! impl Job for Note {
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         let log = cx.state::<AccessLog>()?;
//!         let (Some(request), Some(response)) = (cx.request(), cx.response()) else {
//!             return Ok(()); // deferred outside of a request
//!         };
//!         let agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok());
//!         log.0.send(format!(
//!             "{} {} by {}: {} {}, {} bytes",
//!             request.method(),
//!             request.matched_path().unwrap_or("no route"),
//!             agent.unwrap_or("nobody"),
//!             response.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
//!             response.delivery(),
//!             response.bytes_sent(),
//!         ))?;
//!         Ok(())
//!     }
//! }
//!
//! async fn user() -> &'static str {
//!     Note::defer();
//!     "Ada\n"
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let (log, mut lines) = mpsc::unbounded_channel();
//!     tokio::spawn(async move {
//!         while let Some(line) = lines.recv().await {
//!             println!("{line}");
//!         }
//!     });
//!
//!     let runner = Runner::builder().state(AccessLog(log)).build();
//!     let layer = DeferLayer::new(runner).capture_request_headers(["user-agent"]);
//!     let app = Router::new().route("/users/{id}", get(user)).layer(layer);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! ```sh
//! curl http://127.0.0.1:3000/users/7
//! ```
//!
//! The program writes:
//!
//! ```text
//! GET /users/{id} by curl/7.88.1: 200 OK sent, 4 bytes
//! ```
//!
//! # What all jobs share
//!
//! Give it to the runner once, with [`RunnerBuilder::state`]. A job gets a reference to it by its type, with
//! [`JobContext::state`]. There is one value of each type, so wrap what is no type of its own: `struct Sender(String)`, not
//! `String`.
//!
//! Axum's own state is for handlers. Where both need a value, clone it into both: pools and clients are cheap to clone.
//!
//! A job whose state is missing fails. Its error names the type, and those that the runner has, so that an `Arc` too many is
//! seen at once:
//!
//! ```text
//! no state of type `hello_jobs::AccessLog`: give it to the runner with `Runner::builder().state(..)`; this one has `alloc::sync::Arc<hello_jobs::AccessLog>`
//! ```
//!
//! # The request
//!
//! [`JobContext::request`] is `Some` for a job that a request deferred. It has the method, the URI, the route that matched, and
//! the headers that [`capture_request_headers`] names. A job sees no other header, because headers hold cookies and tokens.
//!
//! The route is `None` where the layer is outside of the router. [`Router::layer`] puts it inside.
//!
//! # The response
//!
//! [`JobContext::response`] tells how the response ended: its status, its [`Delivery`], the bytes of its body that left, and the
//! time from the request to the release of its jobs. Headers come with [`capture_response_headers`]. [What "sent"
//! means](super::sent) is a chapter of its own.
//!
//! # The tenant, the user
//!
//! A value that a layer puts into the request's extensions goes over to the jobs if you name its type, with
//! [`DeferLayer::capture_extension`](super::production#the-tenant-the-user).
//!
//! # Outside of a request
//!
//! A ticker or a consumer of messages defers in a [`scope`](crate::scope()) of its own, with a runner that you choose.
//! `request()` and `response()` are `None` there. A job that is deferred outside of any scope runs at once on [`Runner::global`],
//! which has the state that [`install_global`] gave it.
//!
//! [`RunnerBuilder::state`]: crate::RunnerBuilder::state
//! [`install_global`]: crate::RunnerBuilder::install_global
//! [`Runner::global`]: crate::Runner::global
//! [`JobContext::state`]: crate::JobContext::state
//! [`JobContext::request`]: crate::JobContext::request
//! [`JobContext::response`]: crate::JobContext::response
//! [`capture_request_headers`]: crate::DeferLayer::capture_request_headers
//! [`capture_response_headers`]: crate::DeferLayer::capture_response_headers
//! [`Delivery`]: crate::Delivery
//! [`Router::layer`]: axum::Router::layer

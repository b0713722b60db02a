//! What a job can access: the runner's state, its request, and how the response ended.
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
//! /// State that all jobs share. In your program: a mailer, a connection pool, an HTTP client.
//! struct AccessLog(mpsc::UnboundedSender<String>);
//!
//! #[derive(Deferrable)]
//! struct Note;
//!
//! impl Job for Note {
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         let log = cx.state::<AccessLog>()?;
//!         let (Some(request), Some(response)) = (cx.request(), cx.response()) else {
//!             return Ok(()); // deferred outside a request
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
//! The program prints:
//!
//! ```text
//! GET /users/{id} by curl/7.88.1: 200 OK sent, 4 bytes
//! ```
//!
//! # Shared state
//!
//! Give shared values to the runner once, with [`RunnerBuilder::state`]. A job borrows one by its type, with [`JobContext::state`].
//! There is one value per type, so use a newtype for common types: `struct Sender(String)`, not `String`.
//!
//! Axum's own state is for handlers. If both need a value, clone it into both: pools and clients are cheap to clone.
//!
//! A job whose state is missing fails. The error names the missing type and the types that the runner has, so an extra `Arc` is
//! easy to spot:
//!
//! ```text
//! no state of type `hello_jobs::AccessLog`: give it to the runner with `Runner::builder().state(..)`; this one has `alloc::sync::Arc<hello_jobs::AccessLog>`
//! ```
//!
//! # The request
//!
//! [`JobContext::request`] is `Some` if a request deferred the job. It has the method, the URI, the matched route, and the headers
//! that you list in [`capture_request_headers`]. Jobs see no other headers, because headers contain cookies and tokens.
//!
//! The matched route is `None` if the layer is outside the router. [`Router::layer`] puts it inside.
//!
//! # The response
//!
//! [`JobContext::response`] says how the response ended: its status, its [`Delivery`], how many bytes of its body were sent, and
//! the time from the request to the release of its jobs. List headers that jobs need in [`capture_response_headers`]. See [When a
//! job starts](super::sent).
//!
//! # Tenants and users
//!
//! To pass on a value that a layer puts into the request's extensions, name its type with
//! [`DeferLayer::capture_extension`](super::production#tenants-and-users).
//!
//! # Outside a request
//!
//! A timer or a message consumer defers in a [`scope`](crate::scope()) of its own, on the runner that you choose. There,
//! `request()` and `response()` are `None`. A job deferred outside any scope runs immediately on [`Runner::global`], with the state
//! given to [`install_global`].
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

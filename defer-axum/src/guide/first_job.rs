//! Your first job: a handler that answers immediately and leaves the slow work for after the response.
//!
//! ```sh
//! cargo new hello-jobs && cd hello-jobs
//! cargo add axum defer-axum tracing-subscriber
//! cargo add tokio --features full
//! ```
//!
//! Put this in `src/main.rs`:
//!
//! ```rust,no_run
//! use std::time::Duration;
//!
//! use axum::{Router, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult};
//!
//! /// A job is a struct that holds the data it needs ...
//! #[derive(Deferrable)]
//! struct SendWelcome {
//!     to: String,
//! }
//!
//! /// ... and a method that does the work.
//! impl Job for SendWelcome {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         println!("connecting to the mail server");
//!         tokio::time::sleep(Duration::from_secs(2)).await; // stands in for a mail server
//!         println!("sent a welcome to {}", self.to);
//!         Ok(())
//!     }
//! }
//!
//! async fn sign_up(email: String) -> &'static str {
//!     SendWelcome::defer(email); // runs after the response
//!     println!("answering");
//!     "check your mail\n"
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     tracing_subscriber::fmt().init(); // prints failures
//!     let app = Router::new()
//!         .route("/sign-up", post(sign_up))
//!         .layer(DeferLayer::default());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app).await
//! }
//! ```
//!
//! Start it with `cargo run`, and sign up from another terminal:
//!
//! ```sh
//! curl -d ada@example.com -w 'answered after %{time_total} s\n' http://127.0.0.1:3000/sign-up
//! ```
//!
//! ```text
//! check your mail
//! answered after 0.001010 s
//! ```
//!
//! The client does not wait for the mail, which takes two seconds. The program prints:
//!
//! ```text
//! answering
//! connecting to the mail server
//! sent a welcome to ada@example.com
//! ```
//!
//! # How it works
//!
//! 1. [`DeferLayer`] opened a scope for the request.
//! 2. `SendWelcome::defer(..)` added a job to the request's list. Nothing ran yet.
//! 3. The handler returned, and [`serve`] sent the response.
//! 4. The operating system accepted the last byte, and the layer's [`Runner`] ran the list.
//!
//! The derive adds the function `defer`, which takes one argument per field, in order: numbers, `bool` and `char` by value, and
//! every other type as `impl Into<Field>`, so a `String` field accepts a `&str`. If two fields have the same type, name them
//! instead: `defer_axum::defer(Transfer { from: 1, to: 2 })`.
//!
//! You can call `defer` in a handler, in any function that it calls, and in a middleware inside the layer. A middleware that wraps
//! the layer is outside the request: a job that it defers runs immediately, and a warning is logged. Add the layer after such a
//! middleware.
//!
//! The jobs of one request run one after another, in the order in which you deferred them. Different requests run their jobs
//! concurrently.
//!
//! # Write it as a function
//!
//! `#[job]` turns an `async fn` into a job. It creates a struct with the function's name, and the arguments become its fields:
//!
//! ```
//! use defer_axum::{JobContext, JobResult, job};
//!
//! #[job(tries = 3)]
//! async fn send_welcome(to: String, cx: &JobContext) -> JobResult {
//!     println!("sent a welcome to {to}, in attempt {}", cx.attempt());
//!     Ok(())
//! }
//!
//! async fn sign_up(email: String) -> &'static str {
//!     send_welcome::defer(email);
//!     "check your mail\n"
//! }
//! ```
//!
//! Each attempt gets a clone of the arguments. The function may also return another `Result<(), E>`, or nothing, and `derive(Debug)`
//! in the parentheses lets a failed test print its arguments. See [`job`](macro@crate::job) for details.
//!
//! # When it fails
//!
//! `?` works on every error. A failed job is retried while it has tries left, unless the error is
//! [`.fatal()`](crate::JobError::fatal):
//!
//! ```
//! use defer_axum::{JobError, JobResult, job};
//!
//! #[job(tries = 3, backoff = "500ms..30s")]
//! async fn charge(cents: String) -> JobResult {
//!     let cents: u32 = cents.parse().map_err(|error| JobError::from(error).fatal())?; // no other try helps
//!     println!("charged {cents}");
//!     Ok(())
//! }
//! ```
//!
//! See [Retries](super::retries).
//!
//! # Closures
//!
//! ```
//! use defer_axum::defer_fn;
//!
//! async fn show_page() -> &'static str {
//!     let page = "home";
//!     defer_fn(move |_cx| async move { println!("{page} was seen") });
//!     "welcome"
//! }
//! ```
//!
//! A closure runs once. It has no retries, no timeout and no queue. If the work needs one of these, or a name in the logs, write a
//! function or a struct.
//!
//! # In a spawned task
//!
//! A spawned task runs outside the request, so a job deferred there belongs to no request: it runs immediately, and a warning is
//! logged. To keep the request's scope, use the [`Defer`] extractor:
//!
//! ```
//! use defer_axum::{Defer, defer_fn};
//!
//! async fn import(defer: Defer) -> &'static str {
//!     tokio::spawn(defer.scope(async {
//!         defer_fn(|_cx| async { println!("a part was imported") }); // the request's, as any other
//!     }));
//!     "importing"
//! }
//! ```
//!
//! If the task defers a job after the response was sent, the job joins the end of the request's line and runs as soon as the jobs
//! before it are done. On a route without the layer, the extractor rejects the request with a 500 that names the missing layer;
//! `Option<Defer>` is `None`.
//!
//! # Change a deferred job
//!
//! `defer` returns a [`Deferred`]. Until the job starts, use it to [cancel](crate::Deferred::cancel) or
//! [delay](crate::Deferred::delay) the job, or to run it only after [certain responses](super::sent#run-it-only-if).
//!
//! # Outside a runtime
//!
//! `defer` panics outside a Tokio runtime, such as on a thread of your own. `SendWelcome::try_defer(..)`, [`try_defer`] and
//! [`try_defer_fn`] return a [`DeferError`] instead.
//!
//! ```
//! use defer_axum::{DeferError, try_defer_fn};
//!
//! let nothing_runs_here = try_defer_fn(|_cx| async {}).err();
//! assert_eq!(nothing_runs_here, Some(DeferError::NoRuntime));
//! ```
//!
//! Next: [what a job can access](super::state). A failing job is [logged](super::seeing). The first line of `main` sets that up:
//! without a subscriber, nothing is printed.
//!
//! [`DeferLayer`]: crate::DeferLayer
//! [`serve`]: crate::serve()
//! [`Runner`]: crate::Runner
//! [`Defer`]: crate::Defer
//! [`Deferred`]: crate::Deferred
//! [`DeferError`]: crate::DeferError
//! [`try_defer`]: crate::try_defer
//! [`try_defer_fn`]: crate::try_defer_fn

//! The first job: a new program whose handler answers at once and leaves the slow part for after the response.
//!
//! ```sh
//! cargo new hello-jobs && cd hello-jobs
//! cargo add axum defer-axum tracing-subscriber
//! cargo add tokio --features full
//! ```
//!
//! Put this into `src/main.rs`:
//!
//! ```rust,no_run
//! use std::time::Duration;
//!
//! use axum::{Router, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult};
//!
//! /// A job is a struct with what the work needs to know ...
//! #[derive(Deferrable)]
//! struct SendWelcome {
//!     to: String,
//! }
//!
//! /// ... and a method that does the work.
//! impl Job for SendWelcome {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         println!("connecting to the mail server");
//!         tokio::time::sleep(Duration::from_secs(2)).await; // in place of a mail server
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
//!     tracing_subscriber::fmt().init(); // prints what fails
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
//! The mail takes two seconds, and the client waits for none of it. The program writes:
//!
//! ```text
//! answering
//! connecting to the mail server
//! sent a welcome to ada@example.com
//! ```
//!
//! # What happened
//!
//! 1. [`DeferLayer`] opened a scope for the request.
//! 2. `SendWelcome::defer(..)` put a job on the request's list. Nothing ran.
//! 3. The handler returned, and [`serve`] sent the response.
//! 4. The operating system had accepted the last byte, so the layer's [`Runner`] ran the list.
//!
//! The function `defer` came with the derive. It takes one argument for each field, in their order: a number, a `bool` or a
//! `char` as it is, and anything else as an `impl Into` of the field's type, so that a `String` field takes a `&str`.
//! Where two fields have one type, give it the job itself, with its fields by name: `defer_axum::defer(Transfer { from: 1, to: 2 })`.
//!
//! You can defer anywhere that the request reaches: in a handler, in a function that it calls, in a middleware inside the layer. A middleware
//! that wraps the layer is outside of the request: what it defers runs at once, and a line in the log says so. Add the layer after it.
//! One request's jobs run one after another, in the order in which you deferred them. Those of different requests run side by
//! side.
//!
//! # A function
//!
//! The struct and its `impl` can be written as one function. `#[job]` makes a struct of its name, and its arguments the fields:
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
//! Each attempt gets a clone of the arguments. The function may also return another `Result<(), E>`, or nothing, and `derive(Debug)` in
//! the parentheses shows its arguments in a failed test. [`job`](macro@crate::job) has the rest.
//!
//! # When it fails
//!
//! `?` works on every error. An error is tried again while there are tries left, unless you return it with
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
//! [Retries](super::retries) has the rest.
//!
//! # A closure, for a line or two
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
//! A closure runs once: it has no second attempt, no timeout, and cannot go to a queue. Make the work a struct or a function when it
//! needs one of these, or a name that you know in logs.
//!
//! # In a task that you spawn
//!
//! A spawned task has left the request, and what it defers would be nobody's: it would run at once, and a line in the log would
//! say so. Take the [`Defer`] extractor along:
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
//! What the task defers after the response was sent joins the line of the request, and runs at once if nothing is before it there. On a route without the layer the extractor answers with 500,
//! and says what is missing; `Option<Defer>` is `None` there.
//!
//! # Change your mind
//!
//! `defer` returns a [`Deferred`]. Until the job starts, you can [cancel](crate::Deferred::cancel) it,
//! [delay](crate::Deferred::delay) it, or make it depend on the [response](super::sent#run-it-only-if).
//!
//! # Where nothing could run it
//!
//! Outside of a Tokio runtime, as on a thread of your own, `defer` panics. `SendWelcome::try_defer(..)`, [`try_defer`] and
//! [`try_defer_fn`] return a [`DeferError`] instead.
//!
//! ```
//! use defer_axum::{DeferError, try_defer_fn};
//!
//! let nothing_runs_here = try_defer_fn(|_cx| async {}).err();
//! assert_eq!(nothing_runs_here, Some(DeferError::NoRuntime));
//! ```
//!
//! Next: [what a job finds when it runs](super::state). A job that fails says so in the [log](super::seeing), which the first line of
//! `main` has set up: without a subscriber nothing is printed.
//!
//! [`DeferLayer`]: crate::DeferLayer
//! [`serve`]: crate::serve()
//! [`Runner`]: crate::Runner
//! [`Defer`]: crate::Defer
//! [`Deferred`]: crate::Deferred
//! [`DeferError`]: crate::DeferError
//! [`try_defer`]: crate::try_defer
//! [`try_defer_fn`]: crate::try_defer_fn

//! Testing: what a handler defers, what a job does, and both together over a socket.
//!
//! ```sh
//! cargo add axum defer-axum
//! cargo add tokio --features full
//! cargo add --dev defer-axum --features testing
//! cargo add --dev tower --features util
//! ```
//!
#![cfg_attr(feature = "testing", doc = "```test_harness")]
#![cfg_attr(not(feature = "testing"), doc = "```text")]
//! use std::sync::{Arc, Mutex};
//!
//! use axum::{Router, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobError, JobResult, Runner};
//!
//! /// Here a list; in your program a mailer.
//! #[derive(Clone, Default)]
//! struct Outbox(Arc<Mutex<Vec<String>>>);
//!
//! #[derive(Deferrable)]
//! #[defer(tries = 3, on = "success")]
//! struct SendWelcome {
//!     to: String,
//! }
//!
//! impl Job for SendWelcome {
//!     async fn run(&self, cx: &JobContext) -> JobResult {
//!         if !self.to.contains('@') {
//!             return Err(JobError::msg("not an address"));
//!         }
//!         let Outbox(mails) = cx.state()?;
//!         mails.lock().map_err(|_| "the outbox is broken")?.push(self.to.clone());
//!         Ok(())
//!     }
//! }
//!
//! async fn sign_up(email: String) {
//!     SendWelcome::defer(email);
//! }
//!
//! fn app(layer: DeferLayer) -> Router {
//!     Router::new().route("/sign-up", post(sign_up)).layer(layer)
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let runner = Runner::builder().state(Outbox::default()).build();
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     defer_axum::serve(listener, app(DeferLayer::new(runner))).await?;
//!     Ok(())
//! }
//!
//! #[cfg(test)]
//! mod tests {
//!     use axum::{
//!         body::Body,
//!         http::{Request, StatusCode},
//!     };
//!     use defer_axum::{Delivery, event::JobEventKind, ResponseInfo, scope, testing::Recorder};
//!     use tokio::{
//!         io::{AsyncReadExt, AsyncWriteExt},
//!         net::{TcpListener, TcpStream},
//!     };
//!     use tower::ServiceExt;
//!
//!     use super::*;
//!
//!     #[tokio::test]
//!     async fn a_sign_up_defers_a_mail() {
//!         let recorder = Recorder::with(Runner::builder().state(Outbox::default()));
//!         let request = Request::post("/sign-up").body(Body::from("ada@example.com")).unwrap();
//!         app(recorder.layer()).oneshot(request).await.unwrap();
//!
//!         recorder.assert_deferred::<SendWelcome>(|mail| mail.to == "ada@example.com");
//!         recorder.run_all_ok().await; // and it can be sent
//!         recorder.assert_nothing_deferred();
//!     }
//!
//!     #[tokio::test]
//!     async fn no_mail_is_sent_after_a_failure() {
//!         let recorder = Recorder::new();
//!         scope(recorder.runner(), async { SendWelcome::defer("ada@example.com"); }).await;
//!
//!         let status = Some(StatusCode::INTERNAL_SERVER_ERROR);
//!         recorder.run_all_after(ResponseInfo::new(Delivery::Sent).with_status(status)).await;
//!         assert_eq!(recorder.runner().stats().skipped, 1);
//!     }
//!
//!     #[tokio::test]
//!     async fn a_wrong_address_is_given_up_at_the_third_attempt() {
//!         let recorder = Recorder::new();
//!         let (one, other) = scope(recorder.runner(), async {
//!             (SendWelcome::defer("nobody").id(), SendWelcome::defer("nobody").id())
//!         })
//!         .await;
//!
//!         let ended = recorder.run_attempt(one, 1).await;
//!         assert!(matches!(ended, JobEventKind::Retrying { .. }), "{ended:?}");
//!         let ended = recorder.run_attempt(other, 3).await;
//!         assert!(matches!(ended, JobEventKind::Failed { .. }), "{ended:?}");
//!     }
//!
//!     #[tokio::test]
//!     async fn a_mail_is_sent_over_a_socket() {
//!         let Outbox(mails) = Outbox::default();
//!         let runner = Runner::builder().state(Outbox(mails.clone())).build();
//!         let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
//!         let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
//!         let app = app(DeferLayer::new(runner.clone()));
//!         tokio::spawn(defer_axum::serve(listener, app).into_future());
//!
//!         let head = "POST /sign-up HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 15\r\n\r\n";
//!         client.write_all(format!("{head}ada@example.com").as_bytes()).await.unwrap();
//!         client.read_to_end(&mut Vec::new()).await.unwrap();
//!         runner.idle().await; // rather than a sleep
//!         assert_eq!(*mails.lock().unwrap(), ["ada@example.com"]);
//!     }
//! }
//! ```
//!
//! `cargo test` writes:
//!
//! ```text
//! running 4 tests
//! test tests::a_sign_up_defers_a_mail ... ok
//! test tests::a_wrong_address_is_given_up_at_the_third_attempt ... ok
//! test tests::no_mail_is_sent_after_a_failure ... ok
//! test tests::a_mail_is_sent_over_a_socket ... ok
//! test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
//! ```
//!
//! # What was deferred
//!
//! A [`Recorder`] replaces the runner: it keeps the jobs that handlers defer, and runs nothing by itself. It only sees its own
//! jobs, so tests can run in parallel. You do not have to read the response.
//!
//! | question | use |
//! |---|---|
//! | was this deferred? | `assert_deferred`, `assert_not_deferred`, `assert_none`, `assert_deferred_times`, `assert_nothing_deferred` |
//! | with this key, delay, condition, or queue? | `assert_deferred_with::<Remind>(\|remind, with\| with.delay() == Some(HOUR))` |
//! | were they deferred in this order? | `assert_order(&["SendWelcome", "AuditLog"])` |
//! | which jobs are there? | [`recorded()`], which returns a [`Recorded`] for each job |
//!
//! Derive `Debug` for your jobs (for functions, with `#[job(derive(Debug))]`), so that a failed assertion shows the fields of
//! the deferred jobs. It also tells you if jobs went to the global runner, as they do on a route without the recorder's layer.
//!
//! Among jobs with the same [`unique`] key, the first one stays, as if all responses were over. [`is_duplicate`] returns true
//! for the others.
//!
//! # Run the jobs
//!
//! | run | use |
//! |---|---|
//! | all jobs, and the jobs that they defer | `run_all().await`, or `run_all_ok().await`, which panics if a job fails |
//! | all jobs except for one type | `fake::<ChargeCard>()` first: jobs of this type stay recorded |
//! | all jobs, as after a response of your choice | `run_all_after(response).await` |
//! | one attempt of one job | `run_attempt(id, 3).await`, which returns how the attempt ended |
//!
//! Jobs and their conditions see the handler's response, even if you have not read it. Keep the response in a variable:
//! dropping it unread counts as a client that left, and jobs see `Disconnected`.
//!
//! A [`JobContext`] comes from a runner. To test a job on its own, without an app or a request, use a [`scope`] on a recorder,
//! as in the third test.
//!
//! Delays and backoffs take their time. [`skip_waits()`] makes them elapse immediately; a job that snoozes forever then fails
//! the test, by name. Tokio's paused clock skips waits too, but it also makes database calls time out.
//!
//! # Durable jobs
//!
//! A recorder runs a [durable job](super#durable-jobs) like any other. It serializes the job as JSON and reads it back, so a
//! test fails where a worker would. Unlike with a queue, later attempts still see headers and the query. To test the service
//! with its own runner, give the runner a [`TestQueue`], which needs no database:
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```text")]
//! use axum::{Router, body::Body, http::{Request, StatusCode}, routing::post};
//! use defer_axum::{
//!     DeferLayer, Deferrable, Job, JobContext, JobResult, JobStatus, Runner, queue::OnQueueFailure, testing::TestQueue,
//! };
//! use serde::{Deserialize, Serialize};
//! use tower::ServiceExt;
//!
//! #[derive(Deferrable, Serialize, Deserialize)]
//! #[defer(queue)]
//! struct Ship {
//!     order: u32,
//! }
//!
//! impl Job for Ship {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let queue = TestQueue::new();
//! queue.skip_waits();
//! let runner = Runner::builder().queue(queue.clone()).on_queue_failure(OnQueueFailure::Refuse).build();
//! let worker = queue.worker(runner.clone()).job::<Ship>();
//! let app = Router::new()
//!     .route("/orders/{order}", post(async || { Ship::defer(42_u32); }))
//!     .layer(DeferLayer::new(runner.clone()));
//!
//! let request = || Request::post("/orders/42").body(Body::empty()).unwrap();
//! let response = app.clone().oneshot(request()).await.unwrap();
//! assert_eq!(queue.written::<Ship>()[0].job.order, 42); // before the client has its answer
//! drop(response);
//! runner.idle().await; // it runs here, because the worker takes its type
//! worker.run_until_empty().await; // what was delayed or failed goes through the queue
//! assert_eq!(queue.written::<Ship>()[0].status, JobStatus::Succeeded);
//!
//! queue.set_away(true); // as a database that does not answer
//! assert_eq!(app.oneshot(request()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
//! # }
//! ```
//!
//! `push_in` needs the database of your transaction: Postgres, or SQLite in a file. With `defer-sqlx`,
//! `queue.stored::<Ship>(100).await` returns the stored jobs, and `worker.run_until_empty().await` runs them. Without
//! `push_in`, use `sqlite::memory:`.
//!
//! # Over a socket
//!
//! Some behavior only shows over a socket, such as `Delivery::Sent`. Use the real runner there, and await [`idle()`] instead of
//! sleeping: it completes when every job has ended. To see how jobs ended, read [`stats()`], or give the runner an [`on_event`]
//! hook.
//!
//! # Your own queue
//!
//! If you implement [`Queue`] for your own system, [`check_queue`] checks that it keeps the promises of the trait. You tell it
//! how to connect to a fresh place, and how to run its two job types. It also checks holding and inspecting jobs, if your queue
//! supports them. A failure names the broken promise and what was observed.
//!
//! [`Queue`]: crate::queue::Queue
//! [`check_queue`]: crate::testing::check_queue
//! [`Recorder`]: crate::testing::Recorder
//! [`Recorded`]: crate::testing::Recorded
//! [`recorded()`]: crate::testing::Recorder#method.recorded
//! [`skip_waits()`]: crate::testing::Recorder#method.skip_waits
//! [`TestQueue`]: crate::testing::TestQueue
//! [`unique`]: crate::Deferred::unique
//! [`is_duplicate`]: crate::Deferred::is_duplicate
//! [`JobContext`]: crate::JobContext
//! [`scope`]: crate::scope()
//! [`idle()`]: crate::Runner::idle
//! [`stats()`]: crate::Runner::stats
//! [`on_event`]: crate::RunnerBuilder::on_event

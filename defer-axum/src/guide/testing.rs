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
//! A [`Recorder`] takes the place of the runner: it keeps what handlers defer, and runs nothing by itself. It sees its own jobs
//! only, so tests run side by side. You need not read the response.
//!
//! | you ask | with |
//! |---|---|
//! | was this deferred? | `assert_deferred`, `assert_not_deferred`, `assert_none`, `assert_deferred_times`, `assert_nothing_deferred` |
//! | .. with this key, delay, condition, in a queue? | `assert_deferred_with::<Remind>(\|remind, with\| with.delay() == Some(HOUR))` |
//! | in this order? | `assert_order(&["SendWelcome", "AuditLog"])` |
//! | what is there? | [`recorded()`], one [`Recorded`] for each job |
//!
//! Derive `Debug` for your jobs (a function does so with `#[job(derive(Debug))]`): a failed assertion then shows the fields of what was
//! deferred. It also says if jobs went to the global runner meanwhile, as they do on a route without the recorder's layer.
//!
//! Of jobs with a [`unique`] key the first stays, as if all responses were over, and [`is_duplicate`] says so of the others.
//!
//! # Run it
//!
//! | you run | with |
//! |---|---|
//! | all of them, and the jobs that they defer | `run_all().await`; `run_all_ok().await` fails if one of them does |
//! | all of them but for one type | `fake::<ChargeCard>()` before: such a job stays recorded when its turn comes |
//! | all of them, after a response that you make up | `run_all_after(response).await` |
//! | one of them, on the attempt that you choose | `run_attempt(id, 3).await`, which returns how the attempt ended |
//!
//! Jobs see the response as the handler has answered it, and their conditions are asked about that, though nobody has read it. Keep it in
//! a variable: one that is dropped unread is a client that has left, of which jobs are told `Disconnected`.
//!
//! A [`JobContext`] comes from a runner. So test a job alone in a [`scope`] on a recorder, as the third test does: no app, no
//! request.
//!
//! Delays and backoffs are waited for. [`skip_waits()`] lets them elapse at once; a job that snoozes for ever then ends the test with
//! its name. Tokio's paused clock does it too, but ends whatever waits for a database.
//!
//! # Durable jobs
//!
//! A recorder runs a [durable job](super#durable-jobs) like any other. The job goes through JSON and back on the way, so that a test fails
//! where a worker would. But what a queue does not keep, headers and the query, later attempts still see here. To test the service with its runner, give that a [`TestQueue`]. It needs no database:
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
//! `push_in` needs the database of your transaction, SQLite in a file or Postgres. On `defer-sqlx`, `queue.stored::<Ship>(100).await`
//! returns what is there, with its payload, and `worker.run_until_empty().await` runs it. Where nothing is pushed in a
//! transaction, `sqlite::memory:` will do.
//!
//! # The whole of it
//!
//! What only a socket shows, such as `Delivery::Sent`, needs the real runner. Wait for [`idle()`] instead of sleeping: it
//! completes when every job has ended. To see how, look at the [`stats()`], or give the runner an [`on_event`].
//!
//! # A queue of your own
//!
//! If you write a [`Queue`] for a system that you have, [`check_queue`] checks that it keeps what is promised. Tell it how to connect to
//! a fresh place, and how to work off its two types of jobs. It checks what a queue that is pushed to promises, and more where yours
//! holds jobs or can be looked into; a failure says which promise is broken, and what was seen.
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

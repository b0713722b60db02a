//! Graceful shutdown without losing jobs: the signal, the drain, and the settings of Docker and Kubernetes.
//!
//! ```sh
//! cargo add axum defer-axum
//! cargo add tokio --features full
//! ```
//!
//! ```rust,no_run
//! use std::{io, time::Duration};
//!
//! use axum::{Router, routing::post};
//! use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult};
//! use tokio::signal::unix::{SignalKind, signal};
//!
//! #[derive(Deferrable)]
//! struct SendReport {
//!     seconds: u64,
//! }
//!
//! impl Job for SendReport {
//!     async fn run(&self, _cx: &JobContext) -> JobResult {
//!         println!("a report that takes {} s", self.seconds);
//!         tokio::time::sleep(Duration::from_secs(self.seconds)).await; // stands in for work
//!         println!("sent the report that took {} s", self.seconds);
//!         Ok(())
//!     }
//! }
//!
//! async fn report(seconds: String) -> Result<(), String> {
//!     let seconds: u64 = seconds.parse().map_err(|error| format!("how many seconds? {error}\n"))?;
//!     SendReport::defer(seconds);
//!     Ok(())
//! }
//!
//! /// Completes at Ctrl-C, and at the SIGTERM with which Docker, Kubernetes and systemd stop a process.
//! fn stop_signal() -> io::Result<impl Future<Output = ()>> {
//!     let mut interrupt = signal(SignalKind::interrupt())?;
//!     let mut terminate = signal(SignalKind::terminate())?;
//!     Ok(async move {
//!         tokio::select! {
//!             _ = interrupt.recv() => {}
//!             _ = terminate.recv() => {}
//!         }
//!         println!("stopping");
//!     })
//! }
//!
//! #[tokio::main]
//! async fn main() -> io::Result<()> {
//!     let app = Router::new().route("/report", post(report)).layer(DeferLayer::default());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!
//!     let report = defer_axum::serve(listener, app)
//!         .with_graceful_shutdown(stop_signal()?)
//!         .drain_timeout(Duration::from_secs(5))
//!         .await?;
//!     println!("{} completed in the drain", report.completed);
//!     for job in report.unfinished {
//!         eprintln!("not done: {} {}", job.name, job.id);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Defer one report that fits into the drain and one that does not, then stop the program:
//!
//! ```sh
//! curl -d 3 http://127.0.0.1:3000/report
//! curl -d 60 http://127.0.0.1:3000/report
//! pkill -TERM -x hello-jobs # the name of your program
//! ```
//!
//! ```text
//! a report that takes 3 s
//! a report that takes 60 s
//! stopping
//! sent the report that took 3 s
//! 1 completed in the drain
//! not done: SendReport 01M8BVM0PQ87MVX1SV00000002
//! ```
//!
//! # The sequence
//!
//! 1. At the signal, the server stops accepting connections, and [`Runner::shutdown_announced`] completes.
//! 2. It finishes open requests, for at most [`close_timeout`] (15 s by default). It then closes the remaining connections, however
//!    silent their clients are. Their jobs are released as [`Disconnected`](crate::Delivery::Disconnected), or as
//!    [`Cancelled`](crate::Delivery::Cancelled) if the handler had not answered.
//! 3. It drains the runners: every runner whose jobs came over this server, the global one, its worker's, and those given to
//!    [`drain`]. Jobs go on, including those deferred meanwhile, for at most [`drain_timeout`] (10 s by default).
//! 4. At the deadline it stops the remaining jobs. It leaves [durable jobs](super#durable-jobs) to other processes or to the next
//!    start, and names the others in the [`ShutdownReport`].
//!
//! # Durable jobs
//!
//! Give the queue's worker to the server: `.with_worker(worker)`. At the signal, the worker stops taking jobs. The drain ends when
//! the worker has stored how its jobs ended, so the next process does not run them again. Jobs that are stopped at the deadline
//! become ready for other processes, and the report counts them as `queued`.
//!
//! # Endless responses
//!
//! An event stream goes on until its client leaves. End it at the signal (`cargo add futures-util`):
//!
//! ```
//! use defer_axum::Runner;
//! use futures_util::{Stream, StreamExt};
//!
//! fn until_closing<S: Stream>(events: S, runner: Runner) -> impl Stream<Item = S::Item> {
//!     events.take_until(async move { runner.shutdown_announced().await })
//! }
//! ```
//!
//! In a WebSocket or a long poll, use `tokio::select!` in the same way.
//!
//! # Long jobs
//!
//! A job that takes longer than the drain can stop at a point of its choice, before the deadline stops it at an arbitrary one:
//!
//! ```
//! use defer_axum::{JobContext, JobError, JobResult};
//!
//! async fn reindex(cx: &JobContext) -> JobResult {
//!     for page in 0..1_000 {
//!         tokio::select! {
//!             () = cx.shutting_down() => return Err(JobError::msg(format!("stopped before page {page}"))),
//!             () = reindex_page(page) => {}
//!         }
//!     }
//!     Ok(())
//! }
//! # async fn reindex_page(_page: u32) {}
//! ```
//!
//! # Delayed jobs
//!
//! A job that waits for its [delay](crate::Deferred::delay) keeps the drain waiting, and is lost at the deadline. (A durable job
//! waits in its queue instead.) If a job should run early rather than not at all, use `at_shutdown = "run_now"`:
//!
//! ```
//! use defer_axum::{JobResult, job};
//! use std::time::Duration;
//!
//! #[job(at_shutdown = "run_now")]
//! async fn refresh_index() -> JobResult {
//!     println!("the index is up to date");
//!     Ok(())
//! }
//!
//! async fn edit_page() -> &'static str {
//!     refresh_index::defer().unique("index").delay(Duration::from_secs(60));
//!     "saved"
//! }
//! ```
//!
//! # Docker
//!
//! ```dockerfile
//! FROM debian:stable-slim
//! COPY target/release/hello-jobs /usr/local/bin/
//! STOPSIGNAL SIGTERM
//! CMD ["hello-jobs"]
//! ```
//!
//! Write `CMD` as a list. As a plain string it starts a shell: the shell gets the signal, and your program runs until it is killed.
//! `SIGTERM` is the default; set `STOPSIGNAL` in case the base image has another. In a container, listen on `0.0.0.0`.
//!
//! `docker stop` kills the container after 10 s. Allow more than the two timeouts together, plus 10 s if there is a queue, which
//! may be slow to store how its jobs ended:
//!
//! ```sh
//! docker stop -t 40 my-service
//! ```
//!
//! In a Compose file, set `stop_grace_period: 40s`. Or stay within the 10 s: `.close_timeout(Duration::from_secs(4))` and
//! `.drain_timeout(Duration::from_secs(3))`.
//!
//! # Kubernetes
//!
//! ```yaml
//! spec:
//!   terminationGracePeriodSeconds: 45 # preStop, close_timeout, drain_timeout, and 10 s for a queue
//!   containers:
//!     - name: my-service
//!       image: my-service
//!       ports:
//!         - containerPort: 3000
//!       readinessProbe:
//!         httpGet: { path: /ready, port: 3000 }
//!       lifecycle:
//!         preStop:
//!           sleep: { seconds: 5 }
//! ```
//!
//! The pod gets SIGTERM while it still receives requests, because the rest of the cluster learns of its end a little later.
//! `preStop` keeps it serving until then. (The `sleep` action needs Kubernetes 1.30. On older versions, use `exec` with a `sleep`
//! from the image.) After the grace period comes SIGKILL, and no report is written. So the grace period must exceed the sum: here 5
//! s, the default 15 s and 10 s, and 10 s for a slow queue. Without a queue and `preStop`, the default grace period of 30 s is
//! enough.
//!
//! Kubernetes stops routing to a terminating pod without any readiness probe. The probe is for a pod that is
//! [full](super::load#look-at-it).
//!
//! # Under another server
//!
//! Call [`announce_shutdown`] at the signal, and `runner.shutdown(Duration::from_secs(10)).await` once the server has ended.
//! `serve` does the same. [`Runner::shutdown`] returns the same report.
//!
//! [`Runner::shutdown_announced`]: crate::Runner::shutdown_announced
//! [`announce_shutdown`]: crate::Runner::announce_shutdown
//! [`Runner::shutdown`]: crate::Runner::shutdown
//! [`close_timeout`]: crate::serve::WithGracefulShutdown::close_timeout
//! [`drain`]: crate::serve::WithGracefulShutdown::drain
//! [`drain_timeout`]: crate::serve::WithGracefulShutdown::drain_timeout
//! [`ShutdownReport`]: crate::ShutdownReport

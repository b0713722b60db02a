//! Stopping without losing jobs: the signal, the drain, and what Docker and Kubernetes have to know.
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
//!         tokio::time::sleep(Duration::from_secs(self.seconds)).await; // in place of work
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
//! Defer a report that fits into the drain and one that does not, and stop the program:
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
//! # What happens
//!
//! 1. At the signal the server accepts no more connections, and [`Runner::shutdown_announced`] completes.
//! 2. It finishes the requests that are open, for at most [`close_timeout`] (15 s by default). Connections that are left then fail,
//!    however silent their client is: their jobs are released as [`Disconnected`](crate::Delivery::Disconnected), or as
//!    [`Cancelled`](crate::Delivery::Cancelled) where the handler had not answered.
//! 3. It drains every runner whose jobs came over it, the global one, that of its worker, and those given to [`drain`]: jobs run on, also
//!    those that are deferred meanwhile, for at most [`drain_timeout`] (10 s by default).
//! 4. At the deadline it stops what is left, leaves [durable jobs](super#durable-jobs) to other processes or to the next start, and names the
//!    others in the [`ShutdownReport`].
//!
//! # Durable jobs
//!
//! Give the queue's worker to the server: `.with_worker(worker)`. At the signal it takes no more jobs, and the drain ends when it has
//! stored how its jobs ended. A job that was done is then not run again by the next process. Jobs that the deadline stops are ready
//! for others, and counted in the report as `queued`.
//!
//! # End what would never end
//!
//! An event stream goes on until its client leaves. Let it end at the signal (`cargo add futures-util`):
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
//! A WebSocket or a long poll does the same with `tokio::select!`.
//!
//! # Long jobs
//!
//! A job that takes longer than the drain can stop at a good place, before the deadline stops it anywhere:
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
//! A job that waits for its [delay](crate::Deferred::delay) keeps the drain waiting, and at the deadline it is lost, unless it is durable: then
//! it waits in its queue. Where it had better run early than not at all, say so:
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
//! Write `CMD` as a list. As a plain string it starts a shell, the shell gets the signal, and your program hears nothing until it
//! is killed. `SIGTERM` is the default; say it where a base image says otherwise. In a container listen on `0.0.0.0`.
//!
//! `docker stop` kills after 10 s. Give it longer than the two timeouts together, and 10 s more if there is a queue, which may be slow to store
//! how its jobs ended:
//!
//! ```sh
//! docker stop -t 40 my-service
//! ```
//!
//! In a Compose file that is `stop_grace_period: 40s`. Or make do with the 10 s: `.close_timeout(Duration::from_secs(4))` and
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
//! The pod gets its SIGTERM while others still send it requests, because they hear of its end a little later. The `preStop` keeps
//! it serving until then (the action `sleep` needs Kubernetes 1.30; before, use `exec` with a `sleep` that is in the image).
//! After the grace period comes SIGKILL, and no report is written. So the sum has to be smaller: here 5 s, the 15 s and 10 s of the
//! defaults, and 10 s for a queue that is slow. Without queue and `preStop` they fit into the 30 s that Kubernetes gives by itself.
//!
//! A pod that ends is left out without the readiness probe. The probe is for one that is [full](super::load#look-at-it).
//!
//! # Under another server
//!
//! Call [`announce_shutdown`] at the signal, and `runner.shutdown(Duration::from_secs(10)).await` once the server has ended. That
//! is what `serve` does. [`Runner::shutdown`] returns the same report.
//!
//! [`Runner::shutdown_announced`]: crate::Runner::shutdown_announced
//! [`announce_shutdown`]: crate::Runner::announce_shutdown
//! [`Runner::shutdown`]: crate::Runner::shutdown
//! [`close_timeout`]: crate::serve::WithGracefulShutdown::close_timeout
//! [`drain`]: crate::serve::WithGracefulShutdown::drain
//! [`drain_timeout`]: crate::serve::WithGracefulShutdown::drain_timeout
//! [`ShutdownReport`]: crate::ShutdownReport

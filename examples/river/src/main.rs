//! `cargo run -p river`: sign-ups whose mails River's workers send. Start it several times on one database, kill some, and deploy
//! others: each mail of a sign-up that was answered is sent. Try `curl -d ada localhost:3000/sign-up`.
//!
//! It listens on `PORT` (3000). `QUEUE_URL` (`sqlite:river.db`) stores the jobs; `postgres://..` works too. A mail is a line in
//! the file `OUTBOX` (`outbox.txt`).

use std::{
    env,
    io::{self, Write},
    net::Ipv4Addr,
    path::PathBuf,
    time::Duration,
};

use axum::{Router, routing::post};
use defer_axum::{BoxError, Defer, DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
use defer_river::RiverQueue;
use serde::{Deserialize, Serialize};
use tokio::{fs::OpenOptions, io::AsyncWriteExt, net::TcpListener};

/// The timeout is also how long River waits before it takes an attempt for dead, and runs the job again.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 5, backoff = "1s..30s", timeout = "2s")]
struct SendWelcome {
    to: String,
}

/// Where the mails go.
struct Outbox(PathBuf);

impl Job for SendWelcome {
    async fn run(&self, cx: &JobContext) -> JobResult {
        tokio::time::sleep(Duration::from_millis(100)).await; // as a mail server would take
        let outbox = cx.state::<Outbox>()?;
        let mut file = OpenOptions::new().create(true).append(true).open(&outbox.0).await?;
        file.write_all(format!("{}\n", self.to).as_bytes()).await?;
        file.flush().await?;
        Ok(())
    }
}

async fn sign_up(defer: Defer, name: String) -> String {
    defer.push(SendWelcome { to: name.clone() });
    format!("welcome, {name}; the mail is on its way\n")
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    // With `defer-sqlx`: `SqlxQueue::connect(..)`. Nothing else changes.
    let queue = RiverQueue::connect(&setting("QUEUE_URL", "sqlite:river.db")).await?;
    let runner =
        Runner::builder().state(Outbox(setting("OUTBOX", "outbox.txt").into())).queue(queue.clone()).build();
    let worker = queue.worker(runner.clone()).job::<SendWelcome>().margin(Duration::from_secs(1));

    let app = Router::new().route("/sign-up", post(sign_up)).layer(DeferLayer::new(runner));
    let signal = stop_signal()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, setting("PORT", "3000").parse()?)).await?;
    // Not println!, which panics when stdout is closed.
    let _ = writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?);
    defer_axum::serve(listener, app).with_worker(worker).with_graceful_shutdown(signal).await?;
    Ok(())
}

fn setting(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}

/// Completes on Ctrl-C and, on Unix, on SIGTERM, which service managers send to stop a process.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        let terminated = terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<()>();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
    })
}

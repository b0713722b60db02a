//! `cargo run -p webhook_throttle`: a bot that looks for merge conflicts after every push. A busy repository sends one
//! webhook per second. A scan takes long, and one per minute is enough.
//!
//! It listens on `PORT` (3000). `QUEUE_URL` (`sqlite:queue.db`) stores the jobs until they are done, and when each scan started.
//! Several processes may share it. `EVERY_MS` (60000) is the shortest time between the starts of two scans of a repository.

use std::{env, io, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use defer_axum::{BoxError, DeferLayer, Deferrable, Job, JobContext, JobId, JobResult, Runner};
use defer_sqlx::SqlxQueue;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, signal};

#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 3)]
struct FindConflicts {
    repository: String,
}

impl Job for FindConflicts {
    async fn run(&self, cx: &JobContext) -> JobResult {
        // A real bot would fetch the open pull requests, and try to merge each.
        println!("scanning {} as {}", self.repository, cx.id());
        Ok(())
    }
}

/// Returns the job's id. If the job is left out, its id leads to the scan that ran in its place.
async fn webhook(State(every): State<Duration>, Path(repository): Path<String>) -> String {
    let key = format!("scan:{repository}");
    let scan = FindConflicts::defer(repository).at_most_every(key, every);
    format!("{}\n", scan.id())
}

async fn status(State(queue): State<SqlxQueue>, Path(id): Path<JobId>) -> Result<String, String> {
    let status = queue.status(id).await.map_err(|error| error.to_string())?;
    Ok(status.map_or_else(|| "unknown\n".to_owned(), |status| format!("{status:?}\n")))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(io::stderr).init(); // prints what fails
    let url = env::var("QUEUE_URL").unwrap_or_else(|_| "sqlite:queue.db".into());
    let queue = SqlxQueue::connect(&url).await?;
    let runner = Runner::builder().queue(queue.clone()).build();
    let every = env::var("EVERY_MS").map_or(Ok(60_000), |every| every.parse())?;

    let app = Router::new()
        .route("/webhooks/{repository}", post(webhook).with_state(Duration::from_millis(every)))
        .route("/scans/{id}", get(status).with_state(queue.clone()))
        .layer(DeferLayer::new(runner.clone()));
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("a webhook: curl -X POST localhost:{port}/webhooks/axum");
    println!("its scan:  curl localhost:{port}/scans/ID");

    let ctrl_c = async { signal::ctrl_c().await.expect("Ctrl-C can be waited for") };
    let worker = queue.worker(runner).job::<FindConflicts>();
    defer_axum::serve(listener, app).with_graceful_shutdown(ctrl_c).with_worker(worker).await?;
    Ok(())
}

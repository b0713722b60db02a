//! The promises of the dashboard, over a socket.

mod actions;
mod durable;
mod find;
mod live;
mod page;
mod queue;
mod runs;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{Router, routing::get};
use defer_axum::{Dashboard, Deferrable, Job, JobContext, JobError, JobResult, Runner};
use defer_tests::{By, Reply, Server, Tcp, in_time};
use serde_json::Value;

/// Succeeds.
#[derive(Deferrable)]
struct Good;

impl Job for Good {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

/// Fails with this error, at once and permanently.
#[derive(Deferrable)]
struct Fails(String);

impl Job for Fails {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg(self.0.clone()))
    }
}

/// Fails twice, and then succeeds.
#[derive(Deferrable)]
#[defer(tries = 3, backoff = "1ms")]
struct Third(#[defer(default)] AtomicU32);

impl Job for Third {
    async fn run(&self, _: &JobContext) -> JobResult {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            2 => Ok(()),
            failed => Err(JobError::msg(format!("failure {}", failed + 1))),
        }
    }
}

/// Panics.
#[derive(Deferrable)]
struct Panics;

impl Job for Panics {
    async fn run(&self, _: &JobContext) -> JobResult {
        panic!("on purpose");
    }
}

/// Takes longer than its timeout.
#[derive(Deferrable)]
#[defer(timeout = "1ms")]
struct Endless;

impl Job for Endless {
    async fn run(&self, _: &JobContext) -> JobResult {
        std::future::pending().await
    }
}

/// Serves jobs of every kind at `/jobs-of-every-kind`, and the dashboard at `/jobs`.
async fn every_kind(by: By, runner: &Runner, dashboard: Dashboard) -> Server {
    let handler = async || {
        Good::defer();
        Fails::defer("refused");
        Third::defer();
        Panics::defer();
        Endless::defer();
        Good::defer().when(|_| false);
        Good::defer().cancel();
    };
    let routes = Router::new().route("/jobs-of-every-kind", get(handler)).nest("/jobs", dashboard.into());
    by.serve(routes, runner).await
}

/// Runs one job of every kind.
async fn run_every_kind(server: &Server) {
    assert_eq!(Tcp::connect(server.addr).await.get("/jobs-of-every-kind").await.status, 200);
    in_time(server.runner.idle()).await;
}

/// Serves this router without jobs, on a free port.
async fn serve(router: Router, runner: &Runner) -> Server {
    By::Axum.serve_app(router, runner).await
}

async fn page(server: &Server, path: &str) -> String {
    let reply = Tcp::connect(server.addr).await.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.text()
}

async fn data(server: &Server, path: &str) -> Value {
    serde_json::from_str(&page(server, path).await).expect("JSON")
}

/// Returns the names of the runs, or of the types.
fn names(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().expect("an array");
    rows.iter().map(|row| row["name"].as_str().expect("a name")).collect()
}

/// Posts a form as a browser does from the page itself.
async fn post(server: &Server, path: &str, form: &str, headers: &str) -> Reply {
    let mut client = Tcp::connect(server.addr).await;
    let length = form.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n");
    let kind = "content-type: application/x-www-form-urlencoded\r\n";
    client.send(format!("{head}{kind}{headers}\r\n{form}")).await;
    client.reply("POST").await
}

/// How long to wait for something that should not happen. Too short a wait cannot fail a test.
const MOMENT: Duration = Duration::from_millis(50);

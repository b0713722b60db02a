//! What a sender of webhooks sees: the real program, over HTTP.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

use std::{process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// How long a test waits for what must come. Only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running example. Dropping it kills it.
struct Program {
    url: String,
    client: reqwest::Client,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Program {
    async fn start(folder: &TempDir, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_webhook_throttle"));
        command
            .env("PORT", "0")
            .env("QUEUE_URL", format!("sqlite:{}", folder.path().join("queue.db").display()));
        command.envs(settings.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut program =
            Self { url: String::new(), client: reqwest::Client::new(), lines, _process: process };
        program.url = program.line("listening on ").await;
        program
    }

    /// Waits for the next line that begins so, and returns the rest of it.
    async fn line(&mut self, begins: &str) -> String {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line").unwrap();
            let line = line.expect("another line before it ends");
            if let Some(rest) = line.strip_prefix(begins) {
                return rest.to_owned();
            }
        }
    }

    /// Returns the id of the job.
    async fn webhook(&self, repository: &str) -> String {
        let request = self.client.post(format!("{}/webhooks/{repository}", self.url));
        request.send().await.unwrap().text().await.unwrap().trim().to_owned()
    }

    /// Waits until a job has this status.
    async fn until(&self, id: &str, status: &str) {
        let url = format!("{}/scans/{id}", self.url);
        let is = async || self.client.get(&url).send().await.unwrap().text().await.unwrap().contains(status);
        let until = async {
            while !is().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, until).await.unwrap_or_else(|_| panic!("{id} is not {status}"));
    }
}

#[tokio::test]
async fn of_many_webhooks_one_starts_a_scan_whichever_process_they_reach() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = Program::start(&folder, &[]).await;
    let first = one.webhook("axum").await;
    assert_eq!(one.line("scanning axum as ").await, first);
    one.until(&first, "Succeeded").await;
    let other = Program::start(&folder, &[]).await;
    for program in [&one, &other, &one, &other] {
        let id = program.webhook("axum").await;
        program.until(&id, &format!("Duplicate {{ of: JobId({first})")).await;
    }
    let of_another = other.webhook("tower").await;
    other.until(&of_another, "Succeeded").await;
}

#[tokio::test]
async fn after_a_while_another_scan_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(&folder, &[("EVERY_MS", "1")]).await;
    for _ in 0..2 {
        let id = program.webhook("axum").await;
        assert_eq!(program.line("scanning axum as ").await, id);
        program.until(&id, "Succeeded").await;
    }
}

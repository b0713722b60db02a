//! The service as a sender of webhooks sees it: the real program, over HTTP.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

#[path = "../../search_index/tests/support/program.rs"]
mod program;

use program::{Program, eventually::eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_webhook_throttle");

/// Longer than any test takes.
const AN_HOUR: &[(&str, &str)] = &[("EVERY_MS", "3600000")];

impl Program {
    /// Returns the id of the job.
    async fn webhook(&self, repository: &str) -> String {
        let request = self.client.post(format!("{}/webhooks/{repository}", self.url));
        request.send().await.unwrap().text().await.unwrap().trim().to_owned()
    }

    /// Waits until a job has this status.
    async fn until(&self, id: &str, status: &str) {
        let url = format!("{}/scans/{id}", self.url);
        eventually(&format!("{status} of {id}"), async || {
            let answer = self.client.get(&url).send().await.unwrap().text().await.unwrap();
            answer.contains(status).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn of_many_webhooks_one_starts_a_scan_whichever_process_they_reach() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = Program::start(PROGRAM, &folder, AN_HOUR).await;
    let first = one.webhook("axum").await;
    assert_eq!(one.line("scanning axum as ").await, first);
    one.until(&first, "Succeeded").await;
    let other = Program::start(PROGRAM, &folder, AN_HOUR).await;
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
    let mut program = Program::start(PROGRAM, &folder, &[("EVERY_MS", "1")]).await;
    for _ in 0..2 {
        let id = program.webhook("axum").await;
        assert_eq!(program.line("scanning axum as ").await, id);
        program.until(&id, "Succeeded").await;
    }
}

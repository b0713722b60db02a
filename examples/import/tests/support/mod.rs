//! The service as its users see it: the real program, over HTTP.

#![allow(dead_code, reason = "each test crate uses a part of this")]

#[path = "../../../signup/tests/support/eventually.rs"]
pub(crate) mod eventually;

use std::process::Stdio;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use eventually::PATIENCE;

/// A running service. Dropping it kills it.
pub(crate) struct Service {
    pub(crate) url: String,
    process: Child,
    // Kept open: the service may still write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Service {
    /// Starts a service whose imports take this long per line.
    pub(crate) async fn start(line_ms: u64) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_import"))
            .env_remove("RUST_LOG")
            .env("PORT", "0")
            .env("LINE_MS", line_ms.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it says where it listens").unwrap();
        let line = line.expect("it says where it listens");
        let url = line.strip_prefix("listening on ").expect("it says where it listens").to_owned();
        Self { url, process, _stdout: lines }
    }

    /// Starts an import, and returns its id.
    pub(crate) async fn import(&self, list: impl Into<reqwest::Body>) -> String {
        let answer = client().post(format!("{}/imports", self.url)).body(list).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.json().await.unwrap()
    }

    pub(crate) async fn cancel(&self, id: &str) -> StatusCode {
        client().delete(format!("{}/imports/{id}", self.url)).send().await.unwrap().status()
    }

    pub(crate) async fn events(&self, id: &str) -> Events {
        let response = client().get(format!("{}/imports/{id}/progress", self.url)).send().await.unwrap();
        Events { response, received: Vec::new() }
    }

    /// Asks the service to stop, and waits until it has.
    pub(crate) async fn stop(mut self) {
        let pid = self.process.id().expect("it runs");
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().await.unwrap();
        assert!(sent.success());
        let status = timeout(PATIENCE, self.process.wait()).await.expect("the service stops").unwrap();
        assert!(status.success());
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}

/// Server-sent events.
pub(crate) struct Events {
    pub(crate) response: reqwest::Response,
    received: Vec<u8>,
}

impl Events {
    /// Returns the data of the next event, or `None` once the stream has ended properly.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.received.drain(..end + 2).collect();
                if let Some(data) = String::from_utf8(event).unwrap().trim().strip_prefix("data:") {
                    return Some(serde_json::from_str(data).unwrap());
                }
                continue;
            }
            self.received.extend(self.response.chunk().await.unwrap()?);
        }
    }

    pub(crate) async fn all(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

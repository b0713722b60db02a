//! An example with a queue, as its users see it: the real program, over HTTP.

#![allow(dead_code, reason = "each test crate uses a part of this")]

#[path = "../../../signup/tests/support/eventually.rs"]
pub(crate) mod eventually;

use std::process::Stdio;

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use eventually::PATIENCE;

/// The running example. Dropping it kills it.
pub(crate) struct Program {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Program {
    /// Starts the program at this path, with its queue in this folder.
    pub(crate) async fn start(path: &str, folder: &TempDir, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(path);
        command
            .env("PORT", "0")
            .env("QUEUE_URL", format!("sqlite:{}", folder.path().join("queue.db").display()));
        command.envs(settings.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let mut program = Self { url: String::new(), client, lines, _process: process };
        program.url = program.line("listening on ").await;
        program
    }

    /// Waits for the next line with this prefix, and returns the rest of it.
    pub(crate) async fn line(&mut self, begins: &str) -> String {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line").unwrap();
            let line = line.expect("another line before it ends");
            if let Some(rest) = line.strip_prefix(begins) {
                return rest.to_owned();
            }
        }
    }
}

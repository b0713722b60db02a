//! What an editor and a reader see: the real program, over HTTP.

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
        let mut command = Command::new(env!("CARGO_BIN_EXE_search_index"));
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

    async fn save(&self, edit: u32, text: &'static str) {
        let request = self.client.put(format!("{}/documents/plan/{edit}", self.url)).body(text);
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "saved plan\n");
    }

    async fn search(&self, word: &str) -> String {
        let url = format!("{}/search?word={word}", self.url);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }
}

#[tokio::test]
async fn the_last_of_many_edits_is_indexed_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(&folder, &[("PAUSE_MS", "3000"), ("LONGEST_MS", "3600000")]).await;
    for (edit, text) in [(1, "Tea"), (2, "Tea at"), (3, "Tea at four")] {
        program.save(edit, text).await;
    }
    assert_eq!(program.line("indexed ").await, "plan as of edit 3");
    assert_eq!(program.search("FOUR").await, "plan\n");
    program.save(4, "Coffee at five").await;
    assert_eq!(program.line("indexed ").await, "plan as of edit 4", "nothing else was indexed");
    assert_eq!(
        (program.search("four").await, program.search("coffee").await),
        (String::new(), "plan\n".into())
    );
}

#[tokio::test]
async fn who_does_not_pause_is_indexed_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(&folder, &[("PAUSE_MS", "3600000"), ("LONGEST_MS", "2000")]).await;
    for edit in 1..=3 {
        program.save(edit, "Tea").await;
    }
    program.line("indexed plan as of edit ").await;
    assert_eq!(program.search("tea").await, "plan\n");
}

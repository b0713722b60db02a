//! Several processes on one database, over HTTP: on SQLite, and on the Postgres of `DEFER_TEST_POSTGRES`.

// The processes are started and asked by helpers.
#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// How long a test waits for what must come. Only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process of the service.
struct Process {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl Process {
    async fn start(folder: &Path, queue: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_river"))
            .current_dir(folder)
            .env("PORT", "0")
            .env("QUEUE_URL", queue)
            .env_remove("OUTBOX")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it starts").unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url, client: reqwest::Client::new() }
    }

    async fn sign_up(&self, name: &str) {
        let answer = self.client.post(format!("{}/sign-up", self.url)).body(name.to_owned()).send().await;
        assert!(answer.unwrap().text().await.unwrap().starts_with("welcome"));
    }

    /// Kills it with SIGKILL.
    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, as a deployment does, and waits until it has.
    async fn stop(mut self) {
        let kill = format!("kill -TERM {}", self.child.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
        assert!(timeout(PATIENCE, self.child.wait()).await.expect("it stops").unwrap().success());
    }
}

async fn each_mail_is_sent(folder: PathBuf, queue: &str) {
    let mut names = Vec::new();
    let mut sign_ups = async |process: &Process, what: &str| {
        for number in 0..10 {
            let name = format!("{number} {what}");
            process.sign_up(&name).await;
            names.push(name);
        }
    };
    let (first, second) = (Process::start(&folder, queue).await, Process::start(&folder, queue).await);
    sign_ups(&first, "of one that is killed").await;
    first.kill().await;
    sign_ups(&second, "of one that is deployed anew").await;
    let third = Process::start(&folder, queue).await;
    second.stop().await;
    sign_ups(&third, "of the new version").await;
    let all_are_sent = async {
        loop {
            let outbox = std::fs::read_to_string(folder.join("outbox.txt")).unwrap_or_default();
            if names.iter().all(|name| outbox.lines().any(|line| line == name)) {
                return;
            }
            // Polled: another process writes the file.
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, all_are_sent).await.expect("each mail is sent");
    third.stop().await;
}

#[tokio::test]
async fn processes_that_are_killed_and_deployed_lose_no_mail_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    each_mail_is_sent(folder.path().to_owned(), "sqlite:river.db").await;
}

#[cfg(feature = "_servers")]
#[tokio::test]
async fn processes_that_are_killed_and_deployed_lose_no_mail_on_postgres() {
    use defer_river::sqlx::{AssertSqlSafe, Connection, PgConnection, query};
    let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
    let name = format!("test_river_{}", std::process::id());
    let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    each_mail_is_sent(folder.path().to_owned(), &format!("{server}/{name}")).await;
}

//! The audit log, even after a crash: the real program, over HTTP.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use defer_sqlx::SqlxQueue;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{Sqlite, SqlitePool, Transaction};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

const PLAN: &str = "/documents/plan";
const ROUTE: &str = "/documents/{name}";

#[tokio::test]
async fn each_request_but_those_that_read_leaves_one_entry_with_its_status() {
    let service = Service::start().await;
    let requests = [
        ("ada", Method::PUT, PLAN, 201, json!(ROUTE)),
        ("ada", Method::PUT, PLAN, 200, json!(ROUTE)),
        ("grace", Method::PUT, PLAN, 403, json!(ROUTE)),
        ("grace", Method::DELETE, PLAN, 403, json!(ROUTE)),
        ("", Method::PUT, PLAN, 401, json!(ROUTE)),
        ("ada", Method::GET, PLAN, 200, Value::Null),
        ("ada", Method::DELETE, PLAN, 200, json!(ROUTE)),
        ("ada", Method::DELETE, PLAN, 404, json!(ROUTE)),
        ("ada", Method::PATCH, PLAN, 405, json!(ROUTE)),
        ("ada", Method::POST, "/nowhere", 404, Value::Null),
        ("", Method::GET, "/nowhere", 404, Value::Null),
    ];
    let mut expected = Vec::new();
    for (number, (user, method, path, status, route)) in requests.into_iter().enumerate() {
        let id = format!("request {number:02}");
        assert_eq!(service.ask(method.clone(), path, user, &id).await, status, "{id}");
        if method != Method::GET {
            let user = (!user.is_empty()).then_some(user);
            let method = method.as_str();
            let entry =
                json!({ "user": user, "method": method, "route": route, "path": path, "status": status });
            expected.push((id, entry));
        }
    }
    let mut entries = service.entries(expected.len()).await;
    entries.sort_by_key(|entry| entry["request_id"].to_string());
    for (entry, (id, expected)) in entries.iter_mut().zip(expected) {
        let entry = entry.as_object_mut().unwrap();
        assert_eq!(entry.remove("request_id"), Some(json!(id)));
        assert!(entry.remove("at").unwrap().as_str().unwrap().ends_with('Z'));
        assert_eq!(Value::Object(entry.clone()), expected, "{id}");
    }
}

#[tokio::test]
async fn a_request_without_an_id_is_given_one_and_told() {
    let service = Service::start().await;
    let request = service.client.put(service.url(PLAN)).header("x-user", "ada");
    let response = request.send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap();
    assert_eq!(service.entries(1).await[0]["request_id"], id);
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_leaves_an_entry_without_a_status() {
    let service = Service::start().await;
    // The handler cannot answer.
    let _locked = lock(&service.folder.path().join("documents.db")).await;
    let mut connection = TcpStream::connect(service.address.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "host: audit\r\nx-user: ada\r\ncontent-length: 3\r\nexpect: 100-continue\r\n";
    connection.write_all(format!("PUT {PLAN} HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    timeout(PATIENCE, connection.read_exact(&mut go_on)).await.expect("the handler asks for it").unwrap();
    connection.write_all(b"Tea").await.unwrap();
    drop(connection);

    let entries = service.entries(1).await;
    assert_eq!((&entries[0]["user"], &entries[0]["status"]), (&json!("ada"), &Value::Null));
}

#[tokio::test]
async fn entries_are_written_even_while_the_queue_cannot_be_written() {
    let service = Service::start().await;
    let _locked = lock(&service.folder.path().join("queue.db")).await;
    assert_eq!(service.ask(Method::PUT, PLAN, "ada", "the request").await, 201);
    let entries = service.entries(1).await;
    assert_eq!((&entries[0]["request_id"], &entries[0]["status"]), (&json!("the request"), &json!(201)));
}

#[tokio::test]
async fn the_entries_of_answered_requests_survive_a_kill_before_they_are_written() {
    let service = Service::start().await;
    // Blocks every entry until this is dropped.
    let locked = lock(&service.folder.path().join("audit.db")).await;
    let mut expected = Vec::new();
    for number in 0..10 {
        let id = format!("request {number}");
        let path = format!("/documents/{number}");
        assert_eq!(service.ask(Method::PUT, &path, "ada", &id).await, 201);
        expected.push(json!([id, 201, ROUTE, path]));
        let id = format!("refused {number}");
        assert_eq!(service.ask(Method::DELETE, &path, "grace", &id).await, 403);
        expected.push(json!([id, 403, ROUTE, path]));
    }
    assert_eq!(service.all_entries().await.len(), 0);
    let folder = service.kill().await;
    drop(locked);

    let service = Service::start_in(folder).await;
    let entries = service.entries_once_the_queue_is_empty().await;
    let fields = |entry: &Value| json!([entry["request_id"], entry["status"], entry["route"], entry["path"]]);
    let mut found: Vec<_> = entries.iter().map(fields).collect();
    found.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_entry_that_was_written_before_the_kill_is_not_written_again() {
    let service = Service::start().await;
    assert_eq!(service.ask(Method::PUT, PLAN, "ada", "before").await, 201);
    // From here on, jobs run in the service itself.
    service.entries_once_the_queue_is_empty().await;
    let log = lock(&service.folder.path().join("audit.db")).await;
    assert_eq!(service.ask(Method::PUT, PLAN, "ada", "the request").await, 200);
    // Now the entry can be written, but the end of its job cannot.
    let queue = lock(&service.folder.path().join("queue.db")).await;
    drop(log);
    let written = service.entries(2).await;
    let folder = service.kill().await;
    drop(queue);

    let service = Service::start_in(folder).await;
    let queue = service.queue().await;
    assert_eq!(queue.counts().await.unwrap().done, 1);
    assert_eq!(service.entries_once_the_queue_is_empty().await, written);
    assert_eq!(queue.counts().await.unwrap().done, 2);
}

#[tokio::test]
async fn a_stop_signal_loses_no_entry() {
    let service = Service::start().await;
    for number in 0..10 {
        let status = service.ask(Method::PUT, PLAN, "ada", &format!("request {number}")).await;
        assert_eq!(status, if number == 0 { 201 } else { 200 });
    }
    let (status, folder) = service.stop().await;
    assert_eq!(status.code(), Some(0));

    let service = Service::start_in(folder).await;
    assert_eq!(service.entries_once_the_queue_is_empty().await.len(), 10);
}

#[tokio::test]
async fn an_entry_can_be_neither_changed_nor_deleted() {
    let service = Service::start().await;
    assert_eq!(service.ask(Method::PUT, PLAN, "ada", "the request").await, 201);
    let entries = service.entries(1).await;
    let log = open(&service.folder.path().join("audit.db")).await;
    for statement in ["UPDATE entries SET user = 'grace'", "DELETE FROM entries"] {
        let error = sqlx::query(statement).execute(&log).await.unwrap_err().to_string();
        assert!(error.contains("an entry is never"), "{error}");
    }
    assert_eq!(service.all_entries().await, entries);
}

#[tokio::test]
async fn a_bad_environment_is_named_and_starts_nothing() {
    for (variable, value) in [
        ("PORT", "http"),
        ("DATABASE_URL", "postgres://localhost/app"),
        ("DATABASE_URL", "sqlite:no/such/folder/documents.db"),
        ("AUDIT_URL", ""),
        ("QUEUE_URL", "redis://localhost"),
    ] {
        let folder = TempDir::new().unwrap();
        let mut program = program(folder.path());
        let output = program.env(variable, value).output().await.unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.starts_with(&format!("audit: {variable}")), "{log}");
        assert!(log.contains(" is not usable: "), "{log}");
        assert!(output.stdout.is_empty());
    }
}

/// A running service. Dropping it kills it.
struct Service {
    address: String,
    client: Client,
    process: Child,
    folder: TempDir,
    // Kept open: the program may still write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Service {
    async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let mut process = program(folder.path()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it says where it listens").unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended: {}", log(folder.path())));
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { address, client, process, folder, _stdout: lines }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Sends a request as this user, or without one, and returns the status of the answer.
    async fn ask(&self, method: Method, path: &str, user: &str, id: &str) -> u16 {
        let mut request = self.client.request(method, self.url(path)).header("x-request-id", id);
        if !user.is_empty() {
            request = request.header("x-user", user);
        }
        let response = request.body("Tea at four").send().await.unwrap();
        assert_eq!(response.headers()["x-request-id"], id);
        response.status().as_u16()
    }

    async fn all_entries(&self) -> Vec<Value> {
        let response = self.client.get(self.url("/audit")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let lines = response.text().await.unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns all entries, once there are this many.
    async fn entries(&self, so_many: usize) -> Vec<Value> {
        eventually("the entries", async || {
            Some(self.all_entries().await).filter(|entries| entries.len() >= so_many)
        })
        .await
    }

    /// Returns all entries, once no more can follow.
    async fn entries_once_the_queue_is_empty(&self) -> Vec<Value> {
        let queue = self.queue().await;
        eventually("the queue is empty", async || {
            let counts = queue.counts().await.unwrap();
            assert_eq!(counts.failed, 0);
            (counts.pending + counts.running == 0).then_some(())
        })
        .await;
        self.all_entries().await
    }

    async fn queue(&self) -> SqlxQueue {
        let file = self.folder.path().join("queue.db");
        SqlxQueue::connect(&format!("sqlite:{}", file.display())).await.unwrap()
    }

    async fn kill(mut self) -> TempDir {
        self.process.kill().await.unwrap();
        self.folder
    }

    /// Asks the program to stop, as a service manager does, and waits until it has.
    async fn stop(mut self) -> (ExitStatus, TempDir) {
        let kill = format!("kill -TERM {}", self.process.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
        let status = timeout(PATIENCE, self.process.wait()).await.expect("it stops").unwrap();
        (status, self.folder)
    }
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_audit"));
    command
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .env_remove("AUDIT_URL")
        .env_remove("QUEUE_URL")
        .env_remove("RUST_LOG")
        .env("PORT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .kill_on_drop(true);
    command
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap()
}

async fn open(file: &Path) -> SqlitePool {
    SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap()
}

/// Keeps all others from writing to a database. They can still read it.
async fn lock(file: &Path) -> Transaction<'static, Sqlite> {
    open(file).await.begin_with("BEGIN IMMEDIATE").await.unwrap()
}

/// Polls until there is an answer.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            // Polled: another process does not notify anyone of a change.
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

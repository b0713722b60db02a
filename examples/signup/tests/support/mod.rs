//! The service as its users see it: the real program, in its own folder, over HTTP.

#![allow(dead_code, reason = "each test crate uses a part of this")]

pub(crate) mod eventually;
pub(crate) mod mail_server;

use std::{
    fs,
    path::Path,
    process::{ExitStatus, Stdio},
};

use reqwest::{Response, header};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use eventually::PATIENCE;

/// A running service. Dropping it kills it.
pub(crate) struct Service {
    pub(crate) url: String,
    /// The folder with its database, its outbox and its log.
    pub(crate) folder: TempDir,
    process: Child,
    // Kept open: the service may still write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

/// The files that a stopped service leaves behind.
pub(crate) struct Stopped {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
    pub(crate) folder: TempDir,
}

impl Service {
    pub(crate) async fn start(vars: &[(&str, &str)]) -> Self {
        Self::start_in(TempDir::new().unwrap(), vars).await
    }

    pub(crate) async fn start_in(folder: TempDir, vars: &[(&str, &str)]) -> Self {
        let mut process = program(folder.path(), vars).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("the service says where it listens").unwrap();
        let url = line.as_deref().and_then(|line| line.strip_prefix("listening on "));
        let Some(url) = url else {
            panic!("{line:?} instead of an address; the log: {}", log(folder.path()));
        };
        Self { url: url.to_owned(), folder, process, _stdout: lines }
    }

    /// Posts the form as the page's script does.
    pub(crate) async fn post(&self, fields: &[(&str, &str)]) -> Response {
        let request = client().post(format!("{}/signup", self.url));
        let request = request.header(header::ACCEPT, "application/json");
        request.form(fields).send().await.unwrap()
    }

    /// Signs up and returns the sign-up's number.
    pub(crate) async fn sign_up(&self, name: &str, email: &str) -> u64 {
        let response = self.post(&[("name", name), ("email", email)]).await;
        assert_eq!(response.status(), 201);
        let body: Value = response.json().await.unwrap();
        body["id"].as_u64().unwrap()
    }

    pub(crate) async fn page(&self) -> String {
        let response = client().get(&self.url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    /// Returns the state of each mail on the page, the latest sign-up first.
    pub(crate) async fn mail_states(&self) -> Vec<String> {
        let page = self.page().await;
        let rows = page.split("data-mail=\"").skip(1);
        rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
    }

    pub(crate) async fn feed(&self) -> Feed {
        let response = client().get(format!("{}/events", self.url)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Feed { response, received: Vec::new() }
    }

    /// Returns the complete mails in the outbox.
    pub(crate) fn mails(&self) -> Vec<String> {
        mails(self.folder.path())
    }

    /// Asks the service to stop, as a service manager does, and waits until it has.
    pub(crate) async fn stop(self) -> Stopped {
        let pid = self.process.id().expect("it runs");
        let kill = format!("kill -TERM {pid}");
        let sent = Command::new("sh").args(["-c", &kill]).status().await.unwrap();
        assert!(sent.success());
        self.end().await
    }

    /// Kills the service as a power cut would.
    pub(crate) async fn crash(mut self) -> Stopped {
        self.process.start_kill().unwrap();
        self.end().await
    }

    async fn end(mut self) -> Stopped {
        let status = timeout(PATIENCE, self.process.wait()).await;
        Stopped {
            status: status.expect("the service stops").unwrap(),
            log: log(self.folder.path()),
            folder: self.folder,
        }
    }
}

/// Creates the program's command with only these variables, and its log in the folder.
pub(crate) fn program(folder: &Path, vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signup"));
    for own in [
        "HOST",
        "DATABASE_URL",
        "QUEUE_URL",
        "OUTBOX",
        "SMTP_URL",
        "MAIL_FROM",
        "MAIL_DELAY_MS",
        "DRAIN_TIMEOUT_SECS",
        "RUST_LOG",
    ] {
        command.env_remove(own);
    }
    command
        .current_dir(folder)
        .env("PORT", "0")
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(folder.join("log")).unwrap())
        .kill_on_drop(true);
    command
}

pub(crate) fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build().unwrap()
}

/// Returns the mails in a folder's outbox. lettre does not write a file in one step, so this leaves out those
/// without the last line of the text: they are still being written.
pub(crate) fn mails(folder: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(folder.join("outbox")) else {
        return Vec::new();
    };
    files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .filter(|mail| mail.ends_with("before this mail was written.\r\n"))
        .collect()
}

/// The live feed of the page, `GET /events`.
pub(crate) struct Feed {
    response: Response,
    received: Vec<u8>,
}

impl Feed {
    /// Returns the next row, or `None` once the stream has ended properly.
    pub(crate) async fn row(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.received.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                // Lines that begin with a colon only keep the connection alive.
                if let Some(data) = event.trim().strip_prefix("data:") {
                    return Some(serde_json::from_str(data).unwrap());
                }
                continue;
            }
            self.received.extend(self.response.chunk().await.unwrap()?);
        }
    }
    /// Returns the next row whose mail has this state.
    pub(crate) async fn row_in_state(&mut self, state: &str) -> String {
        let state = format!("data-mail=\"{state}\"");
        loop {
            let row = self.row().await.unwrap_or_else(|| panic!("no row had {state}"));
            if row.contains(&state) {
                return row;
            }
        }
    }
}

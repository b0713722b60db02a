//! Sends the mails through a real SMTP server, aiosmtpd.
//!
//! `SIGNUP_SMTP_PYTHON` is a Python with aiosmtpd: run `python3 -m venv venv && venv/bin/pip install
//! aiosmtpd`, and set it to `venv/bin/python`.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

mod support;

use std::{env, fs, path::Path, process::Stdio};

use support::{Service, eventually::eventually};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The server. It stops when this is dropped.
struct SmtpServer {
    url: String,
    folder: TempDir,
    _process: Child,
}

impl SmtpServer {
    async fn start() -> Self {
        let python = env::var_os("SIGNUP_SMTP_PYTHON")
            .expect("SIGNUP_SMTP_PYTHON must name a Python that has aiosmtpd, such as venv/bin/python");
        let folder = TempDir::new().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp_server.py");
        let mut process = Command::new(&python)
            .arg(script)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("SIGNUP_SMTP_PYTHON={python:?}: {error}"));
        let stdout = process.stdout.take().unwrap();
        let line = BufReader::new(stdout).lines().next_line().await.unwrap();
        let port = line.as_deref().and_then(|line| line.strip_prefix("listening on "));
        let port = port.expect("SIGNUP_SMTP_PYTHON has aiosmtpd; its error is above");
        Self { url: format!("smtp://127.0.0.1:{port}"), folder, _process: process }
    }

    /// Returns the mails it has received: the recipients, one per line, an empty line, and the mail.
    fn mails(&self) -> Vec<String> {
        fs::read_dir(self.folder.path())
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn a_mail_arrives_at_its_recipient() {
    let server = SmtpServer::start().await;
    let service =
        Service::start(&[("SMTP_URL", &server.url), ("MAIL_FROM", "Welcome <hello@example.org>")]).await;
    service.sign_up("Ada Lovelace", "ada@example.com").await;

    let mail = eventually("the mail", async || server.mails().pop()).await;
    assert!(mail.starts_with("ada@example.com\n\n"), "{mail}");
    for part in [
        "From: Welcome <hello@example.org>\r\n",
        "To: \"Ada Lovelace\" <ada@example.com>\r\n",
        "Message-ID: <signup-1@example.org>\r\n",
        "Hello Ada Lovelace,\r\n",
    ] {
        assert!(mail.contains(part), "{part:?} is not in {mail}");
    }
    assert!(!service.folder.path().join("outbox").exists());
}

#[tokio::test]
async fn a_refused_mail_is_given_up_and_a_postponed_one_goes_out() {
    let server = SmtpServer::start().await;
    let service = Service::start(&[("SMTP_URL", &server.url)]).await;
    service.sign_up("Nobody", "nobody@example.com").await;
    service.sign_up("Later", "later@example.com").await;

    eventually("both outcomes", async || (service.mail_states().await == ["sent", "given-up"]).then_some(()))
        .await;
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].starts_with("later@example.com\n\n"), "{mails:?}");
}

#[tokio::test]
async fn a_stop_in_the_midst_of_it_sends_every_mail_once() {
    let server = SmtpServer::start().await;
    let vars = [("SMTP_URL", server.url.as_str()), ("MAIL_DELAY_MS", "500")];
    let service = Service::start(&vars).await;
    for n in 0..20 {
        service.sign_up("Someone", &format!("someone-{n}@example.com")).await;
    }
    let stopped = service.stop().await;
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.log);
    // Mails that no worker had taken are sent by the next process.
    let service = Service::start_in(stopped.folder, &vars).await;
    eventually("all mails", async || {
        let states = service.mail_states().await;
        (states.len() == 20 && states.iter().all(|state| state == "sent")).then_some(())
    })
    .await;
    assert_eq!(server.mails().len(), 20);
}

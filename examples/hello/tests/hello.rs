//! Starts the example and requests it once: the real program, over a socket.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_mail_goes_out_after_the_response_and_a_stop_signal_waits_for_it() {
    let mut program = Program::start().await;
    let response = program.get().await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nHello! A mail is on its way to you.\n"), "{response}");

    assert_eq!(program.line().await, "1. the handler defers a mail and answers");
    assert_eq!(program.line().await, "2. the response was sent (36 bytes), now the mail goes out");
    program.interrupt().await; // in the middle of the mail
    assert_eq!(program.line().await, "3. the mail to ada@example.com is out");
    assert_eq!(program.line().await, "stopped");

    let status = timeout(PATIENCE, program.process.wait()).await.expect("it stops").unwrap();
    assert_eq!(status.code(), Some(0));
}

/// The running example. Dropping it kills it.
struct Program {
    address: String,
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    async fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
        command.env("PORT", "0").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut program = Self { address: String::new(), process, lines };
        let line = program.line().await;
        program.address = line.strip_prefix("listening on http://").expect("an address").to_owned();
        program
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line").unwrap();
        line.expect("another line before it ends")
    }

    async fn get(&self) -> String {
        let mut connection = TcpStream::connect(&self.address).await.unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\nhost: hello\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        timeout(PATIENCE, connection.read_to_string(&mut response)).await.expect("a response").unwrap();
        response
    }

    /// Sends what Ctrl-C sends.
    async fn interrupt(&self) {
        let kill = format!("kill -INT {}", self.process.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    }
}

//! Processes to stop and kill.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use crate::{jobs::Log, waiting::until};

/// A process that runs the program in `src/bin`. Dropping it kills it with SIGKILL.
#[derive(Debug)]
pub struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts the program, and waits until it reports that it is running.
    pub async fn start(program: &str, what: &str, url: &str, log: &Log) -> Self {
        let mut command = Command::new(program);
        command.arg(what).arg(url).arg(&log.0).stdout(Stdio::piped());
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            let output = BufReader::new(child.stdout.take().unwrap());
            let mut program = Self { child, output };
            assert_eq!(program.line(), "works");
            program
        })
        .await
        .unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Returns the address that the program prints, if it serves.
    pub fn address(&mut self) -> SocketAddr {
        self.line().parse().unwrap()
    }

    /// Sends a signal, as `kill` does.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has exited.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the program ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

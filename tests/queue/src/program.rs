//! Processes that are killed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A process of the program in `src/bin`. Dropped, it is killed with SIGKILL.
#[derive(Debug)]
pub struct Program(pub Child);

impl Program {
    pub fn start(program: &str, what: &str, url: &str, log: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg(what).arg(url).arg(log).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Waits until the program says that it works.
    pub fn works(mut self) -> Self {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "works");
        self
    }

    /// Returns the address that the program prints.
    pub fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client on one connection.
#[derive(Debug)]
pub struct Client(TcpStream);

impl Client {
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Makes a request. Returns whether it was acknowledged.
    pub fn post(&mut self, path: &str) -> std::io::Result<bool> {
        write!(self.0, "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut part = [0; 1024];
        // The answer ends with `ok`, which is its content.
        while !answer.ends_with(b"\r\n\r\nok") {
            let read = self.0.read(&mut part)?;
            if read == 0 {
                return Ok(false);
            }
            answer.extend_from_slice(&part[..read]);
        }
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    }
}

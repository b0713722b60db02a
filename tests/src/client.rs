//! A scripted HTTP/1.1 client, byte by byte.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// A connection.
#[derive(Debug)]
pub struct Tcp<I = TcpStream> {
    /// The socket, or the stream on top of it.
    pub stream: I,
    buffer: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The head, as received.
    pub head: String,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Tcp {
    /// Connects.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("the server listens"))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Tcp<I> {
    /// Uses this stream as the connection.
    pub fn over(stream: I) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the server reads");
        self.stream.flush().await.expect("the server reads");
    }

    /// Sends a GET request.
    pub async fn send_get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
    }

    /// Sends a GET request and reads the response.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send_get(path).await;
        self.reply("GET").await
    }

    /// Reads the response to a request of this method.
    pub async fn reply(&mut self, method: &str) -> Reply {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill().await, "the connection ended within a head: {:?}", self.text());
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("a head in ASCII");
        let head = head.to_ascii_lowercase();
        let status: u16 = head[9..12].parse().expect("a status");
        let length = header(&head, "content-length").map(|value| value.parse().expect("a length"));
        let body = if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            Vec::new()
        } else if header(&head, "transfer-encoding").is_some() {
            self.chunked().await
        } else if let Some(length) = length {
            self.exactly(length).await
        } else {
            while self.fill().await {}
            std::mem::take(&mut self.buffer)
        };
        Reply { status, head, body }
    }

    async fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = self.line().await;
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk size");
            if size == 0 {
                while !self.line().await.is_empty() {}
                return body;
            }
            body.extend(self.exactly(size).await);
            assert_eq!(self.line().await, "");
        }
    }

    /// Reads a line, without its end.
    pub async fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return String::from_utf8_lossy(&line[..at]).into_owned();
            }
            assert!(self.fill().await, "the connection ended within a line: {:?}", self.text());
        }
    }

    /// Reads this many bytes.
    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill().await, "the connection ended {} bytes early", length - self.buffer.len());
        }
        self.buffer.drain(..length).collect()
    }

    /// Reads some bytes; false at the end of the connection.
    pub async fn fill(&mut self) -> bool {
        let mut some = vec![0; 64 * 1024];
        let read = self.stream.read(&mut some).await.unwrap_or(0);
        self.buffer.extend_from_slice(&some[..read]);
        read > 0
    }

    /// Reads until this text has arrived, and leaves it in the buffer.
    pub async fn read_until(&mut self, text: &str) {
        while !self.has(text) {
            assert!(self.fill().await, "the connection ended before {text:?}: {:?}", self.text());
        }
    }

    /// Returns whether this text is in the buffer.
    pub fn has(&self, text: &str) -> bool {
        self.text().contains(text)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// Returns a header's value in a lower-case head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

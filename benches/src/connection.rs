//! Requests over a keep-alive connection to a server in the same process. There is no socket, so the kernel is not
//! measured.

use std::{
    fmt,
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use axum::{Router, serve::Listener};
use bytes::Bytes;
use defer_axum::Runner;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::Runtime,
};

use crate::{Case, Drive, current_thread, job::Tally};

/// The server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `axum::serve`.
    Axum,
    /// `defer_axum::serve`.
    Defer,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The word `hello`.
    Hello,
    /// A body of [`MEGABYTE`] in one piece.
    Megabyte,
}

/// The length of the large answer.
pub const MEGABYTE: usize = 1 << 20;

/// A request to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The server.
    pub server: Server,
    /// The answer.
    pub answer: Answer,
    /// The case that the handler also runs.
    pub case: Case,
}

impl Served {
    /// A request that is answered with a word.
    pub const fn new(server: Server, case: Case) -> Self {
        Self { server, answer: Answer::Hello, case }
    }

    /// Returns the same request with a megabyte as its answer.
    #[must_use]
    pub const fn with_megabyte(self) -> Self {
        Self { answer: Answer::Megabyte, ..self }
    }

    fn app(self, runner: &Runner, tally: &'static Tally) -> Router {
        match self.answer {
            Answer::Hello => self.case.app(runner, tally, || "hello"),
            Answer::Megabyte => {
                let answer = Bytes::from(vec![b'.'; MEGABYTE]);
                self.case.app(runner, tally, move || answer.clone())
            }
        }
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}/{}", self.server, self.answer, self.case)
    }
}

impl FromStr for Served {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let [server, answer, case] = s.split('/').collect::<Vec<_>>()[..] else {
            return Err(format!("`{s}` is not `server/answer/case`"));
        };
        let server = [Server::Axum, Server::Defer].into_iter().find(|known| format!("{known:?}") == server);
        let answer =
            [Answer::Hello, Answer::Megabyte].into_iter().find(|known| format!("{known:?}") == answer);
        match (server, answer) {
            (Some(server), Some(answer)) => Ok(Self { server, answer, case: case.parse()? }),
            _ => Err(format!("`{s}` has no such server or answer")),
        }
    }
}

/// A client and its server on one thread.
#[derive(Debug)]
pub struct Connection {
    runtime: Runtime,
    client: Client,
    case: Case,
    tally: &'static Tally,
}

impl Connection {
    /// Creates a connection on its own runtime.
    pub fn new(served: Served) -> Self {
        // As much as a socket accepts at once on many systems.
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let tally = Tally::new();
        let runner = Runner::default();
        let app = served.app(&runner, tally);
        let runtime = current_thread();
        runtime.spawn(serve(served.server, OneConnection(Some(theirs)), app));
        Self { runtime, client: Client::new(ours), case: served.case, tally }
    }
}

impl Drive for Connection {
    /// Sends this many requests, each after the previous response, and waits for their jobs.
    fn run(&mut self, requests: u64) {
        let Self { runtime, client, case, tally } = self;
        tally.expect(requests * case.jobs);
        runtime.block_on(async {
            for _ in 0..requests {
                client.request().await;
            }
            tally.all_ran().await;
        });
    }
}

async fn serve(server: Server, listener: OneConnection, app: Router) {
    let served = match server {
        Server::Axum => axum::serve(listener, app).await,
        Server::Defer => defer_axum::serve(listener, app).await,
    };
    served.expect("a server fails only if its listener does");
}

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

/// A listener that accepts only one connection, which exists from the start.
struct OneConnection(Option<DuplexStream>);

impl Listener for OneConnection {
    type Io = DuplexStream;
    // Each request gets a copy, so it must be as large as that of a socket.
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.take() {
            Some(io) => (io, ADDRESS),
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(ADDRESS)
    }
}

const REQUEST: &[u8] = b"GET /items/7?page=2 HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A minimal client: it parses the first response, and assumes that the others have the same length.
#[derive(Debug)]
struct Client {
    io: DuplexStream,
    buffer: Vec<u8>,
    length: Option<usize>,
}

impl Client {
    fn new(io: DuplexStream) -> Self {
        Self { io, buffer: vec![0; 64 * 1024], length: None }
    }

    async fn request(&mut self) {
        self.io.write_all(REQUEST).await.expect("the server reads");
        let mut received = self.receive().await;
        assert!(self.buffer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        let length = *self.length.get_or_insert_with(|| response_length(&self.buffer[..received]));
        while received < length {
            received += self.receive().await;
        }
        assert_eq!(received, length);
    }

    async fn receive(&mut self) -> usize {
        let received = self.io.read(&mut self.buffer).await.expect("the server writes");
        assert_ne!(received, 0, "the server keeps the connection");
        received
    }
}

/// Returns the length of a response, according to its head.
fn response_length(start: &[u8]) -> usize {
    let start = String::from_utf8_lossy(start);
    let (head, _) = start.split_once("\r\n\r\n").expect("a short head comes in one piece");
    let content = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    head.len() + "\r\n\r\n".len() + content.expect("the body is of known length")
}

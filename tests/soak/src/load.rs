//! The load: connections that send one request after another, some of which close too early.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinSet,
};

use crate::{Failure, memory};

/// The number of open connections.
const CONNECTIONS: usize = 64;
/// The longest that the whole run may take.
const LIMIT: Duration = Duration::from_secs(600);
/// The largest ratio of the memory at the end to that after the first tenth.
const GROWTH: f64 = 1.2;
/// Bytes of growth that do not count: of a process of 8 MB, a fifth is a thread's first stack or two.
const NOISE: f64 = 1_000_000.0;

pub(crate) async fn run(requests: u64) -> Result<(), Failure> {
    tokio::time::timeout(LIMIT, load(requests)).await?
}

async fn load(requests: u64) -> Result<(), Failure> {
    let mut server = Server::start().await?;
    let begun = Instant::now();
    let sent = Arc::new(AtomicU64::new(0));
    let first_tenth = server.take(requests / 10, &sent).await?;
    let early = server.resident()?;
    println!("after {first_tenth} requests: {}", megabytes(early));
    let served = server.take(requests, &sent).await?;
    let took = begun.elapsed();
    server.idle().await?;
    let late = server.resident()?;
    let figures = server.stop().await?;

    let of = |name: &str| figures.get(name).copied().unwrap_or(u64::MAX);
    let jobs = of("deferred");
    println!("{served} requests, {} of them cut off, and {jobs} jobs in {took:.1?}", figures["cut"]);
    println!(
        "succeeded {}, failed {}, tried again {}",
        of("stats_succeeded"),
        of("stats_failed"),
        of("stats_retried")
    );
    println!("memory at the end: {}", megabytes(late));
    for (what, is, ought) in [
        ("jobs", jobs, of("requests") * 5),
        ("the runner's deferred", of("stats_deferred"), jobs),
        ("the hook's deferred", of("told_deferred"), jobs),
        ("ends", of("stats_succeeded") + of("stats_failed"), jobs),
        ("succeeded", of("stats_succeeded"), of("to_succeed")),
        ("runs that succeeded", of("ok"), of("to_succeed")),
        ("the hook's succeeded", of("told_succeeded"), of("to_succeed")),
        ("failed", of("stats_failed"), of("to_fail")),
        ("the hook's failed", of("told_failed"), of("to_fail")),
        ("tried again", of("stats_retried"), of("to_retry")),
        ("runs to be tried again", of("retries"), of("to_retry")),
        ("the hook's tried again", of("told_retrying"), of("to_retry")),
        ("other ends", of("stats_other") + of("told_other"), 0),
        ("pending", of("stats_pending"), 0),
        ("running", of("stats_running"), 0),
        ("unfinished", of("unfinished"), 0),
    ] {
        if is != ought {
            return Err(format!("{what}: {is}, not {ought}").into());
        }
    }
    if of("requests") < requests {
        return Err(format!("only {} requests were served", of("requests")).into());
    }
    if late as f64 > early as f64 * GROWTH + NOISE {
        return Err(format!("memory grew from {} to {}", megabytes(early), megabytes(late)).into());
    }
    println!("all counts add up, nothing is pending");
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB resident", bytes as f64 / 1e6)
}

/// The server's process.
struct Server {
    process: Child,
    addr: SocketAddr,
    /// Closing this stops the server.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    cut: Arc<AtomicU64>,
}

impl Server {
    async fn start() -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = process.stdin.take();
        let mut stdout = BufReader::new(process.stdout.take().ok_or("the server has no output")?);
        let mut line = String::new();
        stdout.read_line(&mut line).await?;
        Ok(Self { process, addr: line.trim().parse()?, stdin, stdout, cut: Arc::default() })
    }

    fn resident(&self) -> Result<u64, Failure> {
        Ok(memory::resident(self.process.id().ok_or("the server is gone")?)?)
    }

    /// Sends requests until this many have reached a handler, and returns how many have.
    async fn take(&self, requests: u64, sent: &Arc<AtomicU64>) -> Result<u64, Failure> {
        loop {
            let served = self.figures().await?["requests"];
            if served >= requests {
                return Ok(served);
            }
            let until = sent.load(Ordering::Relaxed) + (requests - served);
            let mut connections = JoinSet::new();
            for seed in 0..CONNECTIONS as u64 {
                let (addr, sent, cut) = (self.addr, sent.clone(), self.cut.clone());
                connections.spawn(async move {
                    let mut client = Client {
                        addr,
                        cut,
                        random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1,
                        stream: None,
                    };
                    while sent.fetch_add(1, Ordering::Relaxed) < until {
                        client.request().await?;
                    }
                    io::Result::Ok(())
                });
            }
            while let Some(done) = connections.join_next().await {
                done??;
            }
        }
    }

    /// Waits until the server is idle.
    async fn idle(&self) -> Result<(), Failure> {
        loop {
            let figures = self.figures().await?;
            if figures["stats_pending"] + figures["stats_running"] == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn figures(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let mut stream = TcpStream::connect(self.addr).await?;
        stream.write_all(b"GET /figures HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n").await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        let (_, body) = reply.split_once("\r\n\r\n").ok_or("no body")?;
        Ok(parsed(body))
    }

    /// Shuts the server down gracefully, and returns its counts.
    async fn stop(&mut self) -> Result<BTreeMap<String, u64>, Failure> {
        drop(self.stdin.take());
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).await?;
        let status = self.process.wait().await?;
        if !status.success() {
            return Err(format!("the server ended with {status}").into());
        }
        let mut figures = parsed(&text);
        figures.insert("cut".into(), self.cut.load(Ordering::Relaxed));
        Ok(figures)
    }
}

fn parsed(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, figure) = line.split_once(' ')?;
            Some((name.to_owned(), figure.parse().ok()?))
        })
        .collect()
}

/// A client that sends one request after another.
struct Client {
    addr: SocketAddr,
    cut: Arc<AtomicU64>,
    /// A xorshift generator.
    random: u64,
    stream: Option<TcpStream>,
}

impl Client {
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) % below
    }

    /// Sends a request, and reads the response or leaves early.
    async fn request(&mut self) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.addr).await?,
        };
        let (path, leaves) = match self.random(100) {
            0..2 => ("/slow", Some(0)),
            2..4 => ("/stream", Some(self.random(200_000))),
            4 => ("/", Some(0)),
            5 => ("/slow", None),
            6 => ("/stream", None),
            _ => ("/", None),
        };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: soak\r\n\r\n").as_bytes()).await?;
        match leaves {
            None => {
                read_response(&mut stream).await?;
                self.stream = Some(stream);
            }
            Some(after) => {
                self.cut.fetch_add(1, Ordering::Relaxed);
                let mut left = after as usize;
                let mut buffer = [0; 16 * 1024];
                while left > 0 {
                    let most = left.min(buffer.len());
                    left -= stream.read(&mut buffer[..most]).await?;
                }
                if path != "/stream" {
                    // The request should arrive before it is aborted.
                    tokio::time::sleep(Duration::from_millis(self.random(3))).await;
                }
                stream.set_zero_linger()?;
            }
        }
        Ok(())
    }
}

/// Reads a response of a known length or in chunks.
async fn read_response(stream: &mut TcpStream) -> io::Result<()> {
    let mut response = Vec::with_capacity(1024);
    let mut in_chunks = None;
    loop {
        in_chunks = in_chunks.or_else(|| {
            let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
            let head = response[..end].to_ascii_lowercase();
            Some(head.windows(7).any(|bytes| bytes == b"chunked"))
        });
        let end: &[u8] = match in_chunks {
            Some(true) => b"\r\n0\r\n\r\n",
            Some(false) => b"\r\n\r\ndone",
            None => b"\0",
        };
        if response.ends_with(end) {
            return Ok(());
        }
        if stream.read_buf(&mut response).await? == 0 {
            return Err(io::Error::other("the server closed the connection"));
        }
    }
}

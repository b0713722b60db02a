//! An HTTP client that sees the parts of a response as they arrive.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

/// A client on one connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    pub async fn send(&mut self, path: &str) -> io::Result<()> {
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: test\r\nx-note: seen\r\ncontent-length: 0\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await
    }

    /// Reads until the response contains this text, and discards everything read so far.
    pub async fn until(&mut self, text: &str) -> io::Result<String> {
        loop {
            let read = String::from_utf8_lossy(&self.read);
            if let Some(at) = read.find(text) {
                let end = at + text.len();
                let before = read[..end].to_owned();
                self.read.drain(..end);
                return Ok(before);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let mut part = [0; 1024];
        match self.stream.read(&mut part).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.read.extend_from_slice(&part[..count]);
                Ok(())
            }
        }
    }

    /// Reads this many bytes.
    pub async fn skip(&mut self, mut bytes: usize) -> io::Result<()> {
        let mut part = vec![0; 1 << 16];
        bytes -= self.read.len().min(bytes);
        self.read.clear();
        while bytes > 0 {
            match self.stream.read(&mut part).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => bytes = bytes.saturating_sub(count),
            }
        }
        Ok(())
    }

    /// Returns whether no part of a response has arrived. Waits a moment, in which it would.
    pub async fn has_nothing(&mut self) -> bool {
        let mut part = [0; 1];
        let moment = std::time::Duration::from_millis(100);
        self.read.is_empty() && tokio::time::timeout(moment, self.stream.peek(&mut part)).await.is_err()
    }

    /// Sends a request. Returns the response's status once its head and a short body have arrived.
    pub async fn post(&mut self, path: &str) -> io::Result<u16> {
        self.send(path).await?;
        let head = self.until("\r\n\r\n").await?.to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or_default();
        while self.read.len() < length {
            self.read_more().await?;
        }
        self.read.drain(..length);
        head.split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Clients that send requests with a different note each until the server is gone.
#[derive(Debug)]
pub struct Posts {
    acknowledged: Arc<Mutex<BTreeSet<u32>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Posts {
    pub fn to(address: SocketAddr) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let clients = (0..4).map(|_| {
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move {
                let Ok(mut client) = Client::connect(address).await else { return };
                loop {
                    let number = NEXT.fetch_add(1, Ordering::Relaxed);
                    match client.post(&format!("/note/{number}")).await {
                        Ok(200) => drop(acknowledged.lock().unwrap().insert(number)),
                        Ok(status) => panic!("{status}"),
                        Err(_) => return,
                    }
                }
            })
        });
        let clients = clients.collect();
        Self { acknowledged, clients }
    }

    /// Returns how many requests were acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until the server is gone. Returns the notes that were acknowledged.
    pub async fn all(self) -> BTreeSet<u32> {
        for client in self.clients {
            client.await.unwrap();
        }
        self.acknowledged.lock().unwrap().clone()
    }
}

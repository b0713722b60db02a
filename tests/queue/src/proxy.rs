//! A TCP proxy that can be cut, silenced, slowed down and made to lose replies, like a failing network or server.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// A proxy in front of a server.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    connections: Connections,
    way: watch::Sender<Way>,
}

/// A task for each connection. `None` while the proxy is cut.
type Connections = Arc<Mutex<Option<JoinSet<()>>>>;

/// The treatment of the bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Passes,
    /// Drops every message. A connection that loses one stays silent.
    IsSilent,
    /// Delays each message this long.
    IsSlow(Duration),
    /// Cuts a connection between a commit and its reply. Counts those it has cut.
    LosesCommits(u32),
}

impl Proxy {
    /// Starts a proxy in front of the server in this URL. Returns the URL through the proxy.
    pub async fn of(url: &str) -> (Self, String) {
        let after_scheme = url.split_once("://").unwrap().1;
        let authority = after_scheme.split('/').next().unwrap();
        let server = authority.rsplit('@').next().unwrap();
        let proxy = Self::to(server.parse().unwrap()).await;
        let by_proxy = url.replace(server, &proxy.address.to_string());
        (proxy, by_proxy)
    }

    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new(Mutex::new(Some(JoinSet::new())));
        let way = watch::Sender::new(Way::Passes);
        let (open, of_each) = (connections.clone(), way.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // While the proxy is cut, this closes the client.
                if let Some(connections) = &mut *open.lock().unwrap() {
                    connections.spawn(pass(client, server, of_each.clone()));
                }
            }
        });
        Self { address, connections, way }
    }

    /// Closes all connections, and every new one until [`mend`](Self::mend). Nothing that was in transit arrives after this
    /// returns, in either direction.
    pub async fn cut(&self) {
        let connections = self.connections.lock().unwrap().take();
        if let Some(mut connections) = connections {
            connections.shutdown().await;
        }
    }

    /// Lets nothing pass until [`mend`](Self::mend). A connection that loses a message meanwhile stays silent.
    pub fn silence(&self) {
        self.way.send_replace(Way::IsSilent);
    }

    /// Lets everything pass, each message after this delay.
    pub fn slow_down(&self, delay: Duration) {
        self.way.send_replace(Way::IsSlow(delay));
    }

    /// Lets the server commit, but cuts the connection before its reply passes, until [`mend`](Self::mend).
    pub fn lose_commits(&self) {
        self.way.send_replace(Way::LosesCommits(0));
    }

    /// Waits until this many replies to commits were lost.
    pub async fn has_lost(&self, commits: u32) {
        let mut way = self.way.subscribe();
        way.wait_for(|way| matches!(way, Way::LosesCommits(lost) if *lost >= commits)).await.unwrap();
    }

    pub fn mend(&self) {
        self.way.send_replace(Way::Passes);
        self.connections.lock().unwrap().get_or_insert_default();
    }
}

/// Forwards messages between a client and the server until either side closes.
async fn pass(client: TcpStream, server: SocketAddr, way: watch::Sender<Way>) {
    // If the server is down, this closes the client's connection too.
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_server, to_server) = server.into_split();
    let (from_client, to_client) = client.into_split();
    // A broken connection is not an error of the proxy: it ends here for the other side, too.
    tokio::select! {
        _ = pass_words(from_client, to_server, &way, |_| true) => {}
        _ = pass_words(from_server, to_client, &way, |word| {
            let is_lost = is_of_commit(word) && way.send_if_modified(|way| match way {
                Way::LosesCommits(lost) => { *lost += 1; true }
                _ => false,
            });
            !is_lost
        }) => {}
    }
}

/// Returns whether a message is a Postgres server's reply to a commit: a COMMIT or a write, after which no transaction is open.
fn is_of_commit(word: &[u8]) -> bool {
    let has = |text: &[u8]| word.windows(text.len()).any(|part| part == text);
    word.ends_with(b"Z\0\0\0\x05I") && (has(b"COMMIT\0") || has(b"INSERT 0 ") || has(b"UPDATE "))
}

async fn pass_words(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: &watch::Sender<Way>,
    passes: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut part = [0; 1 << 16];
    loop {
        let read = from.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        let now = *way.borrow();
        match now {
            Way::IsSilent => pending().await,
            Way::IsSlow(delay) => tokio::time::sleep(delay).await,
            Way::Passes | Way::LosesCommits(_) => {}
        }
        if !passes(&part[..read]) {
            return Ok(());
        }
        to.write_all(&part[..read]).await?;
    }
}

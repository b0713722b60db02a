//! A TCP proxy that can be cut, silenced, slowed down and made to lose answers, as a network or a server that goes away.

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

/// A way to a server.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    connections: Connections,
    way: watch::Sender<Way>,
}

/// A task for each connection. `None` while the proxy is cut.
type Connections = Arc<Mutex<Option<JoinSet<()>>>>;

/// The fate of the bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Passes,
    /// A connection on which something is said is silent for ever.
    IsSilent,
    /// Each word takes so long.
    IsSlow(Duration),
    /// Connections are cut between a commit and its answer. This many were.
    LosesCommits(u32),
}

impl Proxy {
    /// A way to the server of this URL. Returns the URL by this way.
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
                // While the proxy is cut, the client is closed here.
                if let Some(connections) = &mut *open.lock().unwrap() {
                    connections.spawn(pass(client, server, of_each.clone()));
                }
            }
        });
        Self { address, connections, way }
    }

    /// Closes all connections, and every new one until [`mend`](Self::mend). Once this returns, nothing passes any more that
    /// was on its way, in either direction.
    pub async fn cut(&self) {
        let connections = self.connections.lock().unwrap().take();
        if let Some(mut connections) = connections {
            connections.shutdown().await;
        }
    }

    /// Lets nothing pass until [`mend`](Self::mend). A connection on which something was said meanwhile stays silent.
    pub fn silence(&self) {
        self.way.send_replace(Way::IsSilent);
    }

    /// Lets all pass, each part after so long.
    pub fn slow_down(&self, delay: Duration) {
        self.way.send_replace(Way::IsSlow(delay));
    }

    /// Lets the server commit, and cuts the connection before the answer has passed, until [`mend`](Self::mend).
    pub fn lose_commits(&self) {
        self.way.send_replace(Way::LosesCommits(0));
    }

    /// Waits until this many answers of commits were lost.
    pub async fn has_lost(&self, commits: u32) {
        let mut way = self.way.subscribe();
        way.wait_for(|way| matches!(way, Way::LosesCommits(lost) if *lost >= commits)).await.unwrap();
    }

    pub fn mend(&self) {
        self.way.send_replace(Way::Passes);
        self.connections.lock().unwrap().get_or_insert_default();
    }
}

/// Passes on what a client and the server say, until either breaks off.
async fn pass(client: TcpStream, server: SocketAddr, way: watch::Sender<Way>) {
    // A server that is not there closes the client's connection, too.
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_server, to_server) = server.into_split();
    let (from_client, to_client) = client.into_split();
    // A broken connection is no error of the proxy: the other side sees its own connection end here, too.
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

/// Whether a server of Postgres answers what it has committed: something that writes, or a COMMIT, after which no transaction is open.
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

//! A TCP proxy that can be cut, as a server that goes away.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
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
    answers: watch::Sender<Answers>,
}

/// A task for each connection. `None` while the proxy is cut.
type Connections = Arc<Mutex<Option<JoinSet<()>>>>;

/// What becomes of the server's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Pass,
    AreWithheld,
    /// They are, and the server has given one.
    OneIsWithheld,
}

impl Proxy {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new(Mutex::new(Some(JoinSet::new())));
        let answers = watch::Sender::new(Answers::Pass);
        let (open, answers_of_each) = (connections.clone(), answers.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // While the proxy is cut, the client is closed here.
                if let Some(connections) = &mut *open.lock().unwrap() {
                    connections.spawn(pass(client, server, answers_of_each.clone()));
                }
            }
        });
        Self { address, connections, answers }
    }

    /// Closes all connections, and every new one until [`mend`](Self::mend). Once this returns, nothing passes any more that
    /// was on its way, in either direction.
    pub async fn cut(&self) {
        let connections = self.connections.lock().unwrap().take();
        if let Some(mut connections) = connections {
            connections.shutdown().await;
        }
    }

    /// Lets questions pass, but no answers until [`mend`](Self::mend), and waits until the server has given one.
    pub async fn withhold_an_answer(&self) {
        self.answers.send_replace(Answers::AreWithheld);
        let mut answers = self.answers.subscribe();
        answers.wait_for(|answers| *answers == Answers::OneIsWithheld).await.unwrap();
    }

    pub fn mend(&self) {
        self.answers.send_replace(Answers::Pass);
        *self.connections.lock().unwrap() = Some(JoinSet::new());
    }
}

/// Passes on what a client and the server say, until either breaks off.
async fn pass(client: TcpStream, server: SocketAddr, answers: watch::Sender<Answers>) {
    let (mut from_server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
    let (mut from_client, mut to_client) = client.into_split();
    // That one broke off is no error of the proxy: the other is told by its connection, which ends here, too.
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = pass_answers(&mut from_server, &mut to_client, &answers) => {}
    }
}

async fn pass_answers(
    server: &mut OwnedReadHalf,
    client: &mut OwnedWriteHalf,
    answers: &watch::Sender<Answers>,
) -> io::Result<()> {
    let mut part = [0; 4096];
    loop {
        let read = server.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        if *answers.borrow() != Answers::Pass {
            answers.send_replace(Answers::OneIsWithheld);
            pending::<()>().await;
        }
        client.write_all(&part[..read]).await?;
    }
}

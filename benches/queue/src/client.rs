//! Clients of the service.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Makes requests on this many connections until the time is over. Returns the number of those answered.
pub(crate) async fn load(
    address: SocketAddr,
    path: &'static str,
    connections: usize,
    lasts: Duration,
    pause: Duration,
) -> u32 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let until = Instant::now() + lasts;
    let answered = Arc::new(AtomicU64::new(0));
    let client = |_| {
        let answered = answered.clone();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            while Instant::now() < until {
                request(&mut stream, path, NEXT.fetch_add(1, Ordering::Relaxed)).await;
                answered.fetch_add(1, Ordering::Relaxed);
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        })
    };
    let clients: Vec<_> = (0..connections).map(client).collect();
    for client in clients {
        client.await.unwrap();
    }
    answered.load(Ordering::Relaxed).try_into().unwrap()
}

async fn request(stream: &mut TcpStream, path: &str, number: u64) {
    let request = format!("POST /{path}/{number} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"\r\n\r\nok") {
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "the server answers");
        answer.extend_from_slice(&part[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "the server is well");
}

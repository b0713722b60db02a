//! A proxy in front of a server that is slow to answer.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};

/// Returns the URL of a proxy that delivers each answer of this Redis so much later.
pub(crate) async fn late(url: &str, by: Duration) -> String {
    let server = url.strip_prefix("redis://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut asks, mut answered) = listener.accept().await.unwrap().0.into_split();
            let (mut answers, mut asked) = TcpStream::connect(&server).await.unwrap().into_split();
            tokio::spawn(async move { copy(&mut asks, &mut asked).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = answers.read(&mut buffer).await {
                    // This is what the proxy is for.
                    tokio::time::sleep(by).await;
                    if answered.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    format!("redis://127.0.0.1:{port}")
}

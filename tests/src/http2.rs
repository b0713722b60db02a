//! HTTP/2 clients.

use std::{future::poll_fn, net::SocketAddr};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{Method, Request};
use tokio::net::TcpStream;

/// A connection, driven by its own task. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The handle that sends requests.
    pub send: SendRequest<Bytes>,
}

/// Connects with windows of the default size.
pub async fn connect(addr: SocketAddr) -> Client {
    connect_with(addr, &Builder::new()).await
}

/// Connects with these settings.
pub async fn connect_with(addr: SocketAddr, settings: &Builder) -> Client {
    let io = TcpStream::connect(addr).await.expect("the server listens");
    let (send, connection) = settings.handshake(io).await.expect("an HTTP/2 server");
    tokio::spawn(async move { drop(connection.await) });
    Client { send }
}

impl Client {
    /// Sends a GET request.
    pub async fn get(&mut self, path: &str) -> ResponseFuture {
        poll_fn(|cx| self.send.poll_ready(cx)).await.expect("the connection is open");
        let uri = format!("http://test{path}");
        let request = Request::builder().method(Method::GET).uri(uri).body(()).expect("a request");
        self.send.send_request(request, true).expect("the connection is open").0
    }
}

/// Waits for the response's head.
pub async fn body_of(response: ResponseFuture) -> RecvStream {
    response.await.expect("a response").into_body()
}

/// Reads at least this many bytes, or to the end, and releases the window. Returns the number of bytes.
pub async fn read(body: &mut RecvStream, bytes: usize) -> usize {
    let mut read = 0;
    while read < bytes {
        let Some(data) = body.data().await else { break };
        let data = data.expect("the server does not reset it").len();
        body.flow_control().release_capacity(data).expect("the window has room");
        read += data;
    }
    read
}

/// Reads to the end, and releases the window. Returns the number of bytes.
pub async fn drain(body: &mut RecvStream) -> usize {
    let read = read(body, usize::MAX).await;
    drop(body.trailers().await);
    read
}

/// Returns the number of DATA bytes on this stream in a record of what a server wrote.
pub fn data_bytes(mut wire: &[u8], stream: u32) -> usize {
    const DATA: u8 = 0;
    let mut data = 0;
    while let Some((head, rest)) = wire.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let part = length.min(rest.len());
        if head[3] == DATA && u32::from_be_bytes([head[5], head[6], head[7], head[8]]) == stream {
            data += part;
        }
        wire = &rest[part..];
    }
    data
}

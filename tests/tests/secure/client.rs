//! A client of either version, over TLS.

use std::{future::poll_fn, net::SocketAddr};

use bytes::Bytes;
use defer_tests::{
    Tcp, http1_ends,
    http2::drain,
    http2_ends,
    https::{self, Tap, TappedIo},
};
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{Method, Request};
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

pub(crate) struct Client {
    pub(crate) tap: Tap,
    pub(crate) speaks: Speaks,
}

pub(crate) enum Speaks {
    Http1(Box<Tcp<TappedIo>>),
    Http2 { send: SendRequest<Bytes>, connection: JoinHandle<()> },
}

/// An unread response.
pub(crate) enum Asked {
    Http1(Method),
    Http2(ResponseFuture),
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr, version: Version) -> Self {
        let (protocol, windows) = match version {
            Version::Http1 => ("http/1.1", None),
            // Larger than any response, so only the socket can hold one up.
            Version::Http2 => ("h2", Some(64 << 20)),
        };
        let (io, tap) = https::connect(addr, protocol).await;
        let Some(window) = windows else {
            return Self { tap, speaks: Speaks::Http1(Box::new(Tcp::over(io))) };
        };
        let mut settings = Builder::new();
        settings.initial_window_size(window).initial_connection_window_size(window);
        let (send, connection) = settings.handshake(io).await.expect("an HTTP/2 server");
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { tap, speaks: Speaks::Http2 { send, connection } }
    }

    pub(crate) async fn ask(&mut self, method: Method, path: &str) -> Asked {
        match &mut self.speaks {
            Speaks::Http1(tcp) => {
                tcp.send(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
                Asked::Http1(method)
            }
            Speaks::Http2 { send, .. } => {
                poll_fn(|cx| send.poll_ready(cx)).await.expect("the connection is open");
                let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
                let request = request.body(()).expect("a request");
                Asked::Http2(send.send_request(request, true).expect("the connection is open").0)
            }
        }
    }

    /// Reads a response to its end. Returns its status and the length of its body.
    pub(crate) async fn read(&mut self, asked: Asked) -> (u16, usize) {
        match (&mut self.speaks, asked) {
            (Speaks::Http1(tcp), Asked::Http1(method)) => {
                let reply = tcp.reply(method.as_str()).await;
                (reply.status, reply.body.len())
            }
            (Speaks::Http2 { .. }, Asked::Http2(response)) => {
                let (head, mut body) = response.await.expect("a response").into_parts();
                (head.status.as_u16(), drain(&mut body).await)
            }
            _ => unreachable!("the client has one version"),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, usize) {
        let asked = self.ask(Method::GET, path).await;
        self.read(asked).await
    }

    /// Waits until the server ends the connection or the stream without a response.
    pub(crate) async fn is_refused(&mut self, asked: Asked) {
        match (&mut self.speaks, asked) {
            (Speaks::Http1(tcp), _) => while tcp.fill().await {},
            (_, Asked::Http2(response)) => match response.await {
                Err(_) => {}
                Ok(response) => {
                    let mut body = response.into_body();
                    while let Some(Ok(_)) = body.data().await {}
                }
            },
            _ => unreachable!("the client has one version"),
        }
    }

    /// Returns, for each response read, the least that the server had written once it was complete. In order.
    pub(crate) fn ends(&self) -> Vec<usize> {
        let plain = self.tap.plain();
        let ends = match self.speaks {
            Speaks::Http1(_) => http1_ends(&plain),
            Speaks::Http2 { .. } => http2_ends(&plain).into_values().collect(),
        };
        ends.into_iter().map(|end| self.tap.end_of_record(end)).collect()
    }

    /// Checks that each of these jobs started after the operating system had accepted its response. The jobs are in the order
    /// of their requests.
    pub(crate) fn was_sent_before(&self, lines: &[String]) {
        let ends = self.ends();
        assert!(ends.len() >= lines.len(), "{lines:?}: {} responses were read", ends.len());
        for (line, end) in lines.iter().zip(ends) {
            let accepted = line.rsplit(' ').next().and_then(|accepted| accepted.parse::<usize>().ok());
            assert!(accepted.expect("a number") >= end, "{line}: the response ends at {end}");
        }
    }

    /// Closes the connection and discards what has not been read.
    pub(crate) fn leave(self) {
        if let Speaks::Http2 { connection, .. } = self.speaks {
            connection.abort();
        }
    }
}

//! Records the bytes that the operating system accepted from a server, and finds where each response in them ends.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

/// The record of one connection. Clones share the record.
#[derive(Clone, Debug)]
pub struct Wire {
    accepted: Arc<Mutex<Vec<u8>>>,
    blocked: Arc<watch::Sender<bool>>,
}

impl Wire {
    /// Creates an empty record.
    pub fn new() -> Self {
        Self { accepted: Arc::default(), blocked: Arc::new(watch::Sender::new(false)) }
    }

    /// Returns the bytes accepted so far.
    pub fn accepted(&self) -> MutexGuard<'_, Vec<u8>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of bytes accepted so far.
    pub fn len(&self) -> usize {
        self.accepted().len()
    }

    /// Returns whether nothing was accepted so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until the server has something to write and the socket's buffers are full.
    pub async fn blocked(&self) {
        let _ = self.blocked.subscribe().wait_for(|blocked| *blocked).await;
    }

    fn saw(&self, polled: &Poll<io::Result<usize>>, bufs: &[IoSlice<'_>]) {
        self.blocked.send_if_modified(|blocked| {
            let was = std::mem::replace(blocked, polled.is_pending());
            was != *blocked
        });
        if let Poll::Ready(Ok(written)) = polled {
            let mut left = *written;
            let mut accepted = self.accepted();
            for buf in bufs {
                let part = left.min(buf.len());
                accepted.extend_from_slice(&buf[..part]);
                left -= part;
            }
        }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

/// A listener that records all its connections together.
#[derive(Debug)]
pub struct WireListener {
    listener: TcpListener,
    wire: Wire,
}

impl WireListener {
    /// Listens on a free port. Its connections have small buffers for what their client does not read. By default, Linux
    /// grows them to 4 MiB and more.
    pub async fn bind(wire: &Wire) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_send_buffer_size(64 * 1024).expect("what connections inherit");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = socket.listen(1024).expect("a free port");
        Self { listener, wire: wire.clone() }
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
    }

    /// Returns the system's listener. Connections that it accepts are not recorded.
    pub fn into_std(self) -> std::net::TcpListener {
        self.listener.into_std().expect("it is registered with this runtime")
    }

    pub(crate) fn tcp(&self) -> &TcpListener {
        &self.listener
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }
}

impl Listener for WireListener {
    type Io = WireIo<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (io, addr) = Listener::accept(&mut self.listener).await;
        (WireIo::new(io, &self.wire), addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A recorded connection.
#[derive(Debug)]
pub struct WireIo<I> {
    io: I,
    wire: Wire,
}

impl<I> WireIo<I> {
    /// Wraps a connection to record it.
    pub fn new(io: I, wire: &Wire) -> Self {
        Self { io, wire: wire.clone() }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for WireIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for WireIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wire.saw(&polled, &[IoSlice::new(buf)]);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wire.saw(&polled, bufs);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Returns the end of each complete HTTP/1 response. Every response without content needs a status that says so.
pub fn http1_ends(mut bytes: &[u8]) -> Vec<usize> {
    let all = bytes.len();
    let mut ends = Vec::new();
    while let Some(rest) = after_response(bytes) {
        bytes = rest;
        ends.push(all - bytes.len());
    }
    ends
}

/// Returns the number of body bytes of each HTTP/1 response, without its transfer coding. The last response may be
/// incomplete. Every response without content needs a status that says so.
pub fn http1_bodies(mut bytes: &[u8]) -> Vec<usize> {
    let mut bodies = Vec::new();
    loop {
        let mut body = 0;
        let rest = after_body(bytes, &mut body);
        if rest.is_none() && find(bytes, b"\r\n\r\n").is_none() {
            return bodies;
        }
        bodies.push(body);
        let Some(rest) = rest else { return bodies };
        bytes = rest;
    }
}

fn after_response(bytes: &[u8]) -> Option<&[u8]> {
    after_body(bytes, &mut 0)
}

/// Returns the bytes after the first response, if it is complete. Adds the length of its body to `body`.
fn after_body<'a>(bytes: &'a [u8], body: &mut usize) -> Option<&'a [u8]> {
    let head = find(bytes, b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let mut rest = &bytes[head + 4..];
    if text.starts_with("http/1.1 100") {
        return after_body(rest, body);
    }
    if text.contains("transfer-encoding: chunked") {
        loop {
            let line = find(rest, b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
            if size == 0 {
                // Without trailers an empty line follows at once. With trailers it ends them.
                let end = find(&rest[line..], b"\r\n\r\n")?;
                return Some(&rest[line + end + 4..]);
            }
            *body += size.min(rest.len() - line - 2);
            rest = rest.get(line + 2 + size + 2..)?;
        }
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a length"));
    *body += rest.len().min(length);
    rest.get(length..)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Returns the end of each complete HTTP/2 response, by stream.
pub fn http2_ends(bytes: &[u8]) -> BTreeMap<u32, usize> {
    const END_STREAM: u8 = 1;
    let mut ends = BTreeMap::new();
    for Http2Frame { kind, flags, stream, payload } in http2_frames(bytes) {
        let is_response = kind == 0 || kind == 1;
        if is_response && flags & END_STREAM != 0 && payload.end <= bytes.len() {
            ends.insert(stream, payload.end);
        }
    }
    ends
}

/// Returns the number of DATA bytes, by stream.
pub fn http2_bodies(bytes: &[u8]) -> BTreeMap<u32, usize> {
    let mut bodies = BTreeMap::new();
    for Http2Frame { kind, stream, payload, .. } in http2_frames(bytes) {
        if kind == 0 {
            *bodies.entry(stream).or_default() += payload.end.min(bytes.len()) - payload.start;
        }
    }
    bodies
}

struct Http2Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: std::ops::Range<usize>,
}

/// Returns the frames whose heads are among these bytes.
fn http2_frames(bytes: &[u8]) -> impl Iterator<Item = Http2Frame> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = bytes.get(at..at + 9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let start = at + 9;
        at = start + length;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Http2Frame { kind: head[3], flags: head[4], stream, payload: start..at })
    })
}

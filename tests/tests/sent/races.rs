//! A socket that becomes writable at a bad moment: between h2's two attempts to write in one poll, either with frames left that
//! h2 has read, or with requests that arrive in the same poll.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use axum::{Router, routing::get};
use defer_axum::{DeferLayer, serve::watch_connection};
use defer_tests::{Log, NoteEnding, http1_ends, http2::data_bytes, in_time, runner};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf},
    sync::Notify,
};

/// The server's end of a connection that accepts as much as it has room for.
struct Gated {
    io: DuplexStream,
    gate: Arc<Gate>,
}

struct Gate {
    room: AtomicUsize,
    /// The number of further attempts to write that are pending before there is room.
    attempts: AtomicUsize,
    opened: Notify,
    blocked: Mutex<Option<Waker>>,
}

/// No attempt opens the gate.
const NEVER: usize = usize::MAX;

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            room: AtomicUsize::new(usize::MAX),
            attempts: AtomicUsize::new(NEVER),
            opened: Notify::new(),
            blocked: Mutex::default(),
        })
    }

    fn is_blocked(&self) -> bool {
        self.blocked.lock().unwrap().is_some()
    }

    fn open(&self) {
        self.room.store(usize::MAX, Ordering::Relaxed);
        self.blocked.lock().unwrap().take().into_iter().for_each(Waker::wake);
    }

    /// Returns whether an attempt to write finds room. Counts the attempt.
    fn has_room(&self, cx: &Context<'_>) -> bool {
        if self.room.load(Ordering::Relaxed) > 0 {
            return true;
        }
        match self.attempts.load(Ordering::Relaxed) {
            NEVER => *self.blocked.lock().unwrap() = Some(cx.waker().clone()),
            0 => {
                self.room.store(usize::MAX, Ordering::Relaxed);
                self.opened.notify_waiters();
                return true;
            }
            left => {
                self.attempts.store(left - 1, Ordering::Relaxed);
                cx.waker().wake_by_ref();
            }
        }
        false
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.gate.has_room(cx) {
            return Poll::Pending;
        }
        let room = self.gate.room.load(Ordering::Relaxed);
        let polled = Pin::new(&mut self.io).poll_write(cx, &buf[..buf.len().min(room)]);
        if let (Poll::Ready(Ok(written)), true) = (&polled, room < usize::MAX) {
            self.gate.room.store(room - written, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

const PING: u8 = 6;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const HEADERS: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// GET, http, the path and an authority, in HPACK (RFC 7541).
fn get_request(stream: u32, path: &str) -> Vec<u8> {
    let mut head = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    head.extend(path.as_bytes());
    head.extend([0x01, 1, b'x']);
    const END_STREAM_AND_HEADERS: u8 = 5;
    frame(HEADERS, END_STREAM_AND_HEADERS, stream, &head)
}

/// Serves one connection, and returns the client's end.
fn serve(app: Router, gate: &Arc<Gate>, builder: Builder<TokioExecutor>) -> DuplexStream {
    let (client, io) = tokio::io::duplex(4 << 20);
    let (io, app) = watch_connection(Gated { io, gate: gate.clone() }, app);
    tokio::spawn(async move {
        drop(builder.serve_connection_with_upgrades(TokioIo::new(io), TowerToHyperService::new(app)).await);
    });
    client
}

/// Lets all tasks run until none can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// One response is stuck halfway. Another is reset in the same read as a PING, whose reply finds the socket full. Its
/// handler, like a third one, answers when the socket has room again. Returns what the jobs were told, and the number of
/// bytes of each response on the wire.
async fn reset_behind_a_ping(attempts: usize) -> (Vec<String>, [usize; 3]) {
    const SMALL: usize = 50_000;
    const LARGE: usize = 100_000;
    let (gate, log) = (Gate::new(), Log::new());
    let of_handler = gate.clone();
    let small = async move || {
        of_handler.opened.notified().await;
        NoteEnding::defer();
        vec![b's'; SMALL]
    };
    let of_handler = gate.clone();
    let tiny = async move || {
        of_handler.opened.notified().await;
        NoteEnding::defer();
        "tiny"
    };
    let large = async || {
        NoteEnding::defer();
        vec![b'l'; LARGE]
    };
    let app: Router = Router::new()
        .route("/s", get(small))
        .route("/t", get(tiny))
        .route("/l", get(large))
        .layer(DeferLayer::new(runner(&log)));
    let mut client = serve(app, &gate, Builder::new(TokioExecutor::new()));

    let window = 983_040_u32.to_be_bytes();
    const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend(frame(SETTINGS, 0, 0, &[&INITIAL_WINDOW_SIZE[..], &window].concat()));
    hello.extend(frame(WINDOW_UPDATE, 0, 0, &window));
    hello.extend(get_request(1, "/s"));
    hello.extend(get_request(3, "/t"));
    client.write_all(&hello).await.unwrap();
    settle().await;
    gate.room.store(20_000, Ordering::Relaxed);
    client.write_all(&get_request(5, "/l")).await.unwrap();
    settle().await;
    assert!(gate.is_blocked());

    gate.attempts.store(attempts, Ordering::Relaxed);
    let cancel = 8_u32.to_be_bytes();
    client
        .write_all(&[frame(PING, 0, 0, b"12345678"), frame(RST_STREAM, 0, 1, &cancel)].concat())
        .await
        .unwrap();
    settle().await;
    let mut wire = Vec::new();
    while let Ok(read) = tokio::time::timeout(std::time::Duration::ZERO, client.read_buf(&mut wire)).await {
        assert!(read.unwrap() > 0);
        settle().await;
    }
    let mut lines = log.wait_for(3).await;
    lines.sort();
    (lines, [1, 3, 5].map(|stream| data_bytes(&wire, stream)))
}

#[tokio::test]
async fn a_response_that_a_reset_threw_away_is_not_sent_however_the_socket_opens() {
    let mut thrown = 0;
    for attempts in 0..6 {
        let (lines, [small, tiny, large]) = reset_behind_a_ping(attempts).await;
        assert_eq!((tiny, large), (4, 100_000), "{attempts}");
        let expected = match small {
            50_000 => "Sent 200 50000",
            _ => "Disconnected 200 0",
        };
        let mut expected = [expected, "Sent 200 100000", "Sent 200 4"];
        expected.sort_unstable();
        assert_eq!(lines, expected, "{attempts}: {small}");
        thrown += usize::from(small == 0);
    }
    assert!(thrown > 0, "each was sent");
}

/// hyper's `pipeline_flush` flushes nothing while there are further requests. Here they arrive just as the socket opens.
#[tokio::test]
async fn a_response_that_waits_for_a_flush_is_not_left_waiting_by_requests_that_come_with_the_room() {
    let (gate, log) = (Gate::new(), Log::new());
    let tiny = async || {
        NoteEnding::defer();
        "tiny"
    };
    let app: Router = Router::new().route("/", get(tiny)).layer(DeferLayer::new(runner(&log)));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().pipeline_flush(true);
    let mut client = serve(app, &gate, builder);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    gate.room.store(10, Ordering::Relaxed);
    client.write_all(REQUEST).await.unwrap();
    settle().await;
    assert!(gate.is_blocked());
    client.write_all(REQUEST).await.unwrap();
    settle().await;
    client.write_all(&REQUEST.repeat(2)).await.unwrap();
    gate.open();
    let mut wire = Vec::new();
    while http1_ends(&wire).len() < 4 {
        in_time(client.read_buf(&mut wire)).await.unwrap();
    }
    assert_eq!(log.wait_for(4).await, ["Sent 200 4"; 4]);
}

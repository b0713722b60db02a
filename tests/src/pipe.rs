//! An in-memory connection that accepts bytes only as far as it is allowed to.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};

/// A handle to both ends. Clones share the connection.
#[derive(Clone, Debug, Default)]
pub struct Pipe(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    to_server: VecDeque<u8>,
    client_gone: bool,
    accepted: Vec<u8>,
    /// The length of `accepted` at the last successful flush.
    flushed: usize,
    /// The length of the part of `accepted` that the client has read.
    read: usize,
    allowed: usize,
    /// The most bytes that one write accepts.
    per_write: usize,
    /// The most bytes that one read returns, if there is a limit.
    per_read: Option<usize>,
    /// After each write, the next write and the next flush are pending once, and wake the task at once.
    stutters: bool,
    write_hesitates: bool,
    flush_hesitates: bool,
    flushes_blocked: bool,
    broken: bool,
    reads_broken: bool,
    /// The server has shut down or dropped its end.
    closed: bool,
    vectored: bool,
    wakers: Vec<Waker>,
}

impl Pipe {
    /// Creates a connection that accepts nothing yet, and at most `per_write` bytes per write.
    pub fn new(per_write: usize, vectored: bool) -> Self {
        let state = State { per_write, vectored, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Limits the server's reads to this many bytes each.
    pub fn limit_reads(&self, per_read: usize) {
        self.change(|state| state.per_read = Some(per_read));
    }

    /// Makes the next write and the next flush after each write pending once, even if they could proceed.
    pub fn stutter(&self) {
        self.change(|state| state.stutters = true);
    }

    /// Sends bytes to the server.
    pub fn send(&self, bytes: &[u8]) {
        self.change(|state| state.to_server.extend(bytes));
    }

    /// Allows the server to write this many more bytes.
    pub fn allow(&self, bytes: usize) {
        self.change(|state| state.allowed = state.allowed.saturating_add(bytes));
    }

    /// Returns whether the server could write more.
    pub fn has_room(&self) -> bool {
        self.state().allowed > 0
    }

    /// Makes flushes pending, or lets them through.
    pub fn block_flushes(&self, blocked: bool) {
        self.change(|state| state.flushes_blocked = blocked);
    }

    /// Makes writes and flushes fail.
    pub fn break_writes(&self) {
        self.change(|state| state.broken = true);
    }

    /// Makes reads fail.
    pub fn break_reads(&self) {
        self.change(|state| state.reads_broken = true);
    }

    /// Ends the server's input.
    pub fn leave(&self) {
        self.change(|state| state.client_gone = true);
    }

    /// Returns the bytes that the server has written.
    pub fn accepted(&self) -> Vec<u8> {
        self.state().accepted.clone()
    }

    /// Calls a function with the bytes that the server has written.
    pub fn with_accepted<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.state().accepted)
    }

    /// Returns how many of the written bytes were flushed.
    pub fn flushed(&self) -> usize {
        self.state().flushed
    }

    /// Returns whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<T>(state: &mut State, cx: &Context<'_>) -> Poll<T> {
    if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        state.wakers.push(cx.waker().clone());
    }
    Poll::Pending
}

/// The server's end.
#[derive(Debug)]
pub struct PipeIo(Pipe);

impl AsyncRead for PipeIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.reads_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if state.to_server.is_empty() && !state.client_gone {
            return wait(&mut state, cx);
        }
        let some = buf.remaining().min(state.per_read.unwrap_or(usize::MAX)).min(state.to_server.len());
        let bytes: Vec<u8> = state.to_server.drain(..some).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        if state.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let some = state.allowed.min(state.per_write).min(buf.len());
        if some == 0 {
            return wait(&mut state, cx);
        }
        if std::mem::take(&mut state.write_hesitates) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        drop(state);
        self.0.change(|state| {
            (state.write_hesitates, state.flush_hesitates) = (state.stutters, state.stutters);
            state.allowed -= some;
            state.accepted.extend_from_slice(&buf[..some]);
        });
        Poll::Ready(Ok(some))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = {
            let state = self.0.state();
            state.allowed.min(state.per_write).max(1)
        };
        let mut first = Vec::new();
        for buf in bufs {
            let some = buf.len().min(most - first.len());
            first.extend_from_slice(&buf[..some]);
        }
        self.poll_write(cx, &first)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.state().vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if state.flushes_blocked {
            return wait(&mut state, cx);
        }
        if std::mem::take(&mut state.flush_hesitates) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        state.flushed = state.accepted.len();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.state().closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeIo {
    fn drop(&mut self) {
        self.0.state().closed = true;
    }
}

/// The client's end.
#[derive(Debug)]
pub struct PipeClient(pub Pipe);

impl AsyncRead for PipeClient {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        let some = buf.remaining().min(state.accepted.len() - state.read);
        if some == 0 && !state.broken {
            return wait(&mut state, cx);
        }
        let from = state.read;
        buf.put_slice(&state.accepted[from..from + some]);
        state.read += some;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeClient {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.send(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.leave();
        Poll::Ready(Ok(()))
    }
}

/// A listener that accepts the pipes sent to it.
#[derive(Debug)]
pub struct PipeListener(mpsc::UnboundedReceiver<Pipe>);

impl PipeListener {
    /// Creates a listener, and the sender of its connections.
    pub fn new() -> (mpsc::UnboundedSender<Pipe>, Self) {
        let (connect, pipes) = mpsc::unbounded_channel();
        (connect, Self(pipes))
    }
}

impl Listener for PipeListener {
    type Io = PipeIo;
    type Addr = ();

    async fn accept(&mut self) -> (PipeIo, ()) {
        match self.0.recv().await {
            Some(pipe) => (PipeIo(pipe), ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

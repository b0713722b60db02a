//! One connection's I/O object, and what is known of its progress.
//!
//! Hides how a server's reads, writes and flushes tell that a response has left.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use defer_core::Delivery;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task,
};

use crate::middleware::Ending;

/// What a connection's I/O object and its responses share.
#[derive(Default)]
pub(crate) struct Connection {
    state: Mutex<State>,
    /// How many responses wait for a flush, readable without the lock.
    waiting: AtomicUsize,
    /// The last thing that happened was a read of something.
    receiving: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Responses that are complete but for a flush.
    waiting: Vec<Ending>,
    /// Nothing more can be sent.
    closed: bool,
}

impl Connection {
    /// Everything of a response has been handed to the server: it is sent when the next flush succeeds. On a
    /// connection that is closed, or is before that, the client was gone.
    pub(crate) fn sent_with_next_flush(&self, ending: Ending) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            drop(ending);
            return;
        }
        state.waiting.push(ending);
        self.waiting.store(state.waiting.len(), Ordering::Release);
    }

    /// The last frame of an HTTP/2 response, which tells when h2 is done with it.
    pub(crate) fn last_frame(self: &Arc<Self>, data: Bytes, ending: Ending) -> Bytes {
        Bytes::from_owner(LastFrame {
            data,
            ending: Some(ending),
            connection: self.clone(),
            stream: task::try_id(),
        })
    }

    fn flushed(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            for ending in self.take_waiting(false) {
                ending.end(Delivery::Sent);
            }
        }
    }

    /// What waits for a flush waits in vain.
    fn close(&self) {
        drop(self.take_waiting(true));
    }

    fn take_waiting(&self, close: bool) -> Vec<Ending> {
        let mut state = self.lock();
        state.closed |= close;
        self.waiting.store(0, Ordering::Relaxed);
        mem::take(&mut state.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The data of a last frame. It is dropped when the frame has been written, or is thrown away.
struct LastFrame {
    data: Bytes,
    ending: Option<Ending>,
    connection: Arc<Connection>,
    /// The task of the frame's stream.
    stream: Option<task::Id>,
}

impl AsRef<[u8]> for LastFrame {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for LastFrame {
    /// Tells a frame that was written from one that was thrown away. As of h2 0.4.20:
    ///
    /// - Frames are written by the connection's task. Where the task of the frame's own stream drops it, that has not
    ///   handed it over: the stream was reset while it waited for the window.
    /// - The connection's task throws frames away while it handles what it has read (a reset, a GOAWAY, an error, the
    ///   end), and lets go of written ones after it has read until nothing is left. So the last thing that happened
    ///   to the I/O object is a read of something in the first case, and never is in the second.
    ///
    /// A short frame is let go of when it has been copied into the write buffer, which is emptied before the next
    /// flush succeeds. So in each case of a written frame it is that flush which says that it was sent.
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        let handed_over = self.stream.is_none() || self.stream != task::try_id();
        if handed_over && !self.connection.receiving.load(Ordering::Acquire) {
            self.connection.sent_with_next_flush(ending);
        } else {
            ending.end(Delivery::Disconnected);
        }
    }
}

/// The I/O object of a connection under [`serve`](super::serve()): the listener's own, whose progress is watched.
///
/// It delays nothing, and vectored writes stay vectored.
#[derive(Debug)]
pub struct ServedIo<I> {
    io: I,
    closes: Closes,
}

/// Closes the connection when the I/O object is dropped.
#[derive(Debug)]
struct Closes(Arc<Connection>);

impl<I> ServedIo<I> {
    pub(super) fn new(io: I) -> Self {
        Self { io, closes: Closes(Arc::default()) }
    }

    /// The listener's I/O object.
    pub fn get_ref(&self) -> &I {
        &self.io
    }

    /// The listener's I/O object.
    pub fn get_mut(&mut self) -> &mut I {
        &mut self.io
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.closes.0
    }

    fn saw<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &polled {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => self.connection().close(),
            Poll::Pending => self.connection().receiving.store(false, Ordering::Release),
        }
        polled
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ServedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.connection().receiving.store(polled.is_ready(), Ordering::Release);
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ServedIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.saw(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.saw(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.connection().flushed();
        }
        self.saw(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Servers flush before they shut down, and send nothing after it.
        self.connection().close();
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

//! One connection's I/O object, and what is known of its progress.
//!
//! Hides how a server's reads, writes and flushes tell that a response has left.

use std::{
    io::{self, IoSlice},
    mem,
    ops::Range,
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

use super::frames::{Frames, Seen};
use crate::middleware::Ending;

/// What a connection's I/O object and its responses share.
#[derive(Default)]
pub(crate) struct Connection {
    state: Mutex<State>,
    /// The lengths of the lists in `State`, readable without the lock.
    waiting: AtomicUsize,
    frames: AtomicUsize,
    /// The last thing that happened was a read of something.
    receiving: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Responses that are complete but for a flush.
    waiting: Vec<Waiting>,
    /// The last frames that h2 has.
    frames: Vec<Tail>,
    /// Nothing more can be sent.
    closed: bool,
}

struct Waiting {
    ending: Ending,
    /// The end of this stream has to be seen before the flush.
    until: Option<u32>,
}

/// Where the data of a last frame lies in memory, and what was seen of it there.
struct Tail {
    data: Range<usize>,
    stream: Option<u32>,
    ended: bool,
}

impl Connection {
    /// Everything of a response has been handed to the server: it is sent when the next flush succeeds. On a
    /// connection that is closed, or is before that, the client was gone.
    pub(crate) fn sent_with_next_flush(&self, ending: Ending) {
        self.wait(Waiting { ending, until: None });
    }

    /// The last frame of an HTTP/2 response, which tells when h2 is done with it.
    pub(crate) fn last_frame(self: &Arc<Self>, data: Bytes, ending: Ending) -> Bytes {
        // h2 writes longer data from where they lie, and a frame of them can be thrown away when a part is written.
        // Shorter ones it copies.
        let watched = !data.is_empty();
        if watched {
            let mut state = self.lock();
            state.frames.push(Tail { data: range(&data), stream: None, ended: false });
            self.frames.store(state.frames.len(), Ordering::Release);
        }
        Bytes::from_owner(LastFrame {
            data,
            watched,
            ending: Some(ending),
            connection: self.clone(),
            stream: task::try_id(),
        })
    }

    fn wait(&self, waiting: Waiting) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            drop(waiting);
            return;
        }
        state.waiting.push(waiting);
        self.waiting.store(state.waiting.len(), Ordering::Release);
    }

    fn saw(&self, seen: Seen<'_>) {
        if self.frames.load(Ordering::Acquire) == 0 && self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.lock();
        match seen {
            Seen::Data { stream, part } => {
                let at = part.as_ptr() as usize;
                if let Some(tail) = state.frames.iter_mut().find(|tail| tail.data.contains(&at)) {
                    tail.stream = Some(stream);
                }
            }
            Seen::End { stream } => {
                for tail in state.frames.iter_mut().filter(|tail| tail.stream == Some(stream)) {
                    tail.ended = true;
                }
                for waiting in state.waiting.iter_mut().filter(|waiting| waiting.until == Some(stream)) {
                    waiting.until = None;
                }
            }
        }
    }

    fn flushed(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            let mut flushed = self.take_waiting(false);
            for Waiting { ending, until } in flushed.drain(..) {
                // The write buffer is empty: a stream whose end is not seen by now was reset.
                ending.end(if until.is_none() { Delivery::Sent } else { Delivery::Disconnected });
            }
            self.keep_room(flushed);
        }
    }

    /// What waits for a flush waits in vain.
    fn close(&self) {
        drop(self.take_waiting(true));
    }

    fn take_waiting(&self, close: bool) -> Vec<Waiting> {
        let mut state = self.lock();
        state.closed |= close;
        self.waiting.store(0, Ordering::Relaxed);
        mem::take(&mut state.waiting)
    }

    /// Keeps an empty list for the responses to come, unless it is that of an exceptional many.
    fn keep_room(&self, empty: Vec<Waiting>) {
        let mut state = self.lock();
        if state.waiting.capacity() == 0 && empty.capacity() <= 16 {
            state.waiting = empty;
        }
    }

    fn take_tail(&self, data: &Bytes) -> Option<Tail> {
        let data = range(data);
        let mut state = self.lock();
        let at = state.frames.iter().position(|tail| tail.data == data)?;
        let tail = state.frames.swap_remove(at);
        self.frames.store(state.frames.len(), Ordering::Release);
        Some(tail)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn range(data: &[u8]) -> Range<usize> {
    let start = data.as_ptr() as usize;
    start..start + data.len()
}

/// The data of a last frame. It is dropped when the frame has been written, or is thrown away.
struct LastFrame {
    data: Bytes,
    /// Whether the connection has a [`Tail`] of it.
    watched: bool,
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
    /// Tells data that were written from those that were thrown away. As of h2 0.4.20:
    ///
    /// - Frames are written by the connection's task. Where the task of the frame's own stream drops it, that has not
    ///   handed it over: the stream was reset while it waited for the window.
    /// - The connection's task throws frames away while it handles what it has read (a reset, a GOAWAY, an error, the
    ///   end), and lets go of written ones after it has read until nothing is left. So the last thing that happened
    ///   to the I/O object is a read of something in the first case, and never is in the second.
    /// - A frame that is being written while its stream is reset is written to its end. If it held only a part of the
    ///   data, because of the window or the frame size, the rest is thrown away with it. Such data are written from
    ///   where they lie, so that their stream is known, and it is seen whether that ended.
    ///
    /// Short data are let go of when they have been copied into the write buffer, which is emptied before the next
    /// flush succeeds. So in each case of data that were written it is that flush which says that they were sent.
    fn drop(&mut self) {
        let tail = if self.watched { self.connection.take_tail(&self.data) } else { None };
        let Some(ending) = self.ending.take() else { return };
        let handed_over = self.stream.is_none() || self.stream != task::try_id();
        if handed_over && !self.connection.receiving.load(Ordering::Acquire) {
            let until = tail.filter(|tail| !tail.ended).and_then(|tail| tail.stream);
            self.connection.wait(Waiting { ending, until });
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
    frames: Frames,
    closes: Closes,
}

/// Closes the connection when the I/O object is dropped.
#[derive(Debug)]
struct Closes(Arc<Connection>);

impl<I> ServedIo<I> {
    pub(super) fn new(io: I) -> Self {
        Self { io, frames: Frames::default(), closes: Closes(Arc::default()) }
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

    /// A write or a flush came this far.
    fn polled<T>(&self, polled: &Poll<io::Result<T>>) {
        match polled {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => self.connection().close(),
            Poll::Pending => self.connection().receiving.store(false, Ordering::Release),
        }
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
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        if let (&Poll::Ready(Ok(written)), false) = (&polled, this.frames.are_http1()) {
            this.frames.wrote(&buf[..written], |seen| this.closes.0.saw(seen));
        }
        this.polled(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        if let (&Poll::Ready(Ok(written)), false) = (&polled, this.frames.are_http1()) {
            let mut written = written;
            for buf in bufs {
                let part = written.min(buf.len());
                this.frames.wrote(&buf[..part], |seen| this.closes.0.saw(seen));
                written -= part;
            }
        }
        this.polled(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.connection().flushed();
        }
        self.polled(&polled);
        polled
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

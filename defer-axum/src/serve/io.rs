//! The I/O object of a connection whose progress is watched.

use std::{
    io::{self, IoSlice},
    iter,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connection::Connection, frames::Frames, state::ServerState};

/// The I/O object of a connection under [`serve`](super::serve()). Wraps the listener's I/O object and watches its progress.
///
/// It delays nothing, and vectored writes stay vectored.
#[derive(Debug)]
pub struct ServedIo<I> {
    io: I,
    frames: Frames,
    closes: Closes,
}

/// The halves of a connection. Two tasks may poll them once it is upgraded.
const READS: usize = 0;
const WRITES: usize = 1;

/// Closes the connection when the I/O object is dropped.
#[derive(Debug)]
struct Closes(Arc<Connection>);

impl<I> ServedIo<I> {
    /// `server` is `None` under another server.
    pub(super) fn new(io: I, server: Option<Arc<ServerState>>) -> Self {
        Self { io, frames: Frames::default(), closes: Closes(Arc::new(Connection::new(server))) }
    }

    /// Returns an error once the server has ended.
    #[inline]
    fn poll_server(&self, half: usize, cx: &Context<'_>) -> io::Result<()> {
        match self.connection().server() {
            Some(server) => server.poll(self.connection().address() + half, cx),
            None => Ok(()),
        }
    }

    /// Turns what is pending into an error once the server has ended. Anything else leads to something pending, or to a flush.
    #[inline]
    fn or_failed<T>(
        &self,
        polled: Poll<io::Result<T>>,
        half: usize,
        cx: &Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            self.poll_server(half, cx)?;
        }
        polled
    }

    /// Returns a reference to the listener's I/O object.
    pub fn get_ref(&self) -> &I {
        &self.io
    }

    /// Returns a mutable reference to the listener's I/O object.
    pub fn get_mut(&mut self) -> &mut I {
        &mut self.io
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.closes.0
    }

    /// Reports a write of these parts to the connection.
    #[inline]
    fn wrote<'a>(&mut self, polled: &Poll<io::Result<usize>>, parts: impl Iterator<Item = &'a [u8]> + Clone) {
        let written = match polled {
            Poll::Ready(Ok(written)) => *written,
            _ => 0,
        };
        if !self.frames.is_http1() {
            let last_frame = self.frames.offered(parts.clone(), written);
            self.connection().wrote(last_frame);
        }
        let connection = &self.closes.0;
        if connection.is_counting() {
            let mut left = written;
            connection.count_bytes(parts.map(|part| {
                let some = left.min(part.len());
                left -= some;
                &part[..some]
            }));
        }
        self.tell(polled);
    }

    /// Reports a write, or an unsuccessful flush, to the connection.
    fn tell<T>(&self, polled: &Poll<io::Result<T>>) {
        self.connection().mark_unflushed();
        if let Poll::Ready(Err(_)) = polled {
            self.connection().close();
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ServedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.frames.is_http1() {
            self.connection().did_not_write();
        }
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.connection().read();
        }
        self.or_failed(polled, READS, cx)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ServedIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        let polled = self.or_failed(polled, WRITES, cx);
        self.wrote(&polled, iter::once(buf));
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        let polled = self.or_failed(polled, WRITES, cx);
        self.wrote(&polled, bufs.iter().map(|buf| &**buf));
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.frames.is_http1() {
            self.connection().did_not_write();
        }
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        match polled {
            Poll::Ready(Ok(())) => {
                self.frames.flushed();
                self.connection().flushed();
            }
            _ => self.tell(&polled),
        }
        // Flushed bytes count as sent.
        self.poll_server(WRITES, cx)?;
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Servers flush before they shut down, and send nothing afterwards.
        self.connection().close();
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.or_failed(polled, WRITES, cx)
    }
}

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.gone();
        if let Some(server) = self.0.server() {
            server.forget([READS, WRITES].map(|half| self.0.address() + half));
        }
    }
}

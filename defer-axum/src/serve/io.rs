//! The I/O object of a connection, whose progress is watched.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connection::Connection, state::ServerState};

/// The I/O object of a connection under [`serve`](super::serve()). It wraps the listener's and watches its progress.
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
    /// `server` is none where somebody else serves.
    pub(super) fn new(io: I, server: Option<Arc<ServerState>>) -> Self {
        Self { io, closes: Closes(Arc::new(Connection::new(server))) }
    }

    /// Fails once the server has ended.
    #[inline]
    fn poll_server(&self, cx: &Context<'_>) -> io::Result<()> {
        match self.connection().server() {
            Some(server) => server.poll(Arc::as_ptr(self.connection()).addr(), cx),
            None => Ok(()),
        }
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

    /// Tells the connection of a write, or of a flush that has not succeeded.
    fn tell<T>(&self, polled: &Poll<io::Result<T>>) {
        self.connection().mark_unflushed();
        match polled {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => self.connection().close(),
            Poll::Pending => self.connection().write_is_pending(),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ServedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_server(cx)?;
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.connection().received(polled.is_ready());
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ServedIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_server(cx)?;
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let (&Poll::Ready(Ok(written)), true) = (&polled, self.connection().is_counting()) {
            self.connection().count_bytes([&buf[..written]]);
        }
        self.tell(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_server(cx)?;
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if let (&Poll::Ready(Ok(written)), true) = (&polled, self.connection().is_counting()) {
            let mut left = written;
            self.connection().count_bytes(bufs.iter().map(|buf| {
                let part = left.min(buf.len());
                left -= part;
                &buf[..part]
            }));
        }
        self.tell(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_server(cx)?;
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        match polled {
            Poll::Ready(Ok(())) => self.connection().flushed(),
            _ => self.tell(&polled),
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Servers flush before they shut down, and send nothing after it.
        self.connection().close();
        self.poll_server(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
        if let Some(server) = self.0.server() {
            server.forget(Arc::as_ptr(&self.0).addr());
        }
    }
}

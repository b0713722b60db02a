//! The body of the response that goes out: watches for its end, and leaves the rest to the connection.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use defer_core::Delivery;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{connection::Connection, last_frame::last_frame};
use crate::{
    outermost::Outermost,
    release::{ReleaseGuard, dropped},
};

pub(super) struct ServedBody {
    body: Body,
    outermost: Outermost,
    connection: Arc<Connection>,
    protocol: Protocol,
    /// The server has all of the body, or gets the rest with this poll.
    ended: bool,
    /// The body yielded an error. It may defer after that, while it is dropped.
    failed: bool,
    bytes: u64,
}

enum Protocol {
    /// As of hyper 1.12: hyper encodes what a body yields and then flushes, with nothing in between that could be
    /// flushed too early. It drops a body unpolled, or before its end, when the response has no more content; the next
    /// flush is then the end of the response. When the connection is lost it drops the I/O object before the body.
    Http1,
    /// hyper hands frames to h2, which writes them as the window and the socket allow.
    Http2 {
        /// What follows the last data of a response with jobs.
        next: Next,
        /// The body was empty from the start.
        empty: bool,
    },
    /// hyper drops the body once it has the head, and nothing tells when the head was written.
    Upgrade,
}

enum Next {
    /// Not known.
    Unknown,
    /// The guarded last frame: all of the data was yielded.
    Guard,
    /// Trailers, after the guarded last frame.
    Trailers(HeaderMap),
}

impl ServedBody {
    pub(super) fn http1(body: Body, outermost: Outermost, connection: Arc<Connection>) -> Self {
        Self::new(body, outermost, connection, Protocol::Http1)
    }

    pub(super) fn http2(body: Body, outermost: Outermost, connection: Arc<Connection>) -> Self {
        let empty = body.is_end_stream();
        // Without jobs nothing watches for the end, so an end that is already known may be told.
        let ended = empty && !outermost.has_jobs();
        let protocol = Protocol::Http2 { next: Next::Unknown, empty };
        let mut served = Self::new(body, outermost, connection, protocol);
        served.ended = ended;
        served
    }

    /// An upgrade over HTTP/2 (RFC 8441).
    pub(super) fn upgrade(body: Body, outermost: Outermost, connection: Arc<Connection>) -> Self {
        Self::new(body, outermost, connection, Protocol::Upgrade)
    }

    fn new(body: Body, outermost: Outermost, connection: Arc<Connection>, protocol: Protocol) -> Self {
        Self { body, outermost, connection, protocol, ended: false, failed: false, bytes: 0 }
    }

    fn take_guard(&mut self) -> ReleaseGuard {
        self.outermost.take_guard(self.bytes)
    }

    /// Releases the jobs of a response that did not get to its end.
    fn break_off(&mut self, delivery: Delivery) {
        let taken = match self.protocol {
            Protocol::Http1 => self.connection.taken(),
            Protocol::Http2 { .. } | Protocol::Upgrade => 0,
        };
        self.take_guard().end(delivery, taken);
    }

    fn last_frame(&mut self) -> Frame<Bytes> {
        let guard = self.take_guard();
        Frame::data(last_frame(&self.connection, guard))
    }

    /// What follows the last data of an HTTP/2 response with jobs.
    fn next(&mut self) -> Option<Frame<Bytes>> {
        let Protocol::Http2 { next, .. } = &mut self.protocol else { return None };
        match mem::replace(next, Next::Unknown) {
            Next::Unknown => None,
            Next::Guard => {
                self.ended = true;
                Some(self.last_frame())
            }
            Next::Trailers(trailers) => {
                self.ended = true;
                Some(Frame::trailers(trailers))
            }
        }
    }

    /// Handles the last frame that the body yields.
    fn end(&mut self, frame: Option<Frame<Bytes>>) -> Option<Frame<Bytes>> {
        match &mut self.protocol {
            Protocol::Http2 { next, .. } if self.outermost.has_jobs() => match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    *next = Next::Guard;
                    Some(Frame::data(data))
                }
                Some(Err(frame)) => {
                    match frame.into_trailers() {
                        Ok(trailers) => *next = Next::Trailers(trailers),
                        Err(_) => self.ended = true,
                    }
                    Some(self.last_frame())
                }
                None => {
                    self.ended = true;
                    Some(self.last_frame())
                }
            },
            Protocol::Http1 => {
                self.ended = true;
                let guard = self.take_guard();
                self.connection.sent_with_next_flush(guard);
                frame
            }
            Protocol::Http2 { .. } | Protocol::Upgrade => {
                self.ended = true;
                frame
            }
        }
    }
}

impl HttpBody for ServedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Some(frame) = this.next() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let body = &mut this.body;
        let frame = match ready!(this.outermost.enter(|| Pin::new(body).poll_frame(cx))) {
            Some(Err(error)) => {
                this.ended = true;
                this.failed = true;
                this.break_off(Delivery::Failed);
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => Some(frame),
            None => None,
        };
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            this.bytes += data.len() as u64;
        }
        let is_last = match &frame {
            Some(frame) => frame.is_trailers() || this.body.is_end_stream(),
            None => true,
        };
        let frame = if is_last { this.end(frame) } else { frame };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match self.protocol {
            Protocol::Http2 { .. } => self.ended,
            Protocol::Http1 | Protocol::Upgrade => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.protocol {
            // hyper would announce a length of zero, which is wrong for the response to a HEAD request.
            Protocol::Http2 { empty: true, .. } => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}

impl Drop for ServedBody {
    fn drop(&mut self) {
        // The layer's body may defer while it is dropped.
        let body = mem::take(&mut self.body);
        self.outermost.enter(|| drop(body));
        if !self.outermost.has_jobs() {
            if !self.ended {
                self.connection.stop_counting();
            }
            return;
        }
        let delivery = dropped(match self.protocol {
            _ if self.failed => Delivery::Failed,
            Protocol::Http1 => Delivery::Sent,
            Protocol::Upgrade if !self.connection.is_closed() => Delivery::Finished,
            // The stream was reset, or the connection is lost.
            Protocol::Http2 { .. } | Protocol::Upgrade => Delivery::Disconnected,
        });
        if delivery == Delivery::Sent {
            let guard = self.take_guard();
            self.connection.sent_with_next_flush(guard);
        } else {
            self.break_off(delivery);
        }
    }
}

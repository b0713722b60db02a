//! The body of the response that goes out: sees its end, and leaves the rest to the connection.

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

use super::connection::Connection;
use crate::middleware::{Ending, Outer};

pub(super) struct ServedBody {
    body: Body,
    outer: Outer,
    connection: Arc<Connection>,
    protocol: Protocol,
    /// The server has, or is about to have, everything.
    ended: bool,
    /// The body yielded an error. It may still defer while it is dropped.
    failed: bool,
    bytes: u64,
}

enum Protocol {
    /// hyper encodes what a body yields, and then flushes, without anything in between that could be flushed too
    /// early. It drops a body unpolled, or before its end, where the response has no or no more content: what it
    /// then flushes is the end of the response. (It drops the I/O object before the body where the connection is
    /// lost. Seen in hyper 1.12.)
    Http1,
    /// hyper hands frames to h2, which writes them when the window and the socket allow.
    Http2 {
        /// The last frame of a response with jobs, which is to follow.
        next: Next,
        /// There was nothing to yield from the start.
        empty: bool,
    },
    /// hyper drops the body when it has the head, and nothing tells when that is written.
    Upgrade,
}

enum Next {
    /// Not known.
    Unknown,
    /// The guard: all of the data has been yielded.
    Guard,
    /// Trailers, behind the guard.
    Trailers(HeaderMap),
}

impl ServedBody {
    pub(super) fn http1(body: Body, outer: Outer, connection: Arc<Connection>) -> Self {
        Self::new(body, outer, connection, Protocol::Http1)
    }

    pub(super) fn http2(body: Body, outer: Outer, connection: Arc<Connection>) -> Self {
        let empty = body.is_end_stream();
        // Without jobs nobody asks for the end, and an end that is known stays known.
        let ended = empty && !outer.has_jobs();
        let protocol = Protocol::Http2 { next: Next::Unknown, empty };
        let mut served = Self::new(body, outer, connection, protocol);
        served.ended = ended;
        served
    }

    /// An upgrade over HTTP/2 (RFC 8441).
    pub(super) fn upgrade(body: Body, outer: Outer, connection: Arc<Connection>) -> Self {
        Self::new(body, outer, connection, Protocol::Upgrade)
    }

    fn new(body: Body, outer: Outer, connection: Arc<Connection>, protocol: Protocol) -> Self {
        Self { body, outer, connection, protocol, ended: false, failed: false, bytes: 0 }
    }

    fn take_ending(&mut self) -> Ending {
        self.outer.take_ending(self.bytes)
    }

    /// Releases jobs whose response did not get to its end.
    fn break_off(&mut self, delivery: Delivery) {
        let taken = match self.protocol {
            Protocol::Http1 => self.connection.taken(),
            Protocol::Http2 { .. } | Protocol::Upgrade => 0,
        };
        self.take_ending().end(delivery, taken);
    }

    fn guard(&mut self) -> Frame<Bytes> {
        let ending = self.take_ending();
        Frame::data(self.connection.last_frame(ending))
    }

    /// What follows the last data of an HTTP/2 response with jobs.
    fn next(&mut self) -> Option<Frame<Bytes>> {
        let Protocol::Http2 { next, .. } = &mut self.protocol else { return None };
        match mem::replace(next, Next::Unknown) {
            Next::Unknown => None,
            Next::Guard => {
                self.ended = true;
                Some(self.guard())
            }
            Next::Trailers(trailers) => {
                self.ended = true;
                Some(Frame::trailers(trailers))
            }
        }
    }

    /// The frame is the last that the body yields.
    fn end(&mut self, frame: Option<Frame<Bytes>>) -> Option<Frame<Bytes>> {
        match &mut self.protocol {
            Protocol::Http2 { next, .. } if self.outer.has_jobs() => match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    *next = Next::Guard;
                    Some(Frame::data(data))
                }
                Some(Err(frame)) => {
                    match frame.into_trailers() {
                        Ok(trailers) => *next = Next::Trailers(trailers),
                        Err(_) => self.ended = true,
                    }
                    Some(self.guard())
                }
                None => {
                    self.ended = true;
                    Some(self.guard())
                }
            },
            Protocol::Http1 => {
                self.ended = true;
                let ending = self.take_ending();
                self.connection.sent_with_next_flush(ending);
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
        let frame = match ready!(this.outer.enter(|| Pin::new(body).poll_frame(cx))) {
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
        self.outer.enter(|| drop(body));
        if !self.outer.has_jobs() {
            if !self.ended {
                self.connection.stop_counting();
            }
            return;
        }
        if std::thread::panicking() {
            return self.break_off(Delivery::Panicked);
        }
        if self.failed {
            return self.break_off(Delivery::Failed);
        }
        match self.protocol {
            Protocol::Http1 => {
                let ending = self.take_ending();
                self.connection.sent_with_next_flush(ending);
            }
            Protocol::Upgrade if !self.connection.is_closed() => self.break_off(Delivery::Finished),
            // The stream was reset, or the connection is lost.
            Protocol::Http2 { .. } | Protocol::Upgrade => self.break_off(Delivery::Disconnected),
        }
    }
}

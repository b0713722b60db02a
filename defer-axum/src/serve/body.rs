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
        /// Trailers that wait for the guard before them to be handed over.
        trailers: Option<HeaderMap>,
        /// There was nothing to yield from the start.
        empty: bool,
    },
}

impl ServedBody {
    pub(super) fn http1(body: Body, outer: Outer, connection: Arc<Connection>) -> Self {
        Self { body, outer, connection, protocol: Protocol::Http1, ended: false, failed: false, bytes: 0 }
    }

    pub(super) fn http2(body: Body, outer: Outer, connection: Arc<Connection>) -> Self {
        let protocol = Protocol::Http2 { trailers: None, empty: body.is_end_stream() };
        // Without jobs nobody asks for the end, and an end that is known stays known.
        let ended = body.is_end_stream() && !outer.has_jobs();
        Self { body, outer, connection, protocol, ended, failed: false, bytes: 0 }
    }

    fn take_ending(&mut self) -> Ending {
        self.outer.take_ending(self.bytes)
    }

    /// The frame is the last of an HTTP/1 response.
    fn end_http1(&mut self, frame: Option<Frame<Bytes>>) -> Option<Frame<Bytes>> {
        self.ended = true;
        let ending = self.take_ending();
        self.connection.sent_with_next_flush(ending);
        frame
    }

    /// The frame is the last of an HTTP/2 response: a guarded one takes its place, or follows it, or goes before it.
    fn end_http2(&mut self, frame: Option<Frame<Bytes>>) -> Option<Frame<Bytes>> {
        let ending = self.take_ending();
        let guarded = |data| Some(Frame::data(self.connection.last_frame(data, ending)));
        match frame.map(Frame::into_data) {
            None => {
                self.ended = true;
                guarded(Bytes::new())
            }
            Some(Ok(data)) => {
                self.ended = true;
                guarded(data)
            }
            Some(Err(frame)) => {
                if let Protocol::Http2 { trailers, .. } = &mut self.protocol {
                    *trailers = frame.into_trailers().ok();
                }
                guarded(Bytes::new())
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
        if let Protocol::Http2 { trailers, .. } = &mut this.protocol {
            if let Some(trailers) = trailers.take() {
                this.ended = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let body = &mut this.body;
        let frame = match ready!(this.outer.enter(|| Pin::new(body).poll_frame(cx))) {
            Some(Err(error)) => {
                this.ended = true;
                this.failed = true;
                this.take_ending().end(Delivery::Failed);
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
        let frame = match this.protocol {
            _ if !is_last => frame,
            Protocol::Http1 => this.end_http1(frame),
            Protocol::Http2 { .. } if this.outer.has_jobs() => this.end_http2(frame),
            Protocol::Http2 { .. } => {
                this.ended = true;
                frame
            }
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match self.protocol {
            Protocol::Http1 => self.body.is_end_stream(),
            Protocol::Http2 { .. } => self.ended,
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
            return;
        }
        let ending = self.take_ending();
        if std::thread::panicking() {
            ending.end(Delivery::Panicked);
            return;
        }
        if self.failed {
            ending.end(Delivery::Failed);
            return;
        }
        match self.protocol {
            Protocol::Http1 => self.connection.sent_with_next_flush(ending),
            // The stream was reset, or the connection is lost.
            Protocol::Http2 { .. } => ending.end(Delivery::Disconnected),
        }
    }
}

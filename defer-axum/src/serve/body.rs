//! The body of the outgoing response. It watches for its end, and leaves the rest to the connection.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use defer_core::Delivery;
use http::header::TE;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    connection::Connection,
    last_frame::{BrokenOff, last_frame},
};
use crate::{
    length::Announced,
    outermost::Outermost,
    release::{ReleaseGuard, dropped},
};

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

pub(super) struct ServedBody {
    body: Body,
    outermost: Outermost,
    connection: Arc<Connection>,
    protocol: Protocol,
    announced: Announced,
    /// The body has yielded everything, or the server does not want the rest.
    ended: bool,
    /// The body yielded an error, or less than it announced. It may still defer while it is dropped.
    failed: bool,
    bytes: u64,
}

enum Protocol {
    /// hyper 1.12 encodes what a body yields and then flushes. Nothing in between could be flushed too early. It drops a body
    /// unpolled, or before its end, when the response has no more content. The next flush is then the end of the response.
    /// When the connection is lost, hyper drops the I/O object before the body.
    Http1,
    /// hyper hands frames to h2, which writes them as the window and the socket allow.
    Http2(Http2),
    /// hyper drops the body once it has the head, and nothing signals when the head was written.
    Upgrade,
}

struct Http2 {
    /// The frame after the last one of the content: trailers, or data beyond the announced length.
    held: Option<Frame<Bytes>>,
    /// The body was empty from the start.
    empty: bool,
    /// Set if the last frame was yielded before the body's end was known.
    broken_off: Option<BrokenOff>,
}

impl ServedBody {
    pub(super) fn http1(
        body: Body,
        announced: Announced,
        outermost: Outermost,
        connection: Arc<Connection>,
    ) -> Self {
        Self::new(body, announced, outermost, connection, Protocol::Http1)
    }

    pub(super) fn http2(
        body: Body,
        announced: Announced,
        outermost: Outermost,
        connection: Arc<Connection>,
    ) -> Self {
        let empty = body.is_end_stream();
        // hyper sends what a body yields, whatever the head says (1.12).
        let announced = if announced == Announced::NoContent { Announced::Nothing } else { announced };
        let protocol = Protocol::Http2(Http2 { held: None, empty, broken_off: None });
        let mut served = Self::new(body, announced, outermost, connection, protocol);
        // Without jobs nothing watches for the end, so a known end can be reported.
        served.ended = empty && !served.outermost.has_jobs();
        served
    }

    /// An upgrade over HTTP/2 (RFC 8441).
    pub(super) fn upgrade(body: Body, outermost: Outermost, connection: Arc<Connection>) -> Self {
        Self::new(body, Announced::Nothing, outermost, connection, Protocol::Upgrade)
    }

    fn new(
        body: Body,
        announced: Announced,
        outermost: Outermost,
        connection: Arc<Connection>,
        protocol: Protocol,
    ) -> Self {
        let served =
            Self { body, outermost, connection, protocol, announced, ended: false, failed: false, bytes: 0 };
        served.tell_deadlines();
        served
    }

    #[inline]
    fn tell_deadlines(&self) {
        self.outermost.yielded(self.announced.cap(self.bytes), || {
            let is_counting = matches!(self.protocol, Protocol::Http1);
            let connection = is_counting.then(|| self.connection.clone());
            Box::new(move || connection.as_ref().map_or(0, |connection| connection.taken()))
        });
    }

    fn take_guard(&mut self) -> ReleaseGuard {
        self.outermost.take_guard(self.announced.cap(self.bytes))
    }

    /// Releases the jobs of a response that did not reach its end.
    fn break_off(&mut self, delivery: Delivery) {
        let taken = match self.protocol {
            Protocol::Http1 => self.connection.taken(),
            Protocol::Http2(_) | Protocol::Upgrade => 0,
        };
        self.take_guard().end(delivery, taken);
    }

    /// Marks a last frame that was already yielded: the stream will be reset, so h2 no longer writes it.
    fn abandon(&self, delivery: Delivery) {
        if let Protocol::Http2(Http2 { broken_off: Some(broken_off), .. }) = &self.protocol {
            // Only the first delivery counts.
            let _ = broken_off.set(delivery);
        }
    }

    fn fail(&mut self) {
        self.ended = true;
        self.failed = true;
        self.abandon(Delivery::Failed);
        self.break_off(Delivery::Failed);
    }

    /// Returns the part of a frame that comes before the last frame of an HTTP/2 response with jobs, and holds the rest. The body
    /// had yielded `before` bytes.
    fn content_http2(&mut self, frame: Option<Frame<Bytes>>, before: u64) -> Option<Frame<Bytes>> {
        let Protocol::Http2(http2) = &mut self.protocol else { return frame };
        if !self.outermost.has_jobs() {
            return frame;
        }
        let content = match frame.map(Frame::into_data) {
            Some(Ok(mut data)) => {
                let content = self.announced.cap(self.bytes) - self.announced.cap(before);
                let surplus = data.split_off(content as usize);
                if surplus.is_empty() {
                    return Some(Frame::data(data));
                }
                http2.held = Some(Frame::data(surplus));
                Some(Frame::data(data)).filter(|_| content > 0)
            }
            Some(Err(trailers)) => {
                http2.held = Some(trailers);
                None
            }
            None => None,
        };
        content.or_else(|| self.next_http2())
    }

    /// Returns the next frame to send over HTTP/2 before polling the body again.
    fn next_http2(&mut self) -> Option<Frame<Bytes>> {
        let Protocol::Http2(http2) = &self.protocol else { return None };
        let last = if self.ended || http2.held.is_some() { self.last_frame() } else { None };
        match &mut self.protocol {
            Protocol::Http2(http2) if last.is_none() => http2.held.take(),
            _ => last,
        }
    }

    /// Returns the last frame of an HTTP/2 response with jobs. All content was yielded.
    fn last_frame(&mut self) -> Option<Frame<Bytes>> {
        let Protocol::Http2(http2) = &mut self.protocol else { return None };
        if self.failed || !self.outermost.has_jobs() {
            return None;
        }
        if !self.ended {
            http2.broken_off.get_or_insert_default();
        }
        let broken_off = http2.broken_off.clone();
        let guard = self.take_guard();
        Some(Frame::data(last_frame(&self.connection, guard, broken_off)))
    }

    /// Returns whether h2 refuses to send these trailers (0.4.20). hyper then gives up the stream (1.12).
    fn is_refused(&self, frame: Option<&Frame<Bytes>>) -> bool {
        const REFUSED: [&str; 5] =
            ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"];
        let Some(trailers) = frame.and_then(Frame::trailers_ref) else { return false };
        matches!(self.protocol, Protocol::Http2(_))
            && (REFUSED.iter().any(|name| trailers.contains_key(*name))
                || trailers.get(TE).is_some_and(|te| te != "trailers"))
    }

    /// Polls the body. Also returns whether this frame is its last.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> (Polled, bool) {
        struct OnPanic<'a>(&'a mut ServedBody);
        impl Drop for OnPanic<'_> {
            fn drop(&mut self) {
                self.0.abandon(Delivery::Panicked);
            }
        }
        let on_panic = OnPanic(self);
        let ServedBody { outermost, body, .. } = &mut *on_panic.0;
        let polled = outermost.enter(|| Pin::new(&mut *body).poll_frame(cx));
        let (data, is_last) = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map(Bytes::len);
                (data.unwrap_or(0), data.is_none() || body.is_end_stream())
            }
            Poll::Ready(None) => (0, true),
            Poll::Ready(Some(Err(_))) | Poll::Pending => (0, false),
        };
        mem::forget(on_panic);
        self.bytes += data as u64;
        self.tell_deadlines();
        (polled, is_last)
    }
}

impl HttpBody for ServedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if let Some(frame) = this.next_http2() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let before = this.bytes;
        let (polled, is_last) = this.poll_body(cx);
        let frame = match polled {
            // The end may take long.
            Poll::Pending if this.announced.is_reached(this.bytes) => {
                return this.last_frame().map_or(Poll::Pending, |frame| Poll::Ready(Some(Ok(frame))));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Err(error))) => {
                this.fail();
                return Poll::Ready(Some(Err(error)));
            }
            Poll::Ready(Some(Ok(frame))) => Some(frame),
            Poll::Ready(None) => None,
        };
        if is_last {
            if this.announced.is_missed(this.bytes) || this.is_refused(frame.as_ref()) {
                this.fail();
                return Poll::Ready(frame.map(Ok));
            }
            this.ended = true;
        }
        if let Protocol::Http1 = this.protocol {
            // hyper cuts off what exceeds the announced length.
            this.ended |= this.announced.is_reached(this.bytes);
            if this.ended {
                let guard = this.take_guard();
                this.connection.sent_with_next_flush(guard);
            }
        }
        Poll::Ready(this.content_http2(frame, before).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match &self.protocol {
            Protocol::Http2(http2) => {
                self.ended && http2.held.is_none() && (self.failed || !self.outermost.has_jobs())
            }
            Protocol::Http1 | Protocol::Upgrade => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.protocol {
            // hyper would announce a length of zero, which is wrong in a response to HEAD.
            Protocol::Http2(Http2 { empty: true, .. }) => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}

impl Drop for ServedBody {
    fn drop(&mut self) {
        if !self.ended {
            // First, because user code may panic below.
            self.abandon(dropped(Delivery::Disconnected));
        }
        let is_over = self.ended || self.body.is_end_stream();
        let had_jobs = self.outermost.has_jobs();
        // The layer's body may defer while it is dropped.
        let body = mem::take(&mut self.body);
        self.outermost.enter(|| drop(body));
        let delivery = dropped(match self.protocol {
            _ if self.failed => Delivery::Failed,
            Protocol::Http1 if is_over && self.announced.is_missed(self.bytes) => Delivery::Failed,
            Protocol::Http1 => Delivery::Sent,
            Protocol::Upgrade if !self.connection.is_closed() => Delivery::Finished,
            // The server has all of it, and nothing watches for its end.
            Protocol::Http2(_) if self.ended && !had_jobs => Delivery::Finished,
            // The stream was reset, or the connection was lost.
            Protocol::Http2(_) | Protocol::Upgrade => Delivery::Disconnected,
        });
        if !self.outermost.has_jobs() {
            if !self.ended {
                self.connection.stop_counting();
            }
            return;
        }
        if delivery == Delivery::Sent {
            let guard = self.take_guard();
            self.connection.sent_with_next_flush(guard);
        } else {
            self.break_off(delivery);
        }
    }
}

//! The bodies of responses.

use std::{
    io,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, TRAILER},
};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    case::{Answer, Fault, Inner, Memory, Shape},
    generate::{MAX_OFFSET, MAX_SIZE},
    world::{Place, World},
};

static STATIC: [u8; MAX_SIZE + MAX_OFFSET] = [b'x'; MAX_SIZE + MAX_OFFSET];

/// The response of the n-th request.
pub(crate) fn response(world: &World, n: usize) -> Response {
    let answer = &world.exchange(n).answer;
    let bytes = match answer.memory {
        Memory::Own => vec![b'x'; answer.size].into(),
        Memory::Cached => world.cached(answer.size),
        Memory::Static(from) => Bytes::from_static(&STATIC[from..from + answer.size]),
    };
    let mut response = Response::builder().status(answer.status);
    if answer.shape == Shape::Announced {
        response = response.header(CONTENT_LENGTH, answer.announced.unwrap_or(answer.size));
    }
    if answer.trailers && answer.is_streamed() {
        response = response.header(TRAILER, "x-sum");
    }
    let body = match answer.shape {
        Shape::Full => Body::from(bytes),
        _ => Body::new(
            PlayedBody {
                world: world.clone(),
                n,
                answer: answer.clone(),
                left: bytes,
                chunks: 0,
                deferred: false,
                empty_is_next: answer.empty_chunks,
                passed: false,
                trailers: answer.trailers,
            }
            .that_may_defer(),
        ),
    };
    response.body(body).expect("a response")
}

/// A body that yields chunk by chunk.
struct PlayedBody {
    world: World,
    n: usize,
    answer: Answer,
    left: Bytes,
    /// The number of chunks yielded so far.
    chunks: usize,
    /// The body has deferred its job, or has none to defer.
    deferred: bool,
    empty_is_next: bool,
    /// The next chunk no longer has to wait.
    passed: bool,
    /// The trailers have not been sent yet.
    trailers: bool,
}

impl HttpBody for PlayedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.answer.stream_job == Some(this.chunks) && !this.deferred {
            this.deferred = true;
            // The innermost scope collects.
            let place = if this.answer.inner == Some(Inner::Forwards) { Place::Inner } else { Place::Stream };
            this.world.defer(this.n, place);
        }
        let waits = this.answer.pends || this.answer.ends_late && this.left.is_empty();
        if waits && !this.passed {
            ready!(this.world.poll_pass(this.n, cx));
            this.passed = true;
        }
        match this.answer.fault() {
            Some(Fault::Fails(at)) if at == this.chunks => {
                return Poll::Ready(Some(Err(io::Error::other("the disk is gone"))));
            }
            Some(Fault::Panics(at)) if at == this.chunks => resume_unwind(Box::new("a body")),
            Some(Fault::Ends(at)) if at == this.chunks => return Poll::Ready(None),
            _ => {}
        }
        if this.left.is_empty() {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("1"));
            let frame = std::mem::take(&mut this.trailers).then(|| Ok(Frame::trailers(trailers)));
            return Poll::Ready(frame);
        }
        let empty_is_next = this.empty_is_next;
        this.empty_is_next = this.answer.empty_chunks && !empty_is_next;
        if empty_is_next {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
        }
        let chunk = this.left.split_to(this.answer.chunk.min(this.left.len()));
        this.chunks += 1;
        this.passed = false;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.answer.tells_end && self.left.is_empty() && !self.trailers && self.answer.fault().is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.answer.shape {
            Shape::Sized => SizeHint::with_exact(self.left.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

impl PlayedBody {
    /// The layer treats a body that is empty, or short and of known length, as one that defers nothing.
    fn that_may_defer(mut self) -> Self {
        let is_short = self.answer.shape == Shape::Sized && self.answer.size <= 16 * 1024;
        self.deferred = is_short || self.is_end_stream();
        self
    }
}

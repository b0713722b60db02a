use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use defer_core::{Delivery, Scope};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use super::{
    ending::{Due, Head, Outer},
    service::Arrival,
};

/// Whether a body need not be polled in the scope of its request: it is at its end, or short and of known length,
/// as those are that handlers return whole. There is no way to ask a boxed body more than that.
pub(super) fn is_complete(body: &impl HttpBody) -> bool {
    const SHORT: u64 = 16 * 1024;
    body.is_end_stream() || body.size_hint().exact().is_some_and(|length| length <= SHORT)
}

/// How many bytes the response says that its body has. A server need not ask such a body for its end (hyper 1.12 does not,
/// over HTTP/1).
pub(super) fn announced(headers: &HeaderMap, body: &impl HttpBody) -> Option<u64> {
    let length = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    body.size_hint().exact().or_else(length)
}

/// A response body that is polled in the scope of its request.
pub(super) struct DeferBody {
    body: Body,
    scope: Scope,
    /// How many bytes the response says that the body has.
    length: Option<u64>,
    /// For the first job, if there was none before this body.
    arrival: Option<Box<(Arrival, Head)>>,
    /// The jobs, if it is this body that sees the end of the response.
    due: Option<Due>,
    /// How the body ended, once it has: it may still defer while it is dropped.
    ended: Option<Delivery>,
    bytes: u64,
}

impl DeferBody {
    /// A body of a request that has deferred nothing yet.
    pub(super) fn streaming(
        body: Body,
        scope: Scope,
        length: Option<u64>,
        arrival: Arrival,
        head: Head,
    ) -> Self {
        let arrival = Some(Box::new((arrival, head)));
        Self { body, scope, length, arrival, due: None, ended: None, bytes: 0 }
    }

    /// A body of a request that has deferred something. `due` is what nobody further out releases.
    pub(super) fn with_jobs(body: Body, scope: Scope, length: Option<u64>, due: Option<Due>) -> Self {
        Self { body, scope, length, arrival: None, due, ended: None, bytes: 0 }
    }

    /// The body in a box, of the type that [`Body::new`] takes without another around it.
    pub(super) fn boxed(self) -> Body {
        Body::new(UnsyncBoxBody::new(self))
    }

    /// Hands on the jobs of a request that had deferred nothing before this body was polled.
    fn hand_on(&mut self) {
        if self.arrival.is_none() {
            return;
        }
        let Some(jobs) = self.scope.list() else { return };
        let Some((arrival, head)) = self.arrival.take().map(|seen| *seen) else { return };
        self.due = Outer::attach(Due::new(jobs, arrival, Some(head))).err();
    }

    /// Whether there is nothing more to come, though nobody has asked for the end.
    fn is_over(&self, body: &Body) -> bool {
        let no_content = match (&self.due, &self.arrival) {
            (Some(due), _) => due.has_no_content(),
            (None, Some(seen)) => seen.0.is_head() || seen.1.has_no_content(),
            (None, None) => false,
        };
        no_content || body.is_end_stream() || self.length.is_some_and(|length| self.bytes >= length)
    }

    /// The body has ended. What it defers later ends as it did: only the first call says how.
    fn end(&mut self, delivery: Delivery) {
        let delivery = *self.ended.get_or_insert(delivery);
        if let Some(due) = self.due.take() {
            due.release(delivery, self.bytes);
        }
    }
}

impl HttpBody for DeferBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let body = &mut this.body;
        let polled = this.scope.enter(|| Pin::new(body).poll_frame(cx));
        this.hand_on();
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if frame.is_trailers() || this.body.is_end_stream() {
                    this.end(Delivery::Finished);
                }
            }
            Some(Err(_)) => this.end(Delivery::Failed),
            None => this.end(Delivery::Finished),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for DeferBody {
    fn drop(&mut self) {
        /// Released also if the body's own drop panics.
        struct EndOnDrop<'a>(&'a mut DeferBody, Delivery);
        impl Drop for EndOnDrop<'_> {
            fn drop(&mut self) {
                self.0.hand_on();
                self.0.end(self.1);
            }
        }
        let body = std::mem::take(&mut self.body);
        let delivery = if std::thread::panicking() {
            Delivery::Panicked
        } else if self.is_over(&body) {
            Delivery::Finished
        } else {
            Delivery::Disconnected
        };
        let end = EndOnDrop(self, delivery);
        // A body may defer while it is dropped.
        end.0.scope.enter(|| drop(body));
    }
}

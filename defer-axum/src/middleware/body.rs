//! The response body of a request that has deferred, or may do so while the body streams.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use defer_core::{BoxFuture, Delivery, Scope};
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Instant;

use crate::{
    capture::{RequestHead, ResponseHead},
    length::Announced,
    outermost::Outermost,
    release::{Release, dropped},
};

/// Returns whether a body need not be polled in the request's scope: it is at its end, or short and of known length, like
/// the bodies that handlers return whole. A boxed body reveals no more than that.
pub(super) fn is_complete(body: &impl HttpBody) -> bool {
    const SHORT: u64 = 16 * 1024;
    body.is_end_stream() || body.size_hint().exact().is_some_and(|length| length <= SHORT)
}

/// A response body that is polled in its request's scope.
pub(super) struct DeferBody {
    body: Body,
    scope: Scope,
    announced: Announced,
    /// Kept for the first job, if there was none before this body.
    heads: Option<Box<Heads>>,
    /// The jobs, unless an `Outermost` has them.
    release: Option<Release>,
    /// How the body ended. It may still defer while it is dropped.
    ended: Option<Delivery>,
    bytes: u64,
    status: StatusCode,
    /// A frame that waits until the durable jobs deferred with it are stored.
    kept: Option<Box<Kept>>,
}

pub(super) struct Heads {
    pub(super) request: RequestHead,
    pub(super) seen: ResponseHead,
    /// The latest time at which the jobs are released.
    pub(super) release_at: Option<Instant>,
}

struct Kept {
    frame: Option<Result<Frame<Bytes>, axum::Error>>,
    stored: BoxFuture<'static, ()>,
}

impl DeferBody {
    /// Creates the body of a request that has deferred nothing yet.
    pub(super) fn streaming(
        body: Body,
        scope: Scope,
        announced: Announced,
        status: StatusCode,
        heads: Heads,
    ) -> Self {
        let heads = Some(Box::new(heads));
        Self { body, scope, announced, heads, release: None, ended: None, bytes: 0, status, kept: None }
    }

    /// Creates the body of a request that has deferred. It has the jobs, unless an `Outermost` does.
    pub(super) fn with_jobs(
        body: Body,
        scope: Scope,
        announced: Announced,
        status: StatusCode,
        release: Option<Release>,
    ) -> Self {
        Self { body, scope, announced, heads: None, release, ended: None, bytes: 0, status, kept: None }
    }

    /// Boxes the body in the type that [`Body::new`] takes without boxing it again.
    pub(super) fn boxed(self) -> Body {
        Body::new(UnsyncBoxBody::new(self))
    }

    /// Attaches the jobs of a request that had deferred nothing before its body was polled.
    #[inline]
    fn attach_first(&mut self) {
        if self.heads.is_some() {
            self.attach_first_of_body();
        }
    }

    // Apart, so that a body whose jobs are attached already does not pay for the room that this takes on the stack.
    #[cold]
    fn attach_first_of_body(&mut self) {
        let Some(list) = self.scope.list() else { return };
        let Some(heads) = self.heads.take() else { return };
        let Heads { request, seen, release_at } = *heads;
        if list.is_stored() {
            list.set_request(request.clone().into_info());
        }
        let mut release = Release::new(list, request, Some(seen));
        release.due_at(release_at);
        self.release = Outermost::attach(release).err();
    }

    /// Ends a body that was polled to its end.
    fn end_whole(&mut self) {
        let is_short = self.announced.is_missed(self.bytes);
        self.end(if is_short { Delivery::Failed } else { Delivery::Finished });
    }

    /// Returns how a dropped body ended.
    fn dropped(&self, body: &Body) -> Delivery {
        match body.is_end_stream() {
            _ if self.announced.is_reached(self.bytes) => Delivery::Finished,
            true if self.announced.is_missed(self.bytes) => Delivery::Failed,
            true => Delivery::Finished,
            false => Delivery::Disconnected,
        }
    }

    /// Ends the body. Only the first call counts. Jobs deferred later see the same delivery.
    fn end(&mut self, delivery: Delivery) {
        let delivery = *self.ended.get_or_insert(delivery);
        if let Some(release) = self.release.take() {
            release.release(delivery, self.announced.cap(self.bytes));
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
        let frame = match &mut this.kept {
            Some(kept) => {
                ready!(kept.stored.as_mut().poll(cx));
                this.kept.take().and_then(|kept| kept.frame)
            }
            None => {
                let body = &mut this.body;
                let polled = this.scope.enter(|| Pin::new(body).poll_frame(cx));
                this.attach_first();
                let frame = ready!(polled);
                match this.scope.store(this.status) {
                    None => frame,
                    Some(stored) => {
                        this.kept = Some(Box::new(Kept { frame, stored }));
                        return self.poll_frame(cx);
                    }
                }
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(deadline) = this.release.as_ref().and_then(Release::deadline) {
                    deadline.yielded(this.announced.cap(this.bytes));
                }
                if frame.is_trailers() || this.body.is_end_stream() {
                    this.end_whole();
                }
            }
            Some(Err(_)) => this.end(Delivery::Failed),
            None => this.end_whole(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.kept.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.kept.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

impl Drop for DeferBody {
    fn drop(&mut self) {
        /// Releases the jobs even if the body's own drop panics.
        struct EndOnDrop<'a>(&'a mut DeferBody, Delivery);
        impl Drop for EndOnDrop<'_> {
            fn drop(&mut self) {
                self.0.attach_first();
                self.0.end(self.1);
            }
        }
        let body = std::mem::take(&mut self.body);
        // The body may panic when asked for its end, too.
        let mut end = EndOnDrop(self, Delivery::Panicked);
        end.1 = dropped(end.0.dropped(&body));
        // A body may defer while it is dropped.
        end.0.scope.enter(|| drop(body));
    }
}

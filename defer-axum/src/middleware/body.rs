//! The response body of a request that has deferred something, or may do so while the body streams.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use defer_core::{BoxFuture, Delivery, Scope};
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use crate::{
    capture::{RequestHead, ResponseHead},
    outermost::Outermost,
    release::{Release, dropped},
};

/// Returns whether a body need not be polled in the request's scope: it is at its end, or short and of known length, as are
/// the bodies that handlers return whole. A boxed body can tell no more than that.
pub(super) fn is_complete(body: &impl HttpBody) -> bool {
    const SHORT: u64 = 16 * 1024;
    body.is_end_stream() || body.size_hint().exact().is_some_and(|length| length <= SHORT)
}

/// Returns how many bytes the response announces. A server may drop such a body without asking for its end, as hyper 1.12
/// does over HTTP/1.
pub(super) fn announced(headers: &HeaderMap, body: &impl HttpBody) -> Option<u64> {
    let length = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    body.size_hint().exact().or_else(length)
}

/// A response body that is polled in the scope of its request.
pub(super) struct DeferBody {
    body: Body,
    scope: Scope,
    /// How many bytes the response announces.
    length: Option<u64>,
    /// Kept for the first job, if there was none before this body.
    heads: Option<Box<(RequestHead, ResponseHead)>>,
    /// The jobs, unless an `Outermost` has them.
    release: Option<Release>,
    /// How the body ended. It may defer after that, while it is dropped.
    ended: Option<Delivery>,
    bytes: u64,
    status: StatusCode,
    /// A frame during which durable jobs were deferred. It waits until they are stored.
    kept: Option<Box<Kept>>,
}

struct Kept {
    frame: Option<Result<Frame<Bytes>, axum::Error>>,
    stored: BoxFuture<'static, ()>,
}

impl DeferBody {
    /// A body of a request that has deferred nothing yet.
    pub(super) fn streaming(
        body: Body,
        scope: Scope,
        length: Option<u64>,
        status: StatusCode,
        request: RequestHead,
        head: ResponseHead,
    ) -> Self {
        let heads = Some(Box::new((request, head)));
        Self { body, scope, length, heads, release: None, ended: None, bytes: 0, status, kept: None }
    }

    /// A body of a request that has deferred something, with the jobs unless an `Outermost` has them.
    pub(super) fn with_jobs(
        body: Body,
        scope: Scope,
        length: Option<u64>,
        status: StatusCode,
        release: Option<Release>,
    ) -> Self {
        Self { body, scope, length, heads: None, release, ended: None, bytes: 0, status, kept: None }
    }

    /// Boxes the body in the type that [`Body::new`] takes as it is.
    pub(super) fn boxed(self) -> Body {
        Body::new(UnsyncBoxBody::new(self))
    }

    /// Attaches the jobs of a request that had deferred nothing before this body was polled.
    fn attach_first(&mut self) {
        if self.heads.is_none() {
            return;
        }
        let Some(list) = self.scope.list() else { return };
        let Some((request, head)) = self.heads.take().map(|heads| *heads) else { return };
        if list.is_stored() {
            list.set_request(request.clone().into_info());
        }
        self.release = Outermost::attach(Release::new(list, request, Some(head))).err();
    }

    /// Returns whether nothing more can come, though the end was not polled.
    fn is_over(&self, body: &Body) -> bool {
        let no_content = match (&self.release, &self.heads) {
            (Some(release), _) => release.has_no_content(),
            (None, Some(heads)) => heads.0.is_head() || heads.1.has_no_content(),
            (None, None) => false,
        };
        no_content || body.is_end_stream() || self.length.is_some_and(|length| self.bytes >= length)
    }

    /// The body has ended. Only the first call counts. Jobs deferred after that see the same ending.
    fn end(&mut self, delivery: Delivery) {
        let delivery = *self.ended.get_or_insert(delivery);
        if let Some(release) = self.release.take() {
            release.release(delivery, self.bytes);
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
        let delivery = if self.is_over(&body) { Delivery::Finished } else { Delivery::Disconnected };
        let end = EndOnDrop(self, dropped(delivery));
        // A body may defer while it is dropped.
        end.0.scope.enter(|| drop(body));
    }
}

//! The future of a request. It polls the handler in the request's scope, and holds the response until the jobs are admitted.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use defer_core::{BoxError, BoxFuture, Delivery, Scope};
use http::StatusCode;
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;

use super::body::{DeferBody, Heads, is_complete};
use crate::{
    capture::{RequestHead, ResponseHead},
    extensions::KeptExtensions,
    length::Announced,
    outermost::Outermost,
    release::{Release, Unanswered, dropped},
};

pin_project! {
    /// The future of [`DeferService`](super::DeferService).
    pub struct ResponseFuture<F> {
        // `None` once the handler has answered.
        #[pin]
        handler: Option<F>,
        state: ResponseState,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        // Values in a cancelled handler may defer while they are dropped.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.handler.is_none() {
                return;
            }
            let (request, delivery) = match this.state {
                ResponseState::Open(request) => (request, dropped(Delivery::Cancelled)),
                ResponseState::Panicked(request) => (request, Delivery::Panicked),
                ResponseState::Held(_) | ResponseState::Over => return,
            };
            let unanswered = request.unanswered(delivery);
            unanswered.scope.enter(|| this.handler.set(None));
        }
    }
}

/// The state of a response.
enum ResponseState {
    /// The handler has not answered.
    Open(Request),
    /// The handler has panicked, and an outer layer caught the panic and kept this future.
    Panicked(Request),
    /// The response is held until its jobs are admitted.
    Held(BoxFuture<'static, Response>),
    /// The response was returned.
    Over,
}

/// A request that has not been answered.
struct Request {
    scope: Scope,
    head: RequestHead,
}

impl<F> ResponseFuture<F> {
    /// Calls the service in the request's scope: it may work and defer before it returns a future.
    #[inline]
    pub(super) fn new(mut scope: Scope, head: RequestHead, call: impl FnOnce() -> F) -> Self {
        let on_panic = Unanswered { scope: &mut scope, request: &head, delivery: Delivery::Panicked };
        let handler = on_panic.scope.enter(call);
        mem::forget(on_panic);
        Self { handler: Some(handler), state: ResponseState::Open(Request { scope, head }) }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let ResponseState::Open(_) = this.state {
            let answer = ready!(this.state.poll_handler(this.handler, cx));
            // First and in place, because most requests defer nothing.
            let is_over = |response: &http::Response<B>| {
                response.extensions().is_empty() && is_complete(response.body())
            };
            if !this.state.has_jobs() && answer.as_ref().is_ok_and(is_over) {
                return Poll::Ready(answer.map(|response| response.map(Body::new)));
            }
            if let Some(answer) = this.state.answer(answer) {
                return Poll::Ready(answer);
            }
        }
        let ResponseState::Held(held) = this.state else {
            panic!("a future is not polled after it completed")
        };
        let response = ready!(held.as_mut().poll(cx));
        *this.state = ResponseState::Over;
        Poll::Ready(Ok(response))
    }
}

impl ResponseState {
    /// Polls the handler, and drops it once it has answered: its values may defer while they are dropped.
    fn poll_handler<F: Future>(
        &mut self,
        mut handler: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        struct OnPanic<'a>(&'a mut ResponseState);
        impl Drop for OnPanic<'_> {
            fn drop(&mut self) {
                if let ResponseState::Open(mut request) = mem::replace(self.0, ResponseState::Over) {
                    drop(request.unanswered(Delivery::Panicked));
                    *self.0 = ResponseState::Panicked(request);
                }
            }
        }
        let on_panic = OnPanic(self);
        let Self::Open(request) = &mut *on_panic.0 else { return Poll::Pending };
        let polled = request.scope.enter(|| {
            let future = handler.as_mut().as_pin_mut();
            let polled = future.expect("a future is not polled after it completed").poll(cx);
            if polled.is_ready() {
                handler.set(None);
            }
            polled
        });
        mem::forget(on_panic);
        polled
    }

    /// Returns the answer, unless its response has to be held. Apart, so that a request without jobs does not pay for it.
    #[inline(never)]
    fn answer<B, E>(&mut self, answer: Result<http::Response<B>, E>) -> Option<Result<Response, E>>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Self::Open(request) = mem::replace(self, Self::Over) else { return None };
        let response = match answer {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                request.fail();
                return Some(Err(error));
            }
        };
        let Some(list) = request.scope.list().filter(|list| !list.try_admit()) else {
            return Some(Ok(request.answer(response)));
        };
        // The queue stores the route with each job.
        list.set_request(request.head.clone().into_info());
        let status = response.status();
        let held = HeldResponse(Some((request, response)));
        *self = Self::Held(Box::pin(async move {
            list.admit(Some(status)).await;
            if list.is_refused() { held.refuse() } else { held.let_go() }
        }));
        None
    }

    fn has_jobs(&self) -> bool {
        matches!(self, Self::Open(request) if request.scope.is_used())
    }
}

impl Request {
    /// Returns the response, and hands the jobs to whatever watches for its end.
    fn answer(self, response: Response) -> Response {
        let Self { scope, head: request } = self;
        let complete = is_complete(response.body());
        let (mut head, body) = response.into_parts();
        let seen = ResponseHead::new(&head, &request.config);
        let release_at = request.config.release_at();
        KeptExtensions::keep(&mut head.extensions, &scope, &request, &seen);
        let is_head = request.is_head();
        let announced = |body: &Body| Announced::by_body(is_head, head.status, &head.headers, body);
        let Some(list) = scope.list() else {
            if complete {
                return Response::from_parts(head, body);
            }
            Outermost::expect_streaming(request.exchange);
            let announced = announced(&body);
            let body = DeferBody::streaming(
                body,
                scope,
                announced,
                head.status,
                Heads { request, seen, release_at },
            );
            return Response::from_parts(head, body.boxed());
        };
        if !complete && list.is_stored() {
            // It is stored with the jobs that the body defers.
            list.set_request(request.clone().into_info());
        }
        let mut release = Release::new(list, request, Some(seen));
        release.due_at(release_at);
        let body = match Outermost::attach(release) {
            Ok(()) if complete => body,
            attached => {
                let announced = announced(&body);
                DeferBody::with_jobs(body, scope, announced, head.status, attached.err()).boxed()
            }
        };
        Response::from_parts(head, body)
    }

    /// Hands on the jobs of a failed service. An outer layer answers.
    fn fail(self) {
        let Self { scope, head } = self;
        let Some(list) = scope.list() else { return };
        let release_at = head.config.release_at();
        let mut release = Release::new(list, head, None);
        release.due_at(release_at);
        if let Err(release) = Outermost::attach(release) {
            release.release(Delivery::Cancelled, 0);
        }
    }

    fn unanswered(&mut self, delivery: Delivery) -> Unanswered<'_> {
        Unanswered { scope: &mut self.scope, request: &self.head, delivery }
    }
}

/// A held response. If it is dropped, its jobs are released.
struct HeldResponse(Option<(Request, Response)>);

impl HeldResponse {
    fn let_go(mut self) -> Response {
        let (request, response) = self.0.take().expect("a response is held until it is let go or dropped");
        request.answer(response)
    }

    /// Answers with 503 instead.
    fn refuse(mut self) -> Response {
        if let Some((request, response)) = &mut self.0 {
            let refused = mem::replace(response, StatusCode::SERVICE_UNAVAILABLE.into_response());
            // A body may defer while it is dropped.
            request.scope.enter(|| drop(refused));
        }
        self.let_go()
    }
}

impl Drop for HeldResponse {
    fn drop(&mut self) {
        let Some((mut request, response)) = self.0.take() else { return };
        let unanswered = request.unanswered(dropped(Delivery::Disconnected));
        // A body may defer while it is dropped.
        unanswered.scope.enter(|| drop(response));
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use defer_core::{BoxError, BoxFuture, Collected, Delivery, ResponseInfo, Scope};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;

use super::{
    body::{DeferBody, is_complete},
    ending::{Due, Head, Outer},
    service::Arrival,
};

pin_project! {
    /// The future of [`DeferService`](super::DeferService).
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        request: InFlight,
        held: Option<Held>,
    }
}

/// A request whose response head is not out. Dropped, it releases what was collected.
struct InFlight {
    /// Taken when the response is on its way.
    open: Option<Open>,
    responded: bool,
}

struct Open {
    scope: Scope,
    arrival: Arrival,
}

/// A response that waits until its jobs are let in.
struct Held {
    response: Response,
    admitted: BoxFuture<'static, ()>,
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, scope: Scope, arrival: Arrival) -> Self {
        let open = Some(Open { scope, arrival });
        Self { inner, request: InFlight { open, responded: false }, held: None }
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
        if this.held.is_none() {
            let response = ready!(this.request.poll_handler(this.inner, cx))?.map(Body::new);
            let Some(jobs) = this.request.not_admitted() else {
                return Poll::Ready(Ok(this.request.send(response)));
            };
            *this.held = Some(Held { response, admitted: Box::pin(async move { jobs.admit().await }) });
        }
        let Some(held) = this.held else { return Poll::Pending };
        ready!(held.admitted.as_mut().poll(cx));
        let response = std::mem::take(&mut held.response);
        Poll::Ready(Ok(this.request.send(response)))
    }
}

impl InFlight {
    fn poll_handler<F: Future>(&mut self, handler: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // A layer further out may catch a panic and drop this future later, when nothing tells of it any more.
        struct OnPanic<'a>(&'a mut InFlight);
        impl Drop for OnPanic<'_> {
            fn drop(&mut self) {
                self.0.release(Delivery::Panicked);
            }
        }
        let on_panic = OnPanic(self);
        let polled = match &mut on_panic.0.open {
            Some(Open { scope, .. }) => scope.enter(|| handler.poll(cx)),
            None => handler.poll(cx),
        };
        on_panic.0.responded = polled.is_ready();
        std::mem::forget(on_panic);
        polled
    }

    /// The jobs, if the response has to wait for them to be let in.
    fn not_admitted(&self) -> Option<Collected> {
        self.open.as_ref()?.scope.collected().filter(|jobs| !jobs.try_admit())
    }

    /// Lets the response go, and hands the jobs to whoever sees its end.
    fn send(&mut self, response: Response) -> Response {
        let Some(Open { scope, arrival }) = self.open.take() else { return response };
        let complete = is_complete(response.body());
        let Some(jobs) = scope.collected() else {
            if complete {
                return response;
            }
            Outer::expect_streaming();
            let (head, body) = response.into_parts();
            let seen = Head::new(&head, &arrival.shared);
            let body = DeferBody::streaming(body, scope, arrival, seen);
            return Response::from_parts(head, Body::new(body));
        };
        scope.set_request(arrival.request());
        let (head, body) = response.into_parts();
        let seen = Head::new(&head, &arrival.shared);
        let body = match Outer::attach(Due::new(jobs, arrival, seen)) {
            Ok(()) if complete => body,
            attached => Body::new(DeferBody::with_jobs(body, scope, attached.err())),
        };
        Response::from_parts(head, body)
    }

    fn release(&mut self, delivery: Delivery) {
        let Some(Open { scope, arrival }) = self.open.take() else { return };
        if scope.is_used() {
            scope.set_request(arrival.request());
            scope.release(Some(ResponseInfo::new(delivery).with_elapsed(arrival.at.elapsed())));
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.release(if std::thread::panicking() {
            Delivery::Panicked
        } else if self.responded {
            Delivery::Disconnected
        } else {
            Delivery::Cancelled
        });
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("responded", &self.request.responded).finish_non_exhaustive()
    }
}

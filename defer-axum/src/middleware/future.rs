use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use defer_core::{BoxError, BoxFuture, Delivery, ResponseInfo, Scope};
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
        // `None` once it has answered.
        #[pin]
        handler: Option<F>,
        stage: Stage,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        // A handler that is cancelled drops what it holds, and that may defer too.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let delivery = if std::thread::panicking() { Delivery::Panicked } else { Delivery::Cancelled };
            let release = ReleaseOnDrop { stage: this.stage, delivery };
            if let (Stage::Handling(open), true) = (&mut *release.stage, this.handler.is_some()) {
                open.scope.enter(|| this.handler.set(None));
            }
        }
    }
}

/// How far a request has come whose response head is not out.
enum Stage {
    /// The handler has not answered.
    Handling(Open),
    /// The response waits until its jobs are let in.
    Held(BoxFuture<'static, Response>),
    /// The response is out, or the handler has panicked.
    Over,
}

struct Open {
    scope: Scope,
    arrival: Arrival,
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(handler: F, scope: Scope, arrival: Arrival) -> Self {
        Self { handler: Some(handler), stage: Stage::Handling(Open { scope, arrival }) }
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
        let stage = this.stage;
        if !matches!(stage, Stage::Held(_)) {
            let response = match ready!(stage.poll_handler(this.handler, cx)) {
                Ok(response) => response,
                Err(error) => {
                    stage.release(Delivery::Disconnected);
                    return Poll::Ready(Err(error));
                }
            };
            if !stage.has_jobs() && is_complete(response.body()) {
                return Poll::Ready(Ok(response.map(Body::new)));
            }
            let response = response.map(Body::new);
            let Stage::Handling(open) = mem::replace(stage, Stage::Over) else {
                return Poll::Ready(Ok(response));
            };
            match open.scope.collected().filter(|jobs| !jobs.try_admit()) {
                None => return Poll::Ready(Ok(open.send(response))),
                Some(jobs) => {
                    let unsent = Unsent(Some(open));
                    *stage = Stage::Held(Box::pin(async move {
                        jobs.admit().await;
                        unsent.send(response)
                    }));
                }
            }
        }
        let Stage::Held(held) = stage else { return Poll::Pending };
        let response = ready!(held.as_mut().poll(cx));
        *stage = Stage::Over;
        Poll::Ready(Ok(response))
    }
}

impl Stage {
    /// Polls the handler, and drops it when it has answered: what it holds then may defer too.
    fn poll_handler<F: Future>(
        &mut self,
        mut handler: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        // A layer further out may catch a panic and drop this future later, when nothing tells of it any more.
        let on_panic = ReleaseOnDrop { stage: self, delivery: Delivery::Panicked };
        let mut poll = || {
            let future = handler.as_mut().as_pin_mut();
            let polled = future.expect("a future is not polled after it completed").poll(cx);
            if polled.is_ready() {
                handler.set(None);
            }
            polled
        };
        let polled = match &mut *on_panic.stage {
            Self::Handling(open) => open.scope.enter(poll),
            _ => poll(),
        };
        mem::forget(on_panic);
        polled
    }

    fn has_jobs(&self) -> bool {
        matches!(self, Self::Handling(open) if open.scope.is_used())
    }

    fn release(&mut self, delivery: Delivery) {
        // Asked first, so that what a request without jobs holds is not moved for nothing.
        if self.has_jobs() {
            if let Self::Handling(open) = mem::replace(self, Self::Over) {
                open.release(delivery);
            }
        }
    }
}

struct ReleaseOnDrop<'a> {
    stage: &'a mut Stage,
    delivery: Delivery,
}

impl Drop for ReleaseOnDrop<'_> {
    fn drop(&mut self) {
        self.stage.release(self.delivery);
    }
}

impl Open {
    /// Lets the response go, and hands the jobs to whoever sees its end.
    fn send(self, response: Response) -> Response {
        let Self { scope, arrival } = self;
        let complete = is_complete(response.body());
        let (head, body) = response.into_parts();
        let seen = Head::new(&head, &arrival.shared);
        let Some(jobs) = scope.collected() else {
            Outer::expect_streaming();
            let body = DeferBody::streaming(body, scope, arrival, seen);
            return Response::from_parts(head, body.boxed());
        };
        let body = match Outer::attach(Due::new(jobs, arrival, seen)) {
            Ok(()) if complete => body,
            attached => DeferBody::with_jobs(body, scope, attached.err()).boxed(),
        };
        Response::from_parts(head, body)
    }

    fn release(self, delivery: Delivery) {
        if let Some(jobs) = self.scope.collected() {
            let response = ResponseInfo::new(delivery).with_elapsed(self.arrival.at.elapsed());
            jobs.set_request(self.arrival.into_request());
            jobs.release(Some(response));
        }
    }
}

/// What was collected for a response that is not out. Dropped, nobody waits for that any more.
struct Unsent(Option<Open>);

impl Unsent {
    fn send(mut self, response: Response) -> Response {
        match self.0.take() {
            Some(open) => open.send(response),
            None => response,
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        if let Some(open) = self.0.take() {
            open.release(if panicking { Delivery::Panicked } else { Delivery::Disconnected });
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

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
    body::{DeferBody, announced, is_complete},
    ending::{Due, Head, Outer},
    service::Arrival,
};

pin_project! {
    /// The future of [`DeferService`](super::DeferService).
    pub struct ResponseFuture<F> {
        // `None` when it has answered.
        #[pin]
        handler: Option<F>,
        stage: Stage,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        // What a handler holds that is cancelled may defer while it is dropped.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.handler.is_none() {
                return;
            }
            let delivery = match this.stage {
                Stage::Open(_) if !std::thread::panicking() => Delivery::Cancelled,
                _ => Delivery::Panicked,
            };
            if let Stage::Open(open) | Stage::Panicked(open) = this.stage {
                let release = open.release_on_drop(delivery);
                release.scope.enter(|| this.handler.set(None));
            }
        }
    }
}

/// How far a request has come.
enum Stage {
    /// There is no response, or none that needs more of this.
    Open(Open),
    /// The handler has panicked, and somebody further out has caught that and kept this future.
    Panicked(Open),
    /// The response waits until its jobs are let in.
    Held(BoxFuture<'static, Response>),
    /// The response is out, and has what there was.
    Over,
}

/// What is kept for a request's jobs until there is a response.
struct Open {
    scope: Scope,
    arrival: Arrival,
}

impl<F> ResponseFuture<F> {
    /// Calls the service in the scope of the request: it may do its work, and defer, before it returns a future.
    #[inline]
    pub(super) fn new(mut scope: Scope, arrival: Arrival, call: impl FnOnce() -> F) -> Self {
        let on_panic = ReleaseOnDrop { scope: &mut scope, arrival: &arrival, delivery: Delivery::Panicked };
        let handler = on_panic.scope.enter(call);
        mem::forget(on_panic);
        Self { handler: Some(handler), stage: Stage::Open(Open { scope, arrival }) }
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
        if let Stage::Open(_) = this.stage {
            let answer = ready!(this.stage.poll_handler(this.handler, cx));
            // First of all, and in place: this is the way of a request that defers nothing.
            let is_over = |response: &http::Response<B>| is_complete(response.body());
            if !this.stage.has_jobs() && answer.as_ref().is_ok_and(is_over) {
                return Poll::Ready(answer.map(|response| response.map(Body::new)));
            }
            let Stage::Open(open) = mem::replace(this.stage, Stage::Over) else { return Poll::Pending };
            let response = match answer {
                Ok(response) => response.map(Body::new),
                Err(error) => {
                    open.fail();
                    return Poll::Ready(Err(error));
                }
            };
            let Some(jobs) = open.scope.list().filter(|jobs| !jobs.try_admit()) else {
                return Poll::Ready(Ok(open.send(response)));
            };
            let unsent = Unsent(Some((open, response)));
            *this.stage = Stage::Held(Box::pin(async move {
                jobs.admit().await;
                unsent.send()
            }));
        }
        let Stage::Held(held) = this.stage else { panic!("a future is not polled after it completed") };
        let response = ready!(held.as_mut().poll(cx));
        *this.stage = Stage::Over;
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
        struct OnPanic<'a>(&'a mut Stage);
        impl Drop for OnPanic<'_> {
            fn drop(&mut self) {
                if let Stage::Open(mut open) = mem::replace(self.0, Stage::Over) {
                    drop(open.release_on_drop(Delivery::Panicked));
                    *self.0 = Stage::Panicked(open);
                }
            }
        }
        let on_panic = OnPanic(self);
        let Self::Open(open) = &mut *on_panic.0 else { return Poll::Pending };
        let polled = open.scope.enter(|| {
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

    fn has_jobs(&self) -> bool {
        matches!(self, Self::Open(open) if open.scope.is_used())
    }
}

impl Open {
    /// Lets the response go, and hands the jobs to whoever sees its end.
    fn send(self, response: Response) -> Response {
        let Self { scope, arrival } = self;
        let complete = is_complete(response.body());
        let (head, body) = response.into_parts();
        let seen = Head::new(&head, &arrival.shared);
        let length = |body: &Body| announced(&head.headers, body);
        let Some(jobs) = scope.list() else {
            Outer::expect_streaming(arrival.outer);
            let length = length(&body);
            let body = DeferBody::streaming(body, scope, length, arrival, seen);
            return Response::from_parts(head, body.boxed());
        };
        let body = match Outer::attach(Due::new(jobs, arrival, Some(seen))) {
            Ok(()) if complete => body,
            attached => {
                let length = length(&body);
                DeferBody::with_jobs(body, scope, length, attached.err()).boxed()
            }
        };
        Response::from_parts(head, body)
    }

    /// The service has failed, and whoever is further out answers.
    fn fail(self) {
        let Self { scope, arrival } = self;
        let Some(jobs) = scope.list() else { return };
        if let Err(due) = Outer::attach(Due::new(jobs, arrival, None)) {
            due.release(Delivery::Cancelled, 0);
        }
    }

    /// For a request without a response that could end.
    fn release_on_drop(&mut self, delivery: Delivery) -> ReleaseOnDrop<'_> {
        ReleaseOnDrop { scope: &mut self.scope, arrival: &self.arrival, delivery }
    }
}

/// Releases what was collected, also if user code panics meanwhile.
struct ReleaseOnDrop<'a> {
    scope: &'a mut Scope,
    arrival: &'a Arrival,
    delivery: Delivery,
}

impl Drop for ReleaseOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(jobs) = self.scope.list() {
            let response = ResponseInfo::new(self.delivery).with_elapsed(self.arrival.at.elapsed());
            jobs.set_request(self.arrival.clone().into_request());
            jobs.release(Some(response));
        }
    }
}

/// A response that is not out. Dropped, nobody waits for it any more.
struct Unsent(Option<(Open, Response)>);

impl Unsent {
    fn send(mut self) -> Response {
        let (open, response) = self.0.take().expect("a response is there until it is sent or dropped");
        open.send(response)
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let Some((mut open, response)) = self.0.take() else { return };
        let panicking = std::thread::panicking();
        let delivery = if panicking { Delivery::Panicked } else { Delivery::Disconnected };
        let release = open.release_on_drop(delivery);
        // A body may defer while it is dropped.
        release.scope.enter(|| drop(response));
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

//! The outermost service: collects the jobs of the layers, and watches for the end of the response.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
    serve::{IncomingStream, Listener},
};
use bytes::Bytes;
use defer_core::{BoxError, Delivery};
use http::{Extensions, Method, Version};
use http_body::Body as HttpBody;
use http_body_util::combinators::UnsyncBoxBody;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{body::ServedBody, connection::Connection, listener::ServedListener};
use crate::{extensions::KeptExtensions, length::Announced, outermost::Outermost, release::dropped};

/// Makes a [`Served`] for each connection.
pub(super) struct MakeServed<M> {
    make: M,
}

impl<M> MakeServed<M> {
    pub(super) fn new(make: M) -> Self {
        Self { make }
    }
}

impl<'a, L, M> Service<IncomingStream<'a, ServedListener<L>>> for MakeServed<M>
where
    L: Listener<Addr: Clone + Sync + 'static>,
    M: Service<IncomingStream<'a, ServedListener<L>>, Error = Infallible>,
{
    type Response = Served<M::Response, ConnectInfo<L::Addr>>;
    type Error = Infallible;
    type Future = MakeFuture<M::Future, ConnectInfo<L::Addr>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.make.poll_ready(cx)
    }

    fn call(&mut self, stream: IncomingStream<'a, ServedListener<L>>) -> Self::Future {
        let connection = stream.io().connection().clone();
        let origin = Origin::new(ConnectInfo(stream.remote_addr().clone()));
        MakeFuture { inner: self.make.call(stream), given: Some((connection, origin)) }
    }
}

pin_project! {
    pub(super) struct MakeFuture<F, T> {
        #[pin]
        inner: F,
        given: Option<(Arc<Connection>, Arc<Origin<T>>)>,
    }
}

impl<F, S, T> Future for MakeFuture<F, T>
where
    F: Future<Output = Result<S, Infallible>>,
{
    type Output = Result<Served<S, T>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let app = ready!(this.inner.poll(cx))?;
        let (connection, origin) = this.given.take().expect("a future is not polled after it completed");
        let server = connection.server().map_or(0, |server| server.drained.server());
        Poll::Ready(Ok(Served { app, connection, server, origin }))
    }
}

/// The app on one connection. `T` marks the requests that came over the connection.
pub(super) struct Served<S, T> {
    app: S,
    connection: Arc<Connection>,
    /// The number of the server, or 0 if it is not `serve`.
    server: usize,
    // Shared with clones, because hyper-util clones the service for each request.
    origin: Arc<Origin<T>>,
}

impl<S, T: Clone + Send + Sync + 'static> Served<S, T> {
    pub(super) fn new(app: S, connection: Arc<Connection>, mark: T) -> Self {
        Self { app, connection, server: 0, origin: Origin::new(mark) }
    }
}

/// Marks the requests of a connection. A request made within this process lacks the mark.
struct Origin<T> {
    mark: T,
    /// The mark, and room for what a router adds. Copies have that room too, whereas an insertion would grow the map later.
    extensions: Extensions,
}

impl<T: Clone + Send + Sync + 'static> Origin<T> {
    fn new(mark: T) -> Arc<Self> {
        #[derive(Clone)]
        struct Room<const N: usize>;
        let mut extensions = Extensions::new();
        extensions.insert(mark.clone());
        // A map for three entries grows to one for seven.
        extensions.insert(Room::<0>);
        extensions.insert(Room::<1>);
        extensions.insert(Room::<2>);
        extensions.remove::<Room<0>>();
        extensions.remove::<Room<1>>();
        extensions.remove::<Room<2>>();
        Arc::new(Self { mark, extensions })
    }

    fn mark(&self, extensions: &mut Extensions) {
        if extensions.is_empty() {
            *extensions = self.extensions.clone();
        } else {
            extensions.insert(self.mark.clone());
        }
    }
}

impl<S: Clone, T> Clone for Served<S, T> {
    fn clone(&self) -> Self {
        Self {
            app: self.app.clone(),
            connection: self.connection.clone(),
            server: self.server,
            origin: self.origin.clone(),
        }
    }
}

impl<S, T, Q, R> Service<Request<Q>> for Served<S, T>
where
    S: Service<Request<Q>, Response = Response<R>>,
    T: Clone + Send + Sync + 'static,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = WatchedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let is_http2 = request.version() == Version::HTTP_2;
        let is_connect = is_http2 && request.method() == Method::CONNECT;
        let is_head = request.method() == Method::HEAD;
        if !is_http2 {
            self.connection.called();
        }
        self.origin.mark(request.extensions_mut());
        let mut outermost = Outermost::new(|extensions| extensions.get::<T>().is_some(), self.server);
        let inner = outermost.enter(|| self.app.call(request));
        let connection = self.connection.clone();
        WatchedFuture {
            inner,
            exchange: Exchange { outermost, connection, is_http2, is_connect, is_head, response: None },
        }
    }
}

pin_project! {
    /// The future of a response.
    pub struct WatchedFuture<F> {
        #[pin]
        inner: F,
        exchange: Exchange,
    }
}

/// A received request, until its response is returned.
struct Exchange {
    outermost: Outermost,
    connection: Arc<Connection>,
    is_http2: bool,
    is_connect: bool,
    is_head: bool,
    /// The response, while it is waiting until everything before it is flushed.
    response: Option<Box<Response>>,
}

impl<F, R, E> Future for WatchedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.exchange.response.take() {
            Some(response) => *response,
            // An axum body is not boxed again.
            None => ready!(this.exchange.outermost.enter(|| this.inner.poll(cx)))?.map(Body::new),
        };
        if this.exchange.outermost.is_unused() {
            return Poll::Ready(Ok(response));
        }
        if !this.exchange.is_http2 && this.exchange.connection.poll_begin(cx).is_pending() {
            this.exchange.response = Some(Box::new(response));
            return Poll::Pending;
        }
        Poll::Ready(Ok(this.exchange.watch(response)))
    }
}

impl Exchange {
    fn watch(&mut self, mut response: Response) -> Response {
        self.outermost.enter(|| KeptExtensions::drop(response.extensions_mut()));
        let mut outermost = std::mem::take(&mut self.outermost);
        let (head, body) = response.into_parts();
        outermost.saw_head(&head);
        let connection = self.connection.clone();
        let announced = Announced::by_head(self.is_head, head.status, &head.headers, &body);
        let body = if !self.is_http2 {
            ServedBody::http1(body, announced, outermost, connection)
        } else if self.is_connect && head.status.is_success() {
            ServedBody::upgrade(body, outermost, connection)
        } else {
            ServedBody::http2(body, announced, outermost, connection)
        };
        // Boxed in the type that `Body::new` takes without boxing it again.
        Response::from_parts(head, Body::new(UnsyncBoxBody::new(body)))
    }
}

impl Exchange {
    #[cold]
    fn break_off(&mut self) {
        if let Some(mut response) = self.response.take() {
            // It may defer while it is dropped.
            self.outermost.enter(|| {
                KeptExtensions::drop(response.extensions_mut());
                drop(response);
            });
        }
        self.outermost.take_guard(0).end(dropped(Delivery::Disconnected), 0);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.response.is_some() || self.outermost.has_jobs() {
            self.break_off();
        }
    }
}

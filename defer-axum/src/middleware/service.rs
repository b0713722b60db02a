use std::{
    fmt,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::extract::MatchedPath;
use bytes::Bytes;
use defer_core::{BoxError, RequestInfo, Runner, Scope};
use http::{HeaderMap, HeaderName, Method, Request, Response, Uri, Version};
use http_body::Body as HttpBody;
use tower_service::Service;

use super::{ending::OuterId, future::ResponseFuture};

/// The service that [`DeferLayer`](super::DeferLayer) makes.
#[derive(Clone)]
pub struct DeferService<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Which headers jobs may see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    pub(crate) request: Box<[HeaderName]>,
    pub(crate) response: Box<[HeaderName]>,
}

/// What the service has in common with its clones: axum clones a service for each request.
pub(crate) struct Shared {
    runner: Runner,
    captured: Captured,
    /// The route's pattern. A router layers each of its routes apart, so that for a service it is nearly always the
    /// same, and jobs can share one copy.
    route: OnceLock<Arc<str>>,
}

impl<S> DeferService<S> {
    pub(super) fn new(inner: S, runner: Runner, captured: Captured) -> Self {
        Self { inner, shared: Arc::new(Shared { runner, captured, route: OnceLock::new() }) }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for DeferService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = axum::response::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let arrival = Arrival::new(&request, self.shared.clone());
        let scope = Scope::new(self.shared.runner.clone());
        let inner = &mut self.inner;
        ResponseFuture::new(scope, arrival, || inner.call(request))
    }
}

impl<S: fmt::Debug> fmt::Debug for DeferService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferService")
            .field("inner", &self.inner)
            .field("runner", &self.shared.runner)
            .field("captured", &self.shared.captured)
            .finish()
    }
}

/// What is kept of a request until it is known whether it defers anything. Nothing of it is allocated.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) at: std::time::Instant,
    pub(crate) shared: Arc<Shared>,
    pub(super) outer: Option<OuterId>,
    method: Method,
    uri: Uri,
    version: Version,
    headers: Option<Box<HeaderMap>>,
    route: Option<MatchedPath>,
}

impl Arrival {
    fn new<B>(request: &Request<B>, shared: Arc<Shared>) -> Self {
        Self {
            at: std::time::Instant::now(),
            outer: OuterId::of(request.extensions()),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: captured(&shared.captured.request, request.headers()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            shared,
        }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// What jobs are told of the request.
    pub(crate) fn into_request(self) -> RequestInfo {
        let route = self.route.map(|route| self.shared.route(route.as_str()));
        RequestInfo::new(self.method, self.uri, self.version)
            .with_matched_path(route)
            .with_headers(self.headers)
    }
}

impl Shared {
    fn route(&self, pattern: &str) -> Arc<str> {
        let known = self.route.get_or_init(|| pattern.into());
        if **known == *pattern { known.clone() } else { pattern.into() }
    }

    pub(crate) fn response_headers(&self, headers: &HeaderMap) -> Option<Box<HeaderMap>> {
        captured(&self.captured.response, headers)
    }
}

#[inline]
fn captured(names: &[HeaderName], headers: &HeaderMap) -> Option<Box<HeaderMap>> {
    if names.is_empty() { None } else { copied(names, headers) }
}

fn copied(names: &[HeaderName], headers: &HeaderMap) -> Option<Box<HeaderMap>> {
    let mut kept: Option<Box<HeaderMap>> = None;
    for name in names {
        for value in headers.get_all(name) {
            kept.get_or_insert_default().append(name.clone(), value.clone());
        }
    }
    kept
}

//! The service, which opens a scope for each request.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use defer_core::{BoxError, Scope};
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower_service::Service;

use super::future::ResponseFuture;
use crate::{
    capture::{LayerConfig, RequestHead},
    outermost::Outermost,
};

/// The service that [`DeferLayer`](super::DeferLayer) creates.
#[derive(Clone)]
pub struct DeferService<S> {
    inner: S,
    config: Arc<LayerConfig>,
}

impl<S> DeferService<S> {
    pub(super) fn new(inner: S, config: LayerConfig) -> Self {
        Self { inner, config: Arc::new(config) }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
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
        let LayerConfig { known_by, runner, .. } = &*self.config;
        let exchange = Outermost::exchange(request.extensions(), known_by, runner);
        let head = RequestHead::new(&request, self.config.clone(), exchange);
        let scope = Scope::new(self.config.runner.clone());
        let inner = &mut self.inner;
        ResponseFuture::new(scope, head, || inner.call(request))
    }
}

impl<S: fmt::Debug> fmt::Debug for DeferService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferService").field("inner", &self.inner).field("config", &self.config).finish()
    }
}

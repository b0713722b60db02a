//! The `Defer` extractor.

use std::{convert::Infallible, ops::Deref};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

/// The list of the current request's jobs, as an extractor.
///
/// Handlers that defer with [`defer`](crate::defer) or `MyJob::defer` do not need it. Use it to defer outside the request's
/// scope, such as in a task that you spawn, and to look at the list:
///
/// ```
/// use axum::{Router, routing::get};
/// use defer_axum::{Defer, DeferLayer};
///
/// async fn handler(defer: Defer) -> &'static str {
///     defer.push_fn(|_cx| async { println!("after the response") });
///     tokio::spawn(defer.scope(async {
///         // What is deferred in here belongs to the request too.
///     }));
///     "before it"
/// }
///
/// let app: Router = Router::new().route("/", get(handler)).layer(DeferLayer::default());
/// ```
///
/// On a route without the layer, `Option<Defer>` is `None`, and `Defer` rejects the request with [`MissingDeferLayer`].
#[derive(Clone, Debug)]
pub struct Defer(defer_core::Defer);

impl Defer {
    /// Returns the list of the request whose handler, middleware or body calls this. `None` outside any request.
    pub fn current() -> Option<Self> {
        defer_core::Defer::current().map(Self)
    }
}

impl Deref for Defer {
    type Target = defer_core::Defer;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Defer {
    type Rejection = MissingDeferLayer;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, MissingDeferLayer> {
        Self::current().ok_or(MissingDeferLayer)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Defer {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::current())
    }
}

/// The rejection of the [`Defer`] extractor on a route without [`DeferLayer`](crate::DeferLayer). Converts into a response with
/// status 500.
#[derive(Clone, Copy, Debug)]
pub struct MissingDeferLayer;

impl std::fmt::Display for MissingDeferLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the `Defer` extractor found no scope: did you forget `.layer(DeferLayer::new(runner))`, or add this \
             route to the router after it?",
        )
    }
}

impl std::error::Error for MissingDeferLayer {}

impl IntoResponse for MissingDeferLayer {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

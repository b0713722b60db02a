//! The request that deferred a job.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, Method, Uri, Version};

use super::extensions::Extensions;

/// The request that deferred a job.
///
/// ```
/// use defer_core::RequestInfo;
/// use http::{Method, Version};
///
/// let request = RequestInfo::new(Method::GET, "/users/7?tab=mail".parse()?, Version::HTTP_11)
///     .with_matched_path(Some("/users/{id}".into()));
/// assert_eq!(request.uri().query(), Some("tab=mail"));
/// assert_eq!(request.matched_path(), Some("/users/{id}"));
/// assert!(request.headers().is_empty()); // only what the layer was told to capture
/// # Ok::<_, http::uri::InvalidUri>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequestInfo {
    method: Method,
    uri: Uri,
    version: Version,
    matched_path: Option<Arc<str>>,
    captured: Option<Box<Captured>>,
}

/// The parts of a request that the layer was told to keep.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Captured {
    pub headers: HeaderMap,
    pub extensions: Extensions,
}

impl RequestInfo {
    /// Creates a request without a matched path and without headers.
    #[inline]
    pub fn new(method: Method, uri: Uri, version: Version) -> Self {
        Self { method, uri, version, matched_path: None, captured: None }
    }

    /// Returns what is known of the request of a stored job: the method and the route's pattern, which stands for the path.
    pub(crate) fn of_route(route: &str) -> Option<Self> {
        let (method, path) =
            route.split_once(' ').map_or((route, None), |(method, path)| (method, Some(path)));
        let uri = path.and_then(|path| path.parse().ok()).unwrap_or_else(|| Uri::from_static("/"));
        let request = Self::new(method.parse().ok()?, uri, Version::default());
        Some(request.with_matched_path(path.map(Arc::from)))
    }

    /// Sets the route that the request matched, such as `/users/{id}`.
    #[inline]
    #[must_use]
    pub fn with_matched_path(mut self, path: Option<Arc<str>>) -> Self {
        self.matched_path = path;
        self
    }

    /// Sets the headers that jobs may see.
    #[inline]
    #[must_use]
    pub fn with_headers(mut self, headers: Option<Box<HeaderMap>>) -> Self {
        match headers {
            Some(headers) => self.captured.get_or_insert_default().headers = *headers,
            None => self.captured.iter_mut().for_each(|captured| captured.headers.clear()),
        }
        self
    }

    /// Sets everything that was captured.
    #[doc(hidden)]
    #[inline]
    #[must_use]
    pub fn with_captured(mut self, captured: Option<Box<Captured>>) -> Self {
        self.captured = captured;
        self
    }

    pub(crate) fn extensions(&self) -> Option<&Extensions> {
        Some(&self.captured.as_ref()?.extensions)
    }

    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the URI as the layer saw it: the path and query; over HTTP/2 the scheme and authority too.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the route that matched, such as `/users/{id}`. `None` if the layer is outside the router, or if no route
    /// matched.
    pub fn matched_path(&self) -> Option<&str> {
        self.matched_path.as_deref()
    }

    /// Returns the matched route as a shared string.
    pub(crate) fn shared_path(&self) -> Option<Arc<str>> {
        self.matched_path.clone()
    }

    /// Returns the headers that the layer was told to capture.
    pub fn headers(&self) -> &HeaderMap {
        headers_or_none(self.captured.as_ref().map(|captured| &captured.headers))
    }

    /// Records the fields `request` and `request_id` of a job's span.
    pub(crate) fn record(&self, span: &tracing::Span) {
        span.record("request", self.route().as_str());
        if let Some(id) = self.request_id() {
            span.record("request_id", id);
        }
    }

    /// Returns the method and the route's pattern. Without a matched path it is the method alone: a raw path may contain a
    /// token.
    pub(crate) fn route(&self) -> String {
        match self.matched_path() {
            Some(path) => format!("{} {path}", self.method),
            None => self.method.to_string(),
        }
    }

    /// Returns the request's id, if that header was captured.
    pub(crate) fn request_id(&self) -> Option<&str> {
        // Read directly instead of from the shared empty map, because every event looks here.
        self.captured.as_ref()?.headers.get("x-request-id")?.to_str().ok()
    }
}

/// Returns the captured headers, or an empty map.
pub(crate) fn headers_or_none(headers: Option<&HeaderMap>) -> &HeaderMap {
    static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
    headers.unwrap_or(&NONE)
}

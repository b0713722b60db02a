//! What a job can know of the request that deferred it and of how the response to it ended.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode, Uri, Version};

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
/// assert!(request.headers().is_empty()); // none but those that the layer was told to capture
/// # Ok::<_, http::uri::InvalidUri>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequestInfo {
    method: Method,
    uri: Uri,
    version: Version,
    matched_path: Option<Arc<str>>,
    headers: Option<Box<HeaderMap>>,
}

impl RequestInfo {
    /// A request without a matched path and without headers.
    pub fn new(method: Method, uri: Uri, version: Version) -> Self {
        Self { method, uri, version, matched_path: None, headers: None }
    }

    /// Adds the route that the request matched, such as `/users/{id}`.
    #[must_use]
    pub fn with_matched_path(mut self, path: Option<Arc<str>>) -> Self {
        self.matched_path = path;
        self
    }

    /// Adds headers that jobs may see.
    #[must_use]
    pub fn with_headers(mut self, headers: Option<Box<HeaderMap>>) -> Self {
        self.headers = headers;
        self
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The URI as the layer saw it: the path and query; over HTTP/2 the scheme and authority too.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The route that matched, such as `/users/{id}`. `None` where the layer stands outside of the router, or
    /// nothing matched.
    pub fn matched_path(&self) -> Option<&str> {
        self.matched_path.as_deref()
    }

    /// The captured headers: only those that the layer was told to capture.
    pub fn headers(&self) -> &HeaderMap {
        headers_or_none(&self.headers)
    }

    /// Fills in the fields `request` and `request_id` of a job's span. Without a matched path the request goes by its
    /// method: a path may hold a token.
    pub(crate) fn record(&self, span: &tracing::Span) {
        match self.matched_path() {
            Some(path) => span.record("request", format!("{} {path}", self.method).as_str()),
            None => span.record("request", self.method.as_str()),
        };
        if let Some(id) = self.headers().get("x-request-id").and_then(|id| id.to_str().ok()) {
            span.record("request_id", id);
        }
    }
}

/// How the response to a request ended.
///
/// ```
/// use defer_core::{Delivery, ResponseInfo};
/// use http::StatusCode;
///
/// let gone = ResponseInfo::new(Delivery::Disconnected).with_status(Some(StatusCode::OK)).with_bytes_sent(512);
/// assert!(gone.is_success()); // what it answered was a success, though the client did not wait for it
///
/// let cancelled = ResponseInfo::new(Delivery::Cancelled);
/// assert!(!cancelled.is_success());
/// assert_eq!(cancelled.delivery().as_str(), "cancelled");
/// ```
#[derive(Clone, Debug)]
pub struct ResponseInfo {
    status: Option<StatusCode>,
    delivery: Delivery,
    bytes_sent: u64,
    elapsed: Duration,
    headers: Option<Box<HeaderMap>>,
}

impl ResponseInfo {
    /// A response without a status, of which nothing was sent.
    pub fn new(delivery: Delivery) -> Self {
        Self { status: None, delivery, bytes_sent: 0, elapsed: Duration::ZERO, headers: None }
    }

    /// Sets the status.
    #[must_use]
    pub fn with_status(mut self, status: Option<StatusCode>) -> Self {
        self.status = status;
        self
    }

    /// Sets how many body bytes were sent.
    #[must_use]
    pub fn with_bytes_sent(mut self, bytes: u64) -> Self {
        self.bytes_sent = bytes;
        self
    }

    /// Sets the time from the request to the release of its jobs.
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed = elapsed;
        self
    }

    /// Adds headers that jobs may see.
    #[must_use]
    pub fn with_headers(mut self, headers: Option<Box<HeaderMap>>) -> Self {
        self.headers = headers;
        self
    }

    /// The status of the response that went out; `None` if the handler was cancelled or panicked before there was
    /// one.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// How the response ended.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Body bytes of this response that the operating system has taken, without any transfer coding.
    ///
    /// Under `defer_axum::serve` they are exact where the delivery is [`Sent`](Delivery::Sent), and over HTTP/1
    /// always. Otherwise, over HTTP/2, they are never more than were taken: none as of now, because nothing tells how far
    /// a stream came that was broken off. Under another server they are the bytes that were handed over to it.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// From the request's arrival at the layer to the release of its jobs.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The captured headers: only those that the layer was told to capture.
    pub fn headers(&self) -> &HeaderMap {
        headers_or_none(&self.headers)
    }

    /// Whether the status is below 400 and the handler neither panicked nor was cancelled.
    ///
    /// A client that left before it had everything does not make it a failure; ask [`delivery`](Self::delivery)
    /// for that.
    pub fn is_success(&self) -> bool {
        !matches!(self.delivery, Delivery::Cancelled | Delivery::Panicked)
            && self.status.is_some_and(|status| status.as_u16() < 400)
    }
}

/// How far a response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// The operating system accepted the last byte.
    Sent,
    /// The body ended: it was polled to its end, or dropped when as many bytes as it announced were yielded. How much
    /// of it has left is not known: the server is not `defer_axum::serve`, or the request was made in this process.
    /// Also an upgrade over HTTP/2, once the server has taken the head.
    Finished,
    /// The client was gone before the response was complete.
    Disconnected,
    /// The body yielded an error.
    Failed,
    /// The handler was dropped before it had a response: the client left, or a time limit struck. Also where the
    /// handler's service failed with an error, and nobody is known who answers for it.
    Cancelled,
    /// The handler, or the body, panicked.
    Panicked,
}

impl Delivery {
    /// The name in lower case, such as `sent`, for logs and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Finished => "finished",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
        }
    }
}

impl std::fmt::Display for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

fn headers_or_none(headers: &Option<Box<HeaderMap>>) -> &HeaderMap {
    static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
    match headers {
        Some(headers) => headers,
        None => &NONE,
    }
}

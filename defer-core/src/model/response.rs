//! How the response ended, as a job sees it.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::request::headers_or_none;
use crate::primitives::timestamp::nanos;

/// How the response to a request ended.
///
/// ```
/// use defer_core::{Delivery, ResponseInfo};
/// use http::StatusCode;
///
/// let gone = ResponseInfo::new(Delivery::Disconnected).with_status(Some(StatusCode::OK)).with_bytes_sent(512);
/// assert!(gone.is_success()); // the handler succeeded, though the client did not wait for all of it
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
    /// In nanoseconds, to be small: every request with a waiting job has one.
    elapsed: u64,
    headers: Option<Box<HeaderMap>>,
}

impl ResponseInfo {
    /// Creates a response without a status and with nothing sent.
    #[inline]
    pub fn new(delivery: Delivery) -> Self {
        Self { status: None, delivery, bytes_sent: 0, elapsed: 0, headers: None }
    }

    /// Sets the status.
    #[inline]
    #[must_use]
    pub fn with_status(mut self, status: Option<StatusCode>) -> Self {
        self.status = status;
        self
    }

    /// Sets how many body bytes were sent.
    #[inline]
    #[must_use]
    pub fn with_bytes_sent(mut self, bytes: u64) -> Self {
        self.bytes_sent = bytes;
        self
    }

    /// Sets the time from the request to the release of its jobs.
    #[inline]
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed = nanos(elapsed);
        self
    }

    /// Sets the headers that jobs may see.
    #[inline]
    #[must_use]
    pub fn with_headers(mut self, headers: Option<Box<HeaderMap>>) -> Self {
        self.headers = headers;
        self
    }

    /// Returns the status of the outgoing response. `None` if the handler was cancelled or panicked before it answered.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns how the response ended.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Returns how many bytes of the response body the operating system has accepted. The number excludes any transfer coding,
    /// and never exceeds the announced length.
    ///
    /// Under `defer_axum::serve` the number is exact over HTTP/1, and over HTTP/2 when the delivery is
    /// [`Sent`](Delivery::Sent). For an HTTP/2 stream that was broken off, it is a lower bound, currently always 0, because h2
    /// does not report how far the stream got. Under another server, it counts the bytes that the server took.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Returns the time from the request's arrival at the layer to the release of its jobs.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed)
    }

    /// Returns the headers that the layer was told to capture.
    pub fn headers(&self) -> &HeaderMap {
        headers_or_none(self.headers.as_deref())
    }

    /// Returns whether the status is below 400 and the handler neither panicked nor was cancelled.
    ///
    /// A client that leaves early does not make the response a failure: see [`delivery`](Self::delivery).
    pub fn is_success(&self) -> bool {
        !matches!(self.delivery, Delivery::Cancelled | Delivery::Panicked)
            && self.status.is_some_and(is_success)
    }
}

pub(crate) fn is_success(status: StatusCode) -> bool {
    status.as_u16() < 400
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// The operating system accepted its last byte. If the response announced a length, this is the last announced byte.
    Sent,
    /// The body ended: it was polled to its end, or dropped after it yielded as many bytes as it announced. How much of it has
    /// been sent is unknown, because the server is not `defer_axum::serve`, or because the request was made inside this
    /// process. Also used for an upgrade over HTTP/2 once the server has taken its head.
    Finished,
    /// The client left before the response was complete.
    Disconnected,
    /// The body yielded an error, or ended short of the length that it announced.
    Failed,
    /// The handler was dropped before it answered, because the client left or a timeout fired. Also used if the service
    /// returned an error and no outer layer is known to answer for it.
    Cancelled,
    /// The handler, or the body, panicked.
    Panicked,
    /// The response was not over in time, as set with `DeferLayer::release_after`. It may go on.
    Unfinished,
    /// The process that answered died before the response was over. Only a durable job that another process runs sees this.
    Unknown,
}

impl Delivery {
    /// Returns the name in lower case, such as `sent`, for logs and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Finished => "finished",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::Unfinished => "unfinished",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the delivery with this [name](Self::as_str), for a queue that has stored it. [`Unknown`](Self::Unknown) for any other
    /// name: a later version may have stored it.
    pub fn from_name(name: &str) -> Self {
        let named = [
            Self::Sent,
            Self::Finished,
            Self::Disconnected,
            Self::Failed,
            Self::Cancelled,
            Self::Panicked,
            Self::Unfinished,
        ];
        named.into_iter().find(|delivery| delivery.as_str() == name).unwrap_or(Self::Unknown)
    }
}

impl std::fmt::Display for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

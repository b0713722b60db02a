//! The announced length of a response.

use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;

/// The content length that a response announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// No length: only the body's end tells.
    Nothing,
    /// No content, whatever the head and the body say (RFC 9110, section 6.4.1). Servers drop such a body without polling it.
    NoContent,
    Bytes(u64),
}

impl Announced {
    /// Determines the length from the outgoing head, as a client does.
    #[inline]
    pub(crate) fn by_head(is_head: bool, status: StatusCode, headers: &HeaderMap, body: &impl Body) -> Self {
        let length = || content_length(headers).or_else(|| body.size_hint().exact());
        Self::new(is_head, status, length)
    }

    /// Determines the length from the body if it knows it, otherwise from the head. For layers, which do not have the outgoing
    /// head. Reading the head takes longer.
    #[inline]
    pub(crate) fn by_body(is_head: bool, status: StatusCode, headers: &HeaderMap, body: &impl Body) -> Self {
        let length = || match body.size_hint().exact() {
            Some(length) if length > 0 => Some(length),
            length => content_length(headers).or(length),
        };
        Self::new(is_head, status, length)
    }

    #[inline]
    fn new(is_head: bool, status: StatusCode, length: impl FnOnce() -> Option<u64>) -> Self {
        if is_head || matches!(status.as_u16(), 100..200 | 204 | 304) {
            return Self::NoContent;
        }
        length().map_or(Self::Nothing, Self::Bytes)
    }

    /// Returns how many of the body's bytes belong to the response.
    #[inline]
    pub(crate) fn cap(self, bytes: u64) -> u64 {
        match self {
            Self::Nothing => bytes,
            Self::NoContent => 0,
            Self::Bytes(length) => bytes.min(length),
        }
    }

    /// Returns whether a body is complete after this many bytes, although its end is not known. A server may drop it without
    /// polling it for the end, as hyper 1.12 does over HTTP/1.
    #[inline]
    pub(crate) fn is_reached(self, bytes: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::NoContent => true,
            Self::Bytes(length) => bytes >= length,
        }
    }

    /// Returns whether a body that ended after this many bytes is shorter than announced.
    #[inline]
    pub(crate) fn is_missed(self, bytes: u64) -> bool {
        matches!(self, Self::Bytes(length) if bytes < length)
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

//! Captures the parts of a request's and a response's head that jobs see.

use std::{
    cell::Cell,
    num::NonZeroU64,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::extract::MatchedPath;
use defer_core::{
    __private::{Captured, Extensions as CapturedExtensions},
    Delivery, RequestInfo, ResponseInfo, Runner,
};
use http::{
    Extensions, HeaderMap, HeaderName, Method, Request, StatusCode, Uri, Version, response, uri::PathAndQuery,
};
use tokio::time;

use crate::servers::KnownBy;

/// The settings of a `DeferLayer`, which its services share with their clones: axum clones a service for each request.
#[derive(Clone, Debug)]
pub(crate) struct LayerConfig {
    pub(crate) runner: Runner,
    /// The headers that jobs may see.
    pub(crate) request_headers: Box<[HeaderName]>,
    pub(crate) response_headers: Box<[HeaderName]>,
    /// The longest that a response may take after the handler has answered.
    pub(crate) release_after: Option<Duration>,
    /// Captures the extensions, one function per type.
    pub(crate) extensions: Vec<fn(&Extensions, &mut CapturedExtensions)>,
    /// The route's pattern. A router layers each route by itself, so a service nearly always sees the same one, and jobs can
    /// share a copy.
    route: OnceLock<Arc<str>>,
    /// Shared by all copies, because axum makes one for each connection (0.8.9).
    pub(crate) known_by: Arc<KnownBy>,
}

impl LayerConfig {
    pub(crate) fn new(runner: Runner) -> Self {
        Self {
            runner,
            request_headers: Box::default(),
            response_headers: Box::default(),
            release_after: None,
            extensions: Vec::new(),
            route: OnceLock::new(),
            known_by: Arc::default(),
        }
    }

    /// Returns the captured parts of a request, if there are any.
    #[inline]
    fn captured<B>(&self, request: &Request<B>) -> Option<Box<Captured>> {
        let keeps_nothing = self.request_headers.is_empty() && self.extensions.is_empty();
        if keeps_nothing { None } else { self.copied(request.headers(), request.extensions()) }
    }

    #[cold]
    fn copied(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<Box<Captured>> {
        let headers = captured(&self.request_headers, headers);
        let mut kept = CapturedExtensions::default();
        self.extensions.iter().for_each(|capture| capture(extensions, &mut kept));
        if headers.is_none() && kept.is_empty() {
            return None;
        }
        Some(Box::new(Captured {
            headers: headers.map(|headers| *headers).unwrap_or_default(),
            extensions: kept,
        }))
    }

    /// Returns the latest time at which the jobs are released. Call it when the handler has answered.
    #[inline]
    pub(crate) fn release_at(&self) -> Option<time::Instant> {
        let after = self.release_after?;
        time::Instant::now().checked_add(after)
    }

    fn route(&self, pattern: &str) -> Arc<str> {
        let known = self.route.get_or_init(|| pattern.into());
        if **known == *pattern { known.clone() } else { pattern.into() }
    }
}

/// The parts of a request to keep until it is known whether it defers. Keeping them allocates only for captured headers.
#[derive(Clone)]
pub(crate) struct RequestHead {
    pub(crate) received: Instant,
    pub(crate) config: Arc<LayerConfig>,
    /// The exchange that the request belongs to, if it came over a watched connection.
    pub(crate) exchange: Option<ExchangeId>,
    method: Method,
    target: Target,
    version: Version,
    captured: Option<Box<Captured>>,
    route: Option<MatchedPath>,
}

impl RequestHead {
    pub(crate) fn new<B>(
        request: &Request<B>,
        config: Arc<LayerConfig>,
        exchange: Option<ExchangeId>,
    ) -> Self {
        Self {
            received: Instant::now(),
            exchange,
            method: request.method().clone(),
            target: Target::of(request.uri()),
            version: request.version(),
            captured: config.captured(request),
            route: request.extensions().get::<MatchedPath>().cloned(),
            config,
        }
    }

    #[inline]
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Converts it into the view of the request that jobs get.
    pub(crate) fn into_info(self) -> RequestInfo {
        let route = self.route.map(|route| self.config.route(route.as_str()));
        RequestInfo::new(self.method, self.target.into_uri(), self.version)
            .with_matched_path(route)
            .with_captured(self.captured)
    }
}

/// The target of a request. Over HTTP/1 it is mostly a path. Copying one costs half as much as copying a URI.
#[derive(Clone)]
enum Target {
    Path(PathAndQuery),
    Uri(Uri),
}

impl Target {
    #[inline]
    fn of(uri: &Uri) -> Self {
        match uri.path_and_query() {
            Some(path) if uri.scheme().is_none() && uri.authority().is_none() => Self::Path(path.clone()),
            _ => Self::Uri(uri.clone()),
        }
    }

    fn into_uri(self) -> Uri {
        match self {
            Self::Path(path) => path.into(),
            Self::Uri(uri) => uri,
        }
    }
}

/// The part of a response's head that jobs can see.
#[derive(Clone)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: Option<Box<HeaderMap>>,
}

impl ResponseHead {
    pub(crate) fn new(head: &response::Parts, config: &LayerConfig) -> Self {
        Self { status: head.status, headers: captured(&config.response_headers, &head.headers) }
    }
}

/// Returns what jobs see of a response that is ending.
#[inline]
pub(crate) fn response_info(
    delivery: Delivery,
    head: Option<ResponseHead>,
    bytes: u64,
    received: Instant,
) -> ResponseInfo {
    let (status, headers) = head.map_or((None, None), |head| (Some(head.status), head.headers));
    ResponseInfo::new(delivery)
        .with_status(status)
        .with_bytes_sent(bytes)
        .with_elapsed(received.elapsed())
        .with_headers(headers)
}

/// Distinguishes a request that a server has received, and its outermost response, from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExchangeId(NonZeroU64);

impl ExchangeId {
    pub(crate) fn next() -> Option<Self> {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        thread_local! {
            // Each thread counts in its own range.
            static NEXT: Cell<u64> = Cell::new(THREADS.fetch_add(1 << 40, Ordering::Relaxed) + 1);
        }
        NonZeroU64::new(NEXT.with(|next| next.replace(next.get() + 1))).map(Self)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_job_sees_the_target_that_was_asked_for(
            text in prop_oneof![
                "/[!-~]{0,40}",
                "[a-z]{1,5}://[a-z0-9.]{1,9}(:[0-9]{1,5})?(/[a-z0-9/%.]{0,9})?(\\?[a-z=&]{0,9})?",
                "[a-z0-9.]{1,9}:[0-9]{1,5}",
                Just("*".to_owned()),
                ".*",
            ],
        ) {
            // The server has rejected anything that is not a URI.
            let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
            prop_assert_eq!(Target::of(&uri).into_uri(), uri);
        }
    }
}

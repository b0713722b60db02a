//! Releases the jobs of a request, with what is known about its response.

use std::{sync::Arc, time};

use defer_core::{Delivery, JobList, ResponseInfo, Scope};
use http::response;
use tokio::time::Instant;

use crate::{
    capture::{ExchangeId, LayerConfig, RequestHead, ResponseHead, response_info},
    deadline::Deadline,
};

/// Returns how a dropped response ended: `Panicked` if this thread is panicking, else `otherwise`.
pub(crate) fn dropped(otherwise: Delivery) -> Delivery {
    if std::thread::panicking() { Delivery::Panicked } else { otherwise }
}

/// The jobs that one layer has collected for a request, to be released when its response is over.
pub(crate) struct Release {
    list: Arc<JobList>,
    received: time::Instant,
    config: Arc<LayerConfig>,
    exchange: Option<ExchangeId>,
    /// `None` after a service failed, until an outer layer has answered.
    head: Option<ResponseHead>,
    deadline: Option<Box<Deadline>>,
}

impl Release {
    pub(crate) fn new(list: Arc<JobList>, request: RequestHead, head: Option<ResponseHead>) -> Self {
        let RequestHead { received, exchange, .. } = request;
        let config = request.config.clone();
        list.set_request(request.into_info());
        #[cfg(feature = "testing")]
        if let Some(head) = &head {
            list.answered(|| response_info(Delivery::Finished, Some(head.clone()), 0, received));
        }
        Self { list, received, config, exchange, head, deadline: None }
    }

    /// Releases the jobs at this time, unless the response ends earlier.
    #[inline]
    pub(crate) fn due_at(&mut self, at: Option<Instant>) {
        if let Some(at) = at {
            self.deadline = Deadline::new(at, &self.list, self.received, self.head.clone());
        }
    }

    pub(crate) fn exchange(&self) -> Option<ExchangeId> {
        self.exchange
    }

    /// Keeps the head of a response. The last one it sees is the one that is sent.
    pub(crate) fn saw_head(&mut self, head: &response::Parts) {
        let head = ResponseHead::new(head, &self.config);
        #[cfg(feature = "testing")]
        self.list.answered(|| response_info(Delivery::Finished, Some(head.clone()), 0, self.received));
        self.head = Some(head);
        if let Some(deadline) = &self.deadline {
            deadline.saw_head(self.head.clone());
        }
    }

    #[inline]
    pub(crate) fn deadline(&self) -> Option<&Deadline> {
        self.deadline.as_deref()
    }

    pub(crate) fn release(self, delivery: Delivery, bytes: u64) {
        self.list.release(Some(response_info(delivery, self.head, bytes, self.received)));
    }
}

/// The lists of all layers, to release when a response is over. If this is dropped before [`sent`](Self::sent) or
/// [`end`](Self::end), it releases them as `Disconnected`.
pub(crate) struct ReleaseGuard {
    releases: Vec<Release>,
    /// The number of bytes that the body has yielded.
    bytes: u64,
}

impl ReleaseGuard {
    pub(crate) fn new(releases: Vec<Release>, bytes: u64) -> Self {
        Self { releases, bytes }
    }

    /// Releases the jobs of a response that was sent completely.
    pub(crate) fn sent(mut self) {
        let bytes = self.bytes;
        self.release(Delivery::Sent, bytes);
    }

    /// Releases the jobs of a response that ended this way. `accepted` may include bytes that follow the body.
    pub(crate) fn end(mut self, delivery: Delivery, accepted: u64) {
        let bytes = accepted.min(self.bytes);
        self.release(delivery, bytes);
    }

    fn release(&mut self, delivery: Delivery, bytes: u64) {
        for release in self.releases.drain(..) {
            release.release(delivery, bytes);
        }
    }
}

impl Drop for ReleaseGuard {
    fn drop(&mut self) {
        self.release(Delivery::Disconnected, 0);
    }
}

/// A request that ends without a response. When dropped, it releases what the scope has collected, even if user code
/// panics.
pub(crate) struct Unanswered<'a> {
    pub(crate) scope: &'a mut Scope,
    pub(crate) request: &'a RequestHead,
    pub(crate) delivery: Delivery,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(list) = self.scope.list() {
            let response = ResponseInfo::new(self.delivery).with_elapsed(self.request.received.elapsed());
            list.set_request(self.request.clone().into_info());
            list.release(Some(response));
        }
    }
}

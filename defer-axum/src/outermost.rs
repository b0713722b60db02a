//! Hands the jobs of layers to the code that sees the end of the response.
//!
//! The end of a response is best seen from outside everything else. While the outermost service (of `serve`, `watch_connection`
//! or `DeferAcceptor`) polls its app, an [`Outermost`] is set for the thread, and layers attach their jobs to it instead of
//! releasing them. Requests made within this process are polled there too, but their extensions lack the mark of a received
//! request. The task may also poll a future of another request, whose [`ExchangeId`] differs.

use std::{
    cell::RefCell,
    mem::{self, ManuallyDrop},
};

use defer_core::{Delivery, Runner};
use http::{Extensions, response};

use crate::{
    capture::ExchangeId,
    deadline::Taken,
    release::{Release, ReleaseGuard, dropped},
    servers::KnownBy,
};

thread_local! {
    // Without a destructor, an access is a plain one. Nothing is left to drop, because whatever is set is taken back.
    static OUTERMOST: RefCell<ManuallyDrop<Outermost>> =
        const { RefCell::new(ManuallyDrop::new(Outermost::none())) };
}

/// The state that layers attach to the outermost response.
pub(crate) struct Outermost {
    /// Set under `serve`, `watch_connection` and `DeferAcceptor`. `None` otherwise.
    id: Option<ExchangeId>,
    is_received: fn(&Extensions) -> bool,
    attached: Vec<Release>,
    /// A layer has a body that may still defer.
    streams: bool,
    /// The number of the server, or 0 if it is not `serve`.
    server: usize,
}

impl Outermost {
    const fn none() -> Self {
        Self { id: None, is_received: |_| false, attached: Vec::new(), streams: false, server: 0 }
    }

    /// `is_received` tells by its extensions whether a request came over the connection, or was made within this
    /// process.
    pub(crate) fn new(is_received: fn(&Extensions) -> bool, server: usize) -> Self {
        Self { id: ExchangeId::next(), is_received, attached: Vec::new(), streams: false, server }
    }

    /// Calls `f` with this as the thread's outermost response.
    pub(crate) fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        /// Restores the previous one when `f` returns or panics.
        struct SwapBack<'a>(&'a mut Outermost);
        impl Drop for SwapBack<'_> {
            fn drop(&mut self) {
                self.0.swap();
            }
        }
        self.swap();
        let _back = SwapBack(self);
        f()
    }

    fn swap(&mut self) {
        OUTERMOST.with_borrow_mut(|current| mem::swap(&mut **current, self));
    }

    /// Returns the exchange of a request that reaches a layer, if it came over the connection that this thread is polling.
    /// Registers the layer's runner with the server, unless it already has.
    pub(crate) fn exchange(extensions: &Extensions, known: &KnownBy, runner: &Runner) -> Option<ExchangeId> {
        let (id, is_received, server) =
            OUTERMOST.with_borrow(|outermost| (outermost.id, outermost.is_received, outermost.server));
        known.tell(server, runner);
        id.filter(|_| is_received(extensions))
    }

    /// Attaches jobs to the outermost response of their exchange. Returns them if this thread is not polling that response.
    pub(crate) fn attach(release: Release) -> Result<(), Release> {
        let mut release = Some(release);
        OUTERMOST.with_borrow_mut(|outermost| {
            let exchange = release.as_ref().and_then(Release::exchange);
            if exchange.is_some() && outermost.id == exchange {
                // Most requests have one layer. A vector grows to four by itself.
                outermost.attached.reserve_exact(1);
                outermost.attached.extend(release.take());
            }
        });
        release.map_or(Ok(()), Err)
    }

    /// Tells the outermost response of an exchange that jobs may be deferred while its body streams.
    pub(crate) fn expect_streaming(exchange: Option<ExchangeId>) {
        OUTERMOST.with_borrow_mut(|outermost| {
            outermost.streams |= exchange.is_some() && outermost.id == exchange;
        });
    }

    /// Returns whether nothing is attached and nothing can be later, so the end of the response does not matter.
    pub(crate) fn is_unused(&self) -> bool {
        self.attached.is_empty() && !self.streams
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.attached.is_empty()
    }

    pub(crate) fn saw_head(&mut self, head: &response::Parts) {
        for release in &mut self.attached {
            release.saw_head(head);
        }
    }

    /// Reports how many bytes the body has yielded. `taken` creates the counter of those that the operating system has accepted.
    #[inline]
    pub(crate) fn yielded(&self, bytes: u64, taken: impl Fn() -> Taken) {
        for deadline in self.attached.iter().filter_map(Release::deadline) {
            deadline.yielded(bytes);
            deadline.counts_with(&taken);
        }
    }

    /// Takes the attached jobs, to release them together. The body has yielded this many bytes.
    pub(crate) fn take_guard(&mut self, bytes: u64) -> ReleaseGuard {
        ReleaseGuard::new(mem::take(&mut self.attached), bytes)
    }
}

impl Drop for Outermost {
    /// Releases jobs that are still attached, because user code panicked while it was dropped.
    fn drop(&mut self) {
        if self.has_jobs() {
            self.take_guard(0).end(dropped(Delivery::Disconnected), 0);
        }
    }
}

impl Default for Outermost {
    fn default() -> Self {
        Self::none()
    }
}

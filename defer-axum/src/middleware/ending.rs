//! Who releases a request's jobs, and when.
//!
//! The end of a response is seen best from outside of everything else. So whoever stands outermost collects what
//! layers further in have: an [`Outer`] is set for the thread while `serve` polls its app, and a layer that finds one
//! attaches its jobs there instead of releasing them itself.

use std::{
    cell::RefCell,
    mem::{self, ManuallyDrop},
    sync::Arc,
    time::Instant,
};

use defer_core::{Collected, Delivery, ResponseInfo};
use http::{HeaderMap, StatusCode, response};

use super::service::{Arrival, Shared};

thread_local! {
    // Whoever sets one takes it back, and so nothing is left here to be dropped when the thread ends: without a
    // destructor, an access is a plain one.
    static OUTER: RefCell<ManuallyDrop<Outer>> = const { RefCell::new(ManuallyDrop::new(Outer::none())) };
}

/// What layers hand to the outermost response.
#[derive(Default)]
pub(crate) struct Outer {
    /// Whether there is anybody outside who takes it.
    present: bool,
    attached: Vec<Due>,
    /// A layer has a body that may defer later.
    streams: bool,
}

impl Outer {
    const fn none() -> Self {
        Self { present: false, attached: Vec::new(), streams: false }
    }

    pub(crate) fn new() -> Self {
        Self { present: true, ..Self::none() }
    }

    /// Calls `f` with this as the outermost response.
    pub(crate) fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        struct Entered<'a>(&'a mut Outer);
        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                swap(self.0);
            }
        }
        fn swap(outer: &mut Outer) {
            OUTER.with_borrow_mut(|current| mem::swap(&mut **current, outer));
        }
        swap(self);
        let _entered = Entered(self);
        f()
    }

    /// Gives the outermost response something to release, or returns it if there is none.
    pub(super) fn attach(due: Due) -> Result<(), Due> {
        let mut due = Some(due);
        OUTER.with_borrow_mut(|outer| {
            if outer.present {
                outer.attached.extend(due.take());
            }
        });
        due.map_or(Ok(()), Err)
    }

    /// Tells the outermost response that jobs may come while its body streams.
    pub(super) fn expect_streaming() {
        OUTER.with_borrow_mut(|outer| outer.streams = true);
    }

    /// Whether the body need not be watched.
    pub(crate) fn is_done(&self) -> bool {
        self.attached.is_empty() && !self.streams
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.attached.is_empty()
    }

    pub(crate) fn saw_head(&mut self, head: &response::Parts) {
        for due in &mut self.attached {
            due.saw_head(head);
        }
    }

    /// Takes what was attached, to be released together.
    pub(crate) fn take_ending(&mut self, bytes: u64) -> Ending {
        Ending { due: mem::take(&mut self.attached), bytes }
    }
}

/// One layer's jobs, and what it saw of their response.
pub(crate) struct Due {
    jobs: Collected,
    since: Instant,
    shared: Arc<Shared>,
    is_head: bool,
    head: Head,
}

/// What jobs are told of a response's head.
pub(super) struct Head {
    status: StatusCode,
    headers: Option<Box<HeaderMap>>,
}

impl Head {
    pub(super) fn new(head: &response::Parts, shared: &Shared) -> Self {
        Self { status: head.status, headers: shared.response_headers(&head.headers) }
    }
}

impl Due {
    pub(super) fn new(jobs: Collected, arrival: Arrival, head: Head) -> Self {
        let (since, shared, is_head) = (arrival.at, arrival.shared.clone(), arrival.is_head());
        jobs.set_request(arrival.into_request());
        Self { jobs, since, shared, is_head, head }
    }

    /// The last head that is seen is the one that goes out.
    fn saw_head(&mut self, head: &response::Parts) {
        self.head = Head::new(head, &self.shared);
    }

    /// Whether the response has no content whatever its body says (RFC 9110, section 6.4.1). Servers drop such a body
    /// without a look.
    pub(super) fn has_no_content(&self) -> bool {
        let status = self.head.status;
        self.is_head
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
    }

    pub(super) fn release(self, delivery: Delivery, bytes: u64) {
        let response = ResponseInfo::new(delivery)
            .with_status(Some(self.head.status))
            .with_bytes_sent(bytes)
            .with_elapsed(self.since.elapsed())
            .with_headers(self.head.headers);
        self.jobs.release(Some(response));
    }
}

/// The jobs of a response whose body has ended. Dropped without having [ended](Self::end), the client was gone.
pub(crate) struct Ending {
    due: Vec<Due>,
    bytes: u64,
}

impl Ending {
    pub(crate) fn end(mut self, delivery: Delivery) {
        self.release(delivery);
    }

    fn release(&mut self, delivery: Delivery) {
        for due in self.due.drain(..) {
            due.release(delivery, self.bytes);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.release(Delivery::Disconnected);
    }
}

//! Who releases a request's jobs, and when.
//!
//! The end of a response is seen best from outside of everything else. So whoever stands outermost collects what
//! layers further in have: an [`Outer`] is set for the thread while `serve` polls its app, and a layer attaches its jobs
//! there instead of releasing them itself. A request that was made in this process is polled there too, and is told
//! from the one that `serve` received by its extensions; a future that another request's task polls, by its
//! [`OuterId`].

use std::{
    cell::{Cell, RefCell},
    mem::{self, ManuallyDrop},
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use defer_core::{Delivery, JobList, ResponseInfo};
use http::{Extensions, HeaderMap, StatusCode, response};

use super::service::{Arrival, Shared};

thread_local! {
    // Whoever sets one takes it back, and so nothing is left here to be dropped when the thread ends: without a
    // destructor, an access is a plain one.
    static OUTER: RefCell<ManuallyDrop<Outer>> = const { RefCell::new(ManuallyDrop::new(Outer::none())) };

    // Each thread has numbers of its own.
    static NEXT: Cell<u64> = Cell::new(THREADS.fetch_add(1 << 40, Ordering::Relaxed) + 1);
}

static THREADS: AtomicU64 = AtomicU64::new(0);

/// What layers hand to the outermost response.
pub(crate) struct Outer {
    /// `None` if there is nobody outside.
    id: Option<OuterId>,
    is_received: fn(&Extensions) -> bool,
    attached: Vec<Due>,
    /// A layer has a body that may defer later.
    streams: bool,
}

/// Tells one outermost response from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OuterId(NonZeroU64);

impl OuterId {
    /// The outermost response of this request, if `serve` has received it and polls it.
    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
        let (id, is_received) = OUTER.with_borrow(|outer| (outer.id, outer.is_received));
        id.filter(|_| is_received(extensions))
    }
}

impl Outer {
    const fn none() -> Self {
        Self { id: None, is_received: |_| false, attached: Vec::new(), streams: false }
    }

    /// An outermost response. `is_received` tells a request that came over the connection from one that was made in this
    /// process, by its extensions.
    pub(crate) fn new(is_received: fn(&Extensions) -> bool) -> Self {
        let id = NEXT.with(|next| next.replace(next.get() + 1));
        Self { id: NonZeroU64::new(id).map(OuterId), is_received, ..Self::none() }
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

    /// Gives the outermost response of the request something to release, or returns it if that is not around.
    pub(super) fn attach(due: Due) -> Result<(), Due> {
        let mut due = Some(due);
        OUTER.with_borrow_mut(|outer| {
            if outer.id.is_some() && outer.id == due.as_ref().and_then(|due| due.outer) {
                outer.attached.extend(due.take());
            }
        });
        due.map_or(Ok(()), Err)
    }

    /// Tells the outermost response that jobs may come while its body streams.
    pub(super) fn expect_streaming(id: Option<OuterId>) {
        OUTER.with_borrow_mut(|outer| outer.streams |= id.is_some() && outer.id == id);
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

impl Default for Outer {
    fn default() -> Self {
        Self::none()
    }
}

/// One layer's jobs, and what it saw of their response.
pub(crate) struct Due {
    jobs: Arc<JobList>,
    since: Instant,
    shared: Arc<Shared>,
    outer: Option<OuterId>,
    is_head: bool,
    /// `None` where the service failed, until somebody further out has answered.
    head: Option<Head>,
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

    /// Whether the response has no content whatever its body says (RFC 9110, section 6.4.1). Servers drop such a body
    /// without a look.
    pub(super) fn has_no_content(&self) -> bool {
        let status = self.status;
        status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
    }
}

impl Due {
    pub(super) fn new(jobs: Arc<JobList>, arrival: Arrival, head: Option<Head>) -> Self {
        let Arrival { at: since, outer, .. } = arrival;
        let (shared, is_head) = (arrival.shared.clone(), arrival.is_head());
        jobs.set_request(arrival.into_request());
        Self { jobs, since, shared, outer, is_head, head }
    }

    /// The last head that is seen is the one that goes out.
    fn saw_head(&mut self, head: &response::Parts) {
        self.head = Some(Head::new(head, &self.shared));
    }

    pub(super) fn has_no_content(&self) -> bool {
        self.is_head || self.head.as_ref().is_some_and(Head::has_no_content)
    }

    pub(super) fn release(self, delivery: Delivery, bytes: u64) {
        let (status, headers) = self.head.map_or((None, None), |head| (Some(head.status), head.headers));
        let response = ResponseInfo::new(delivery)
            .with_status(status)
            .with_bytes_sent(bytes)
            .with_elapsed(self.since.elapsed())
            .with_headers(headers);
        self.jobs.release(Some(response));
    }
}

/// The jobs of a response whose body has ended. Dropped without having [ended](Self::end), the client was gone.
pub(crate) struct Ending {
    due: Vec<Due>,
    /// What the body has yielded.
    bytes: u64,
}

impl Ending {
    /// The response went out whole.
    pub(crate) fn sent(mut self) {
        let bytes = self.bytes;
        self.release(Delivery::Sent, bytes);
    }

    /// The response ended like this, when this many bytes were taken, of its body and perhaps of what follows it.
    pub(crate) fn end(mut self, delivery: Delivery, taken: u64) {
        let bytes = taken.min(self.bytes);
        self.release(delivery, bytes);
    }

    fn release(&mut self, delivery: Delivery, bytes: u64) {
        for due in self.due.drain(..) {
            due.release(delivery, bytes);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.release(Delivery::Disconnected, 0);
    }
}

//! A handle to one job.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

#[cfg(doc)]
use crate::Policy;
use crate::{
    list::{
        entry::Entry,
        extras::{DuplicateOf, Predicate},
        list::JobList,
    },
    model::{id::JobId, response::ResponseInfo},
};

/// A handle to a deferred job. Use it to change or cancel the job before it starts.
///
/// Dropping it changes nothing. Its methods have no effect once the job has started. Once it has left its line
/// ([`Policy::with_concurrent`], or a delay that has begun), only [`cancel`](Self::cancel) has. [`delay`](Self::delay) and
/// [`serial`](Self::serial) have no effect while the job waits for its turn among jobs of other requests. A job that is deferred
/// after the response, or outside a request, may start before the handle is returned.
///
/// ```
/// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, Runner, defer, defer_fn, scope};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let runner = Runner::default();
/// # scope(&runner, async {
/// let mail = defer_fn(|_| async { println!("your order is on its way") });
/// mail.on_success();
/// let out_of_stock = true;
/// if out_of_stock {
///     assert!(mail.cancel());
/// }
/// # }).await;
/// # runner.idle().await;
/// # assert_eq!(runner.stats().cancelled, 1);
/// # }
/// ```
#[derive(Clone)]
pub struct Deferred {
    list: Arc<JobList>,
    /// `None` for a job that was shed at once.
    index: Option<usize>,
    id: JobId,
    /// Set by [`unique`](Self::unique), and shared with the clones that follow.
    duplicate_of: OnceLock<DuplicateOf>,
}

impl Deferred {
    pub(super) fn new(list: Arc<JobList>, index: Option<usize>, id: JobId) -> Self {
        Self { list, index, id, duplicate_of: OnceLock::new() }
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Cancels the job, unless it has started, is on its way to the queue, or duplicates were dropped because of it. Returns
    /// whether this call cancelled it. If so, the job does not run, with one exception: a durable job that is already stored can
    /// still run elsewhere if this process dies before it has stored the cancellation. To cancel a job by its id, wherever it is
    /// and even while it runs, use [`Runner::cancel`](crate::Runner::cancel).
    pub fn cancel(&self) -> bool {
        self.index.is_some_and(|index| self.list.cancel(index))
    }

    /// Runs the job only after a response that [is a success](ResponseInfo::is_success). Replaces the job's other
    /// conditions, including that of its type.
    pub fn on_success(&self) -> Self {
        self.change(true, Entry::set_on_success);
        self.clone()
    }

    /// Runs the job after any response. Replaces the job's other conditions, including that of its type.
    pub fn always(&self) -> Self {
        self.change(false, Entry::set_on_success);
        self.clone()
    }

    /// Runs the job only if `predicate` returns true. The predicate is called once, when the job's turn in its line comes:
    /// before its delay, and before the job is pushed to a queue. Replaces the job's other conditions, including that of its
    /// type. A predicate that panics fails the job.
    ///
    /// Outside a request there is no response to judge, and the job runs.
    ///
    /// ```
    /// use defer_core::{Delivery, defer_fn};
    ///
    /// fn warn_if_the_download_was_cut_short() {
    ///     defer_fn(|_| async { println!("the client left before it had everything") })
    ///         .when(|response| response.delivery() == Delivery::Disconnected);
    /// }
    /// ```
    pub fn when(&self, predicate: impl FnOnce(&ResponseInfo) -> bool + Send + 'static) -> Self {
        self.change(Box::new(predicate) as Predicate, Entry::set_when);
        self.clone()
    }

    /// Gives the job a key within its request. Earlier jobs with the same key are cancelled: only the last one remains, in its
    /// own place in the order.
    ///
    /// ```
    /// # use defer_core::{Defer, Runner, defer_fn, scope};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let runner = Runner::default();
    /// # scope(&runner, async {
    /// for change in 1..=3 {
    ///     defer_fn(move |_| async move { println!("saved as of change {change}") }).key("cart:42");
    /// }
    /// let defer = Defer::current().expect("this is in a request");
    /// assert_eq!(defer.len(), 1); // the third
    /// assert!(defer.cancel_key("cart:42"));
    /// assert!(defer.is_empty());
    /// # }).await;
    /// # runner.idle().await;
    /// # assert_eq!(runner.stats().cancelled, 3);
    /// # }
    /// ```
    pub fn key(&self, key: impl AsRef<str>) -> Self {
        let key = key.as_ref();
        if self.change(key, |entry, key| entry.set_key(key)) {
            self.list.cancel_key(key, self.index);
        }
        self.clone()
    }

    /// Delays the job: it starts no sooner than this long after its response. The jobs behind it do not wait for it.
    ///
    /// Once its turn comes, a timer waits, and the job no longer counts toward
    /// [`max_pending`](crate::RunnerBuilder::max_pending). A shutdown waits for the job as for any other, and reports it as
    /// unfinished if it is not due by the deadline, unless its type [runs at a shutdown](Policy::with_run_at_shutdown). A
    /// durable job waits in its queue instead, and a shutdown does not wait for it.
    ///
    /// ```
    /// # use defer_core::defer_fn;
    /// # use std::time::Duration;
    /// fn remind() {
    ///     defer_fn(|_| async { println!("your cart is still here") }).delay(Duration::from_secs(3600));
    /// }
    /// ```
    pub fn delay(&self, delay: Duration) -> Self {
        if let Some(index) = self.index {
            self.list.set_delay(index, delay);
        }
        self.clone()
    }

    /// Runs jobs with the same serial key one at a time, in the order in which their responses ended, regardless of their types
    /// and requests. A job that is retried keeps its turn until it has ended, and a delayed one queues when it is due. The jobs
    /// behind it in its own request wait too, as always.
    ///
    /// The order covers jobs whose key is set when their response ends. If the key is set later, by a job or through a
    /// [`Defer`](crate::Defer), the job queues for the key when its turn in its request comes, like a delayed job; if it then
    /// has to wait, the jobs behind it in its request do not. A key can be replaced only before the response is over.
    ///
    /// The key applies within this runner. A durable job goes through its queue: with `defer-sqlx`, the key applies across all
    /// processes. A [blocking](Policy::with_blocking) job that timed out or was stopped keeps its turn until its thread
    /// returns.
    ///
    /// ```
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, Runner, defer, scope};
    /// # struct Book { account: u32 }
    /// # impl Job for Book { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for Book { const NAME: &'static str = "Book"; const POLICY: Policy = Policy::new(); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let runner = Runner::default();
    /// # scope(&runner, async {
    /// let account = 7;
    /// defer(Book { account }).serial(format!("account:{account}"));
    /// # }).await;
    /// # runner.idle().await;
    /// # }
    /// ```
    pub fn serial(&self, key: impl AsRef<str>) -> Self {
        if let Some(index) = self.index {
            self.list.set_serial(index, key.as_ref());
        }
        self.clone()
    }

    /// Drops the job if one with the same unique key is already pending on this runner: its response is over, it has not
    /// started, and it will certainly run. A running job does not count, so no change is missed. Neither does a job that has a
    /// condition, or one that went to the queue. A dropped job is a [duplicate](Self::is_duplicate) and counts as cancelled;
    /// [`Runner::status`](crate::Runner::status) and [`watch`](crate::Runner::watch) lead from its id to the job that runs in
    /// its place.
    ///
    /// This is checked now, and again when the response is over. From then on, the handle of the job that remains can neither
    /// cancel nor delay it. [`Runner::cancel`](crate::Runner::cancel) still cancels it, and watchers of its duplicates see
    /// that.
    ///
    /// A durable job goes through its queue. It is dropped there if another job with its key is ready and has not been taken
    /// yet, by any process. [`is_duplicate`](Self::is_duplicate) returns true once the queue has answered.
    ///
    /// ```
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, Runner, defer, scope};
    /// # use std::time::Duration;
    /// # struct SyncCart { cart: u32 }
    /// # impl Job for SyncCart { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for SyncCart { const NAME: &'static str = "SyncCart"; const POLICY: Policy = Policy::new(); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let runner = Runner::default();
    /// for _ in 0..3 {
    ///     // Three requests in short order.
    ///     scope(&runner, async {
    ///         defer(SyncCart { cart: 42 }).unique("sync:42").delay(Duration::from_millis(200));
    ///     })
    ///     .await;
    /// }
    /// runner.idle().await;
    /// assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (1, 2));
    /// # }
    /// ```
    pub fn unique(&self, key: impl AsRef<str>) -> Self {
        if let Some(index) = self.index {
            if let Some(duplicate_of) = self.list.set_unique(index, key.as_ref()) {
                let _ = self.duplicate_of.set(duplicate_of);
            }
        }
        self.clone()
    }

    /// Returns whether the job is a duplicate: it was dropped, by [`unique`](Self::unique) or when its response was over,
    /// because another job with its key was pending. Call this on a handle on which `unique` was called, on the handle that it
    /// returned, or on a clone of either.
    pub fn is_duplicate(&self) -> bool {
        self.duplicate_of.get().is_some_and(|duplicate_of| duplicate_of.get().is_some())
    }

    /// Changes the job, unless it has started. Returns whether the job was changed.
    fn change<V, T>(&self, value: V, change: fn(&mut Entry, V) -> T) -> bool {
        self.index.is_some_and(|index| self.list.change(index, value, change).is_ok())
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("id", &self.id).finish_non_exhaustive()
    }
}

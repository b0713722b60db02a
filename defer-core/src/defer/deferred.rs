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
    store::Replace,
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
    /// `None` for a job that was shed immediately.
    index: Option<usize>,
    id: JobId,
    /// Set by [`unique`](Self::unique) and [`at_most_every`](Self::at_most_every), and shared with the clones that follow.
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
    /// This is checked now, and again when the response is over. A job that is already a duplicate is dropped once the handler
    /// has answered. Until then, it can still [`replace`](Self::replace) the other. From then on, the handle of the job that
    /// remains can neither cancel nor delay it. [`Runner::cancel`](crate::Runner::cancel) still cancels it, and watchers of its
    /// duplicates see that.
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
    ///     // Three requests in quick succession.
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

    /// Replaces the pending job with the same [unique](Self::unique) key, instead of being dropped as its duplicate.
    ///
    /// This job keeps its own fields and its own request, and may be of another type. It starts when the other one would have
    /// started: with [`delay`](Self::delay), that is one delay after the first job, however many follow. The other job is then a
    /// [duplicate](Self::is_duplicate) of this one and counts as cancelled. Its id leads to the job that runs, even through a
    /// thousand replacements. To wait for a pause instead, use [`replace_within`](Self::replace_within).
    ///
    /// A job only replaces another if both will certainly run. With [`on_success`](Self::on_success), this is known when the
    /// response is over, and with [`when`](Self::when), once the predicate was evaluated. Until then, both wait. A running job is
    /// never replaced, so no change is missed, and neither is a job whose response is not over. Of two such jobs in one request,
    /// the later one stays. A job that has duplicates can be replaced: the new job stands for all of them. The order of the calls
    /// to `unique`, `replace` and `delay` does not matter. Without a unique key, this has no effect.
    ///
    /// This applies within this runner. Durable jobs are replaced in their queue, across all processes: see
    /// [`unique`](Self::unique). A durable job does not replace one that waits in memory, nor the other way round.
    ///
    /// ```
    /// # use defer_core::{Runner, defer_fn, scope};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # let runner = Runner::default();
    /// for token in 1..=3 {
    ///     // Three requests in quick succession. One job runs, 200 ms after the first, and sends the last token.
    ///     scope(&runner, async {
    ///         defer_fn(move |_| async move {
    ///             println!("push token {token}");
    ///             # assert_eq!(token, 3);
    ///         })
    ///         .unique("push:42")
    ///         .replace()
    ///         .delay(Duration::from_millis(200));
    ///     })
    ///     .await;
    /// }
    /// runner.idle().await;
    /// assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (1, 2));
    /// # }
    /// ```
    pub fn replace(&self) -> Self {
        self.set_replace(Replace::AtItsTime)
    }

    /// Replaces the pending job with the same [unique](Self::unique) key, and starts its own [`delay`](Self::delay) from the
    /// beginning. It starts no later than `longest` after the response of the first such job was over: a debounce with a maximum
    /// wait. This maximum also applies to a single job.
    ///
    /// Otherwise it works like [`replace`](Self::replace).
    ///
    /// ```
    /// # use defer_core::{Runner, defer_fn, scope};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # let runner = Runner::default();
    /// for edit in 1..=10 {
    ///     scope(&runner, async {
    ///         // Once typing has paused for 2 s, and at least every 5 s while it goes on.
    ///         defer_fn(move |_| async move { println!("index as of edit {edit}") })
    ///             .unique("index:42")
    ///             .replace_within(Duration::from_secs(5))
    ///             .delay(Duration::from_secs(2));
    ///     })
    ///     .await;
    ///     tokio::time::sleep(Duration::from_secs(1)).await;
    /// }
    /// runner.idle().await;
    /// assert_eq!(runner.stats().succeeded, 2);
    /// # }
    /// ```
    pub fn replace_within(&self, longest: Duration) -> Self {
        self.set_replace(Replace::Within(longest))
    }

    fn set_replace(&self, replace: Replace) -> Self {
        if let Some(index) = self.index {
            self.list.set_replace(index, replace);
        }
        self.clone()
    }

    /// Runs the job, unless one with this key started less than this long ago on this runner. Use it to run a job now, and then
    /// not for a while.
    ///
    /// This is checked when the job is about to start: after its condition, its delay and its turn. A job that is dropped is a
    /// [duplicate](Self::is_duplicate) of the one that started and counts as cancelled, and its id leads to that one. That job
    /// may have ended by then, or may fail. If no change may be missed, use [`unique`](Self::unique), which waits for the next
    /// run. Retries are not checked again. A second call replaces the first.
    ///
    /// Always use the same duration for a key: a start is remembered for as long as the started jobs requested.
    ///
    /// A durable job goes through its queue, and is checked when it is taken, across all processes.
    ///
    /// ```
    /// # use defer_core::{Runner, defer_fn, scope};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let runner = Runner::default();
    /// for _ in 0..3 {
    ///     // Three webhooks in quick succession.
    ///     scope(&runner, async {
    ///         defer_fn(|_| async { println!("looking for conflicts") })
    ///             .at_most_every("conflicts", Duration::from_secs(60));
    ///     })
    ///     .await;
    /// }
    /// runner.idle().await;
    /// assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (1, 2));
    /// # }
    /// ```
    pub fn at_most_every(&self, key: impl AsRef<str>, every: Duration) -> Self {
        if let Some(index) = self.index {
            if let Some(duplicate_of) = self.list.set_at_most(index, key.as_ref(), every) {
                let _ = self.duplicate_of.set(duplicate_of);
            }
        }
        self.clone()
    }

    /// Returns whether the job is a duplicate: it was dropped because another job with its [`unique`](Self::unique) key was
    /// pending, has [replaced](Self::replace) it, or [had just started](Self::at_most_every). Call this on the handle on which
    /// you called `unique` or `at_most_every`, on the handle that the call returned, or on a clone of either.
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

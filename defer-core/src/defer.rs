//! Deferring: the functions that take a job, and the handles they return.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    attempt::is_in_job,
    context::JobContext,
    error::DeferError,
    id::JobId,
    job::{Deferrable, IntoJobResult},
    list::{Entry, JobList, Origin, Predicate},
    policy::{JobType, On, Policy},
    response::ResponseInfo,
    runner::Runner,
    scope::{Scoped, current::Current},
    work::{add_closure, add_job, job_type},
};

/// Defers a job until the response of the current request is over.
///
/// Outside of any scope, the job runs at once on [`Runner::global`], and a warning says so.
///
/// # Panics
///
/// Outside a Tokio runtime, where nothing could run the job: see [`try_defer`].
#[track_caller]
pub fn defer<J: Deferrable>(job: J) -> Deferred {
    deferred(try_defer(job))
}

/// Like [`defer`], but returns an error instead of panicking.
///
/// # Errors
///
/// [`DeferError::NoRuntime`] outside a Tokio runtime. The job is dropped.
pub fn try_defer<J: Deferrable>(job: J) -> Result<Deferred, DeferError> {
    with_list(J::NAME, |list| push(list, job))
}

/// Defers a closure until the response of the current request is over. It takes a [`JobContext`], returns `()` or a
/// [`JobResult`](crate::JobResult), and runs once.
///
/// In events it has the name that the compiler gives it, which includes the enclosing function. Outside of any scope, it
/// runs at once on [`Runner::global`], and a warning says so.
///
/// # Panics
///
/// Outside a Tokio runtime, where nothing could run it: see [`try_defer_fn`].
#[track_caller]
pub fn defer_fn<F, Fut>(work: F) -> Deferred
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    deferred(try_defer_fn(work))
}

/// Like [`defer_fn`], but returns an error instead of panicking.
///
/// # Errors
///
/// [`DeferError::NoRuntime`] outside a Tokio runtime. The closure is dropped.
pub fn try_defer_fn<F, Fut>(work: F) -> Result<Deferred, DeferError>
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    with_list(closure_name::<F>(), |list| push_fn(list, work))
}

#[track_caller]
fn deferred(deferred: Result<Deferred, DeferError>) -> Deferred {
    match deferred {
        Ok(deferred) => deferred,
        Err(error) => panic!("{error}"),
    }
}

/// Pushes a job of this name to the current list or, outside of any scope, to a list of the global runner, which runs it
/// at once.
fn with_list(
    name: &'static str,
    push: impl FnOnce(Arc<JobList>) -> Deferred,
) -> Result<Deferred, DeferError> {
    if let Some(list) = Current::list() {
        return Ok(push(list?));
    }
    let list = JobList::new(Runner::global(), Origin::current()?);
    tracing::warn!(
        target: "defer",
        name,
        "a job was deferred outside of a request and runs at once on the global runner: add `DeferLayer` to \
         the router, or hand the scope to the task that defers with `Defer::scope`"
    );
    let deferred = push(list.clone());
    list.release(None);
    Ok(deferred)
}

fn push<J: Deferrable>(list: Arc<JobList>, job: J) -> Deferred {
    #[cfg(feature = "testing")]
    let job = if list.runner().is_recording() { through_queue(job) } else { job };
    let id = JobId::next();
    let index = add_job(&list, Entry::new(id, job_type::<J>()), job);
    Deferred::new(list, index, id)
}

/// Encodes and decodes a job of a queued type, as a queue would, so that a test fails if the job does not survive.
#[cfg(feature = "testing")]
fn through_queue<J: Deferrable>(job: J) -> J {
    let (Some(encode), Some(decode)) = (J::ENCODE, J::DECODE) else { return job };
    let decoded = encode(&job).and_then(|payload| decode(&payload));
    decoded.unwrap_or_else(|error| panic!("a `{}` does not survive the queue: {error}", J::NAME))
}

fn push_fn<F, Fut>(list: Arc<JobList>, work: F) -> Deferred
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    let id = JobId::next();
    let kind = const { &JobType::new(closure_name::<F>, Policy::new()) };
    let entry = Entry::new(id, kind);
    let index = add_closure(&list, entry, work);
    Deferred::new(list, index, id)
}

fn closure_name<F>() -> &'static str {
    std::any::type_name::<F>()
}

/// A handle to a deferred job. Use it to change or cancel the job before it starts.
///
/// Dropping it changes nothing. Its methods have no effect on a job that has started, that has left its line
/// ([`Policy::with_concurrent`], a delay that runs), or that waits for its turn among others. A job that is deferred after the
/// response, or outside of a request, starts at once.
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
    is_superfluous: bool,
}

impl Deferred {
    fn new(list: Arc<JobList>, index: Option<usize>, id: JobId) -> Self {
        Self { list, index, id, is_superfluous: false }
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Cancels the job, unless it has started or left its line, is on its way to the queue, or others were left out for it.
    /// Returns whether this call cancelled it. If so, it runs nowhere.
    pub fn cancel(&self) -> bool {
        self.index.is_some_and(|index| self.list.cancel(index))
    }

    /// Runs the job only after a response that [is a success](ResponseInfo::is_success). Replaces the job's other
    /// conditions, including that of its type.
    pub fn on_success(&self) -> Self {
        self.change(On::Success, Entry::set_on);
        self.clone()
    }

    /// Runs the job after any response. Replaces the job's other conditions, including that of its type.
    pub fn always(&self) -> Self {
        self.change(On::Always, Entry::set_on);
        self.clone()
    }

    /// Runs the job only if `predicate` returns true. It is called once, when the job is about to start. Replaces the
    /// job's other conditions, including that of its type. A predicate that panics fails the job.
    ///
    /// Outside of a request there is no response to ask about, and the job runs.
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

    /// Gives the job a key within its request. Earlier jobs with the same key are cancelled: only the last remains, at its
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
    /// assert!(defer.forget("cart:42"));
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
    /// [`max_pending`](crate::RunnerBuilder::max_pending). A shutdown waits for the job like any other, and names it if it
    /// is not due by the deadline. On a queue the time counts from the push, in whole seconds.
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

    /// Runs the job after those with the same serial key, of whatever type and request: one at a time, in the order in which
    /// their responses ended. A job that fails and tries again keeps its turn until it has ended, and a delayed one comes in
    /// when it is due. The jobs behind it in its own request wait too, as always.
    ///
    /// The order is that of the jobs whose key is set when their response ends. A key that comes later, by a job or through a
    /// [`Defer`], gets its turn when the job's own comes, as a delayed job does; if such a job then has to wait, those behind it in
    /// its request do not. A second key counts only before the response is over.
    ///
    /// It holds within this runner. On a queue it holds within the runner of each worker, the order is that of the worker, and
    /// each attempt takes a new turn. A job that was stopped while it blocked its thread may still be there when the next
    /// starts.
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

    /// Leaves the job out if another with this unique key waits on this runner: one whose response is over, that has not started
    /// and that will run for certain. A job that runs does not count, so that no change is missed, and neither does one that has a
    /// condition, or that the queue has. What was left out is [known](Self::is_superfluous), and counted as cancelled.
    ///
    /// It is looked for now, and again when the response is over. From then on the job that the others are left out for can be
    /// neither cancelled nor put off.
    ///
    /// On a queue, SQLite and Postgres leave a job out while another with its key waits for a worker; it is counted as queued, and
    /// the queue does not know its id. Redis does not.
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
        let is_superfluous =
            self.index.is_some_and(|index| self.list.set_unique(index, self.id, key.as_ref()));
        Self { is_superfluous: self.is_superfluous || is_superfluous, ..self.clone() }
    }

    /// Returns whether [`unique`](Self::unique), which returned this handle, has left the job out: another with its key waits.
    pub fn is_superfluous(&self) -> bool {
        self.is_superfluous
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

/// A handle to the list of the current request's jobs.
///
/// Use it to defer jobs where the request's scope does not reach: in another task, on a thread, in a callback. A clone is
/// a handle to the same list. A job that is pushed after the response has been sent runs at once.
///
/// In axum it is an extractor. Creating one allocates even if nothing is deferred; [`defer`] and its siblings do not need
/// it.
#[derive(Clone)]
pub struct Defer {
    list: Arc<JobList>,
    /// Whether the handle was created inside a job.
    in_job: bool,
}

impl Defer {
    /// Returns a handle to the list of the current scope. `None` outside of any scope, and outside a Tokio runtime.
    pub fn current() -> Option<Self> {
        let list = Current::list()?.ok()?;
        Some(Self { list, in_job: is_in_job() })
    }

    /// Defers a job.
    pub fn push<J: Deferrable>(&self, job: J) -> Deferred {
        push(self.list.clone(), job)
    }

    /// Defers a closure, as [`defer_fn`] does.
    pub fn push_fn<F, Fut>(&self, work: F) -> Deferred
    where
        F: FnOnce(JobContext) -> Fut + Send + 'static,
        Fut: Future<Output: IntoJobResult> + Send + 'static,
    {
        push_fn(self.list.clone(), work)
    }

    /// Lets the request's jobs take over a value, such as the tenant that it is for: they find it by its type, with
    /// [`JobContext::carried`]. It is for all jobs of the request; a second value of the same type replaces the first.
    ///
    /// What a layer outside of the `DeferLayer` has put into the request's extensions need not be handed over: name its type
    /// with `DeferLayer::carry`.
    ///
    /// ```
    /// # use defer_core::{Defer, Runner, defer_fn, scope};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Tenant(String);
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let runner = Runner::default();
    /// # scope(&runner, async {
    /// let defer = Defer::current().expect("this is in a request"); // in axum an extractor
    /// defer.carry(Tenant("acme".into()));
    /// defer_fn(|cx| async move {
    ///     let Tenant(name) = cx.carried()?;
    ///     println!("for {name}");
    ///     Ok(())
    /// });
    /// # }).await;
    /// # runner.idle().await;
    /// # assert_eq!(runner.stats().succeeded, 1);
    /// # }
    /// ```
    pub fn carry<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static>(&self, value: T) {
        self.list.carry(value);
    }

    /// Cancels the jobs with this key that have not started. Returns whether there were any.
    pub fn forget(&self, key: impl AsRef<str>) -> bool {
        self.list.cancel_key(key.as_ref(), None)
    }

    /// Returns how many of the request's jobs can still be cancelled or changed.
    pub fn len(&self) -> usize {
        self.list.waiting()
    }

    /// Returns whether no job is waiting to start.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs a future in this scope. Use it for a future that you give to `tokio::spawn`, which would otherwise have no
    /// scope.
    ///
    /// ```
    /// # use defer_core::{Defer, Runner, defer_fn, scope};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let runner = Runner::default();
    /// # scope(&runner, async {
    /// let defer = Defer::current().expect("this is in a request");
    /// let task = tokio::spawn(defer.scope(async {
    ///     defer_fn(|_| async { println!("after the response") });
    /// }));
    /// # task.await.unwrap();
    /// # }).await;
    /// # runner.idle().await;
    /// # assert_eq!(runner.stats().succeeded, 1);
    /// # }
    /// ```
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::of_list(self.list.clone(), self.in_job, future)
    }
}

impl fmt::Debug for Defer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Defer").field("len", &self.len()).finish_non_exhaustive()
    }
}

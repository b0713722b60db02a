//! The scope of a request: where a deferred job finds the list that it joins.
//!
//! The scope is kept in a thread-local while the request's future is polled, as Tokio's task-locals are. Unlike one
//! of those it holds nothing until the first job is deferred, so that a request without jobs allocates nothing.

use std::{
    borrow::Borrow,
    cell::Cell,
    fmt,
    future::Future,
    mem::{self, ManuallyDrop},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

#[cfg(feature = "testing")]
use crate::runner::RecordedJob;
use crate::{
    context::JobContext,
    error::DeferError,
    exchange::{RequestInfo, ResponseInfo},
    job::{Deferrable, IntoJobResult, JobId},
    policy::{On, Policy},
    runner::{AsyncJob, Batch, BlockingJob, Once, Origin, Runner, Work},
};

thread_local! {
    // Whoever enters a scope leaves it, and so nothing is left here to be dropped when the thread ends: without a
    // destructor, an access is a plain one.
    static CURRENT: Cell<ManuallyDrop<Slot>> = const { Cell::new(ManuallyDrop::new(Slot::None)) };

    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a job, at whatever depth of scopes inside it.
pub(crate) fn is_in_job() -> bool {
    IN_JOB.get()
}

/// What the thread is in the scope of.
pub(crate) enum Slot {
    None,
    /// A request that has deferred nothing.
    Empty(Runner),
    Open(Arc<Batch>),
}

impl Slot {
    /// Calls `f` in this scope. The scope around it, if any, is back when `f` returns or panics.
    #[inline]
    pub(crate) fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        struct Entered<'a>(&'a mut Slot);
        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                self.0.swap();
            }
        }
        self.swap();
        let _entered = Entered(self);
        f()
    }

    fn swap(&mut self) {
        let mine = mem::replace(self, Self::None);
        *self = Self::replace_current(mine);
    }

    fn replace_current(slot: Self) -> Self {
        ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(slot)))
    }
}

/// The batch of the scope around, which is made if this is the first to ask for it.
fn current() -> Option<Result<Arc<Batch>, DeferError>> {
    match Slot::replace_current(Slot::None) {
        Slot::None => None,
        Slot::Open(batch) => {
            let current = batch.clone();
            Slot::replace_current(Slot::Open(batch));
            Some(Ok(current))
        }
        Slot::Empty(runner) => Some(open(runner)),
    }
}

/// Makes the batch of the scope around. The scope is back whatever the subscriber does that is asked for the current
/// span.
fn open(runner: Runner) -> Result<Arc<Batch>, DeferError> {
    struct PutBack(Slot);
    impl Drop for PutBack {
        fn drop(&mut self) {
            Slot::replace_current(mem::replace(&mut self.0, Slot::None));
        }
    }
    let mut slot = PutBack(Slot::Empty(runner));
    let origin = Origin::current()?;
    let Slot::Empty(runner) = mem::replace(&mut slot.0, Slot::None) else {
        return Err(DeferError::NoRuntime);
    };
    let batch = Batch::new(runner, origin);
    slot.0 = Slot::Open(batch.clone());
    Ok(batch)
}

/// Defers a job until the response of the current request is over.
///
/// Outside of any scope, the job runs at once on [`Runner::global`], and a warning says so.
///
/// # Panics
///
/// Outside of a Tokio runtime, where nothing could run the job: see [`try_defer`].
#[track_caller]
pub fn defer<J: Deferrable>(job: J) -> Deferred {
    deferred(try_defer(job))
}

/// Like [`defer`], with an error instead of a panic.
///
/// # Errors
///
/// [`DeferError::NoRuntime`] outside of a Tokio runtime. The job is dropped.
pub fn try_defer<J: Deferrable>(job: J) -> Result<Deferred, DeferError> {
    with_batch(J::NAME, |batch| push(batch, job))
}

/// Defers a closure until the response of the current request is over. It gets a [`JobContext`], returns `()` or a
/// [`JobResult`](crate::JobResult), and runs once.
///
/// Its name in events is the name that the compiler gives it, which tells the function it stands in. Outside of any
/// scope it runs at once on [`Runner::global`], and a warning says so.
///
/// # Panics
///
/// Outside of a Tokio runtime, where nothing could run it: see [`try_defer_fn`].
#[track_caller]
pub fn defer_fn<F, Fut>(work: F) -> Deferred
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    deferred(try_defer_fn(work))
}

/// Like [`defer_fn`], with an error instead of a panic.
///
/// # Errors
///
/// [`DeferError::NoRuntime`] outside of a Tokio runtime. The closure is dropped.
pub fn try_defer_fn<F, Fut>(work: F) -> Result<Deferred, DeferError>
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    with_batch(closure_name::<F>(), |batch| push_fn(batch, work))
}

#[track_caller]
fn deferred(deferred: Result<Deferred, DeferError>) -> Deferred {
    match deferred {
        Ok(deferred) => deferred,
        Err(error) => panic!("{error}"),
    }
}

/// Pushes a job of this name to the scope around, or outside of any to the global runner, which runs it at once.
fn with_batch(name: &'static str, push: impl FnOnce(Arc<Batch>) -> Deferred) -> Result<Deferred, DeferError> {
    if let Some(batch) = current() {
        return Ok(push(batch?));
    }
    let batch = Batch::new(Runner::global(), Origin::current()?);
    tracing::warn!(
        target: "defer",
        name,
        "a job was deferred outside of a request and runs at once on the global runner: add `DeferLayer` to \
         the router, or hand the scope to the task that defers with `Defer::scope`"
    );
    let deferred = push(batch.clone());
    batch.release(None);
    Ok(deferred)
}

fn push<J: Deferrable>(batch: Arc<Batch>, job: J) -> Deferred {
    let policy: &'static Policy = const { &J::POLICY };
    #[cfg(feature = "testing")]
    if batch.runner().is_recording() && !policy.is_blocking() {
        return push_work(batch, RecordedJob(Arc::new(job)), J::NAME, policy);
    }
    if policy.is_blocking() {
        push_work(batch, BlockingJob(Arc::new(job)), J::NAME, policy)
    } else {
        push_work(batch, AsyncJob(job), J::NAME, policy)
    }
}

fn push_fn<F, Fut>(batch: Arc<Batch>, work: F) -> Deferred
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    push_work(batch, Once(Some(work)), closure_name::<F>(), const { &Policy::new() })
}

fn push_work<W: Work>(batch: Arc<Batch>, work: W, name: &'static str, policy: &'static Policy) -> Deferred {
    let (id, index) = batch.push(work, name, policy);
    Deferred { batch, index, id }
}

fn closure_name<F>() -> &'static str {
    std::any::type_name::<F>()
}

/// A handle to one job that was deferred, until it starts.
///
/// Dropping it changes nothing. Its methods have no effect on a job that has started, as one does at once that was
/// deferred after the response or outside of a request.
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
    batch: Arc<Batch>,
    index: usize,
    id: JobId,
}

impl Deferred {
    /// The job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Cancels the job, unless it has started. Returns whether it will not run because of this call.
    pub fn cancel(&self) -> bool {
        self.batch.cancel(self.index)
    }

    /// Runs the job only if [`ResponseInfo::is_success`], whatever its type says.
    pub fn on_success(&self) -> Self {
        drop(self.batch.change(self.index, |entry| entry.set_on(On::Success)));
        self.clone()
    }

    /// Runs the job whatever becomes of the response, whatever its type says.
    pub fn always(&self) -> Self {
        drop(self.batch.change(self.index, |entry| entry.set_on(On::Always)));
        self.clone()
    }

    /// Runs the job only if `predicate` says so, asked once when the job is about to start. It replaces other
    /// conditions, also those of the type. A predicate that panics fails the job.
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
        let mut predicate: Option<crate::collector::Predicate> = Some(Box::new(predicate));
        drop(self.batch.change(self.index, |entry| entry.set_when(predicate.take()?)));
        self.clone()
    }

    /// Gives the job a key. A job of the same request that has the key already is cancelled: the last one stays, in
    /// its own place in the order.
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
        if self.batch.change(self.index, |entry| entry.set_key(key)).is_some() {
            self.batch.cancel_key(key, Some(self.index));
        }
        self.clone()
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The list of the current request's jobs.
///
/// With it jobs can be deferred from where the request's scope does not reach: another task, a thread, a callback.
/// A clone is the same list. A job pushed after the response was sent runs at once.
///
/// In axum it is an extractor. Having one costs an allocation even if nothing is deferred; calls such as
/// [`defer`] do not need it.
#[derive(Clone)]
pub struct Defer {
    batch: Arc<Batch>,
    /// It was asked for in a job.
    in_job: bool,
}

impl Defer {
    /// The list of the scope around; `None` outside of any, and outside of a Tokio runtime.
    pub fn current() -> Option<Self> {
        let batch = current()?.ok()?;
        Some(Self { batch, in_job: is_in_job() })
    }

    /// Defers a job.
    pub fn push<J: Deferrable>(&self, job: J) -> Deferred {
        push(self.batch.clone(), job)
    }

    /// Defers a closure, as [`defer_fn`] does.
    pub fn push_fn<F, Fut>(&self, work: F) -> Deferred
    where
        F: FnOnce(JobContext) -> Fut + Send + 'static,
        Fut: Future<Output: IntoJobResult> + Send + 'static,
    {
        push_fn(self.batch.clone(), work)
    }

    /// Cancels the job with this key, unless it has started. Returns whether there was one.
    pub fn forget(&self, key: impl AsRef<str>) -> bool {
        self.batch.cancel_key(key.as_ref(), None)
    }

    /// How many of the request's jobs have not started.
    pub fn len(&self) -> usize {
        self.batch.waiting()
    }

    /// Whether none of the request's jobs waits to start.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs a future in this scope: for one that is given to `tokio::spawn`, which has none of its own.
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
        Scoped { slot: Slot::Open(self.batch.clone()), in_job: self.in_job, future: Some(future) }
    }
}

impl fmt::Debug for Defer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Defer").field("len", &self.len()).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Defer::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        slot: Slot,
        in_job: bool,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        // What the future holds may defer while it is dropped.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            this.slot.enter(|| this.future.set(None));
        }
    }
}

impl<F> Scoped<F> {
    /// The scope of a job.
    pub(crate) fn of_job(batch: Arc<Batch>, future: F) -> Self {
        Self { slot: Slot::Open(batch), in_job: true, future: Some(future) }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("a future is there until it is dropped");
        let _job = InJob::enter(*this.in_job);
        this.slot.enter(|| future.poll(cx))
    }
}

/// While it is there, the thread runs a job.
struct InJob {
    before: bool,
}

impl InJob {
    fn enter(in_job: bool) -> Self {
        Self { before: IN_JOB.replace(in_job || IN_JOB.get()) }
    }
}

impl Drop for InJob {
    fn drop(&mut self) {
        IN_JOB.set(self.before);
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").finish_non_exhaustive()
    }
}

/// Runs a future in a scope of its own, outside of HTTP: in a command, a consumer, a test. The jobs it defers run
/// after it has completed.
///
/// The runner is given as it is or by reference. Under [`Overflow::Wait`](crate::Overflow::Wait) this waits for room
/// for the jobs, except in a job. Dropped before it completes, it releases them too.
///
/// ```
/// use defer_core::{Runner, defer_fn, scope};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runner = Runner::default();
/// let answer = scope(&runner, async {
///     defer_fn(|_| async { println!("after the command") });
///     42
/// })
/// .await;
/// runner.idle().await;
/// assert_eq!((answer, runner.stats().succeeded), (42, 1));
/// # }
/// ```
pub async fn scope<F: Future>(runner: impl Borrow<Runner>, future: F) -> F::Output {
    let scope = Scope::new(runner.borrow().clone());
    let mut collecting = std::pin::pin!(Collecting { scope, future: Some(future) });
    let output = collecting.as_mut().await;
    if let Some(collected) = collecting.scope.collected() {
        collected.admit().await;
    }
    output
}

pin_project! {
    /// A future and the scope it is in. Dropped, it releases what was collected.
    struct Collecting<F> {
        scope: Scope,
        // `None` when it has completed.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Collecting<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let release = ReleaseOnDrop(this.scope);
            // What the future holds may defer while it is dropped.
            release.0.enter(|| this.future.set(None));
        }
    }
}

impl<F: Future> Future for Collecting<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.scope.enter(|| {
            let future = this.future.as_mut().as_pin_mut();
            let polled = future.expect("a future is not polled after it completed").poll(cx);
            if polled.is_ready() {
                this.future.set(None);
            }
            polled
        })
    }
}

struct ReleaseOnDrop<'a>(&'a mut Scope);

impl Drop for ReleaseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.release(None);
    }
}

/// The scope of one request, for who builds a middleware. `DeferLayer` and [`scope`] are made of it.
///
/// Whoever holds it [enters](Self::enter) it for each poll of the request's handler and body, and
/// [releases](Self::release) it when the response is over. Dropped without a release, its jobs count as abandoned.
pub struct Scope {
    slot: Slot,
}

impl Scope {
    /// A scope without jobs.
    pub fn new(runner: Runner) -> Self {
        Self { slot: Slot::Empty(runner) }
    }

    /// Calls `f` in this scope: jobs deferred in it are collected here.
    #[inline]
    pub fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.slot.enter(f)
    }

    /// Whether anything was collected, or a [`Defer`] given out that could collect later.
    pub fn is_used(&self) -> bool {
        matches!(self.slot, Slot::Open(_))
    }

    /// The jobs collected so far and later; `None` if nothing was.
    pub fn collected(&self) -> Option<Collected> {
        match &self.slot {
            Slot::Open(batch) => Some(Collected(batch.clone())),
            _ => None,
        }
    }

    /// The response is over: hands the jobs to the runner. What is deferred later runs at once. Only the first
    /// release does anything.
    pub fn release(&self, response: Option<ResponseInfo>) {
        if let Slot::Open(batch) = &self.slot {
            batch.release(response);
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("is_used", &self.is_used()).finish_non_exhaustive()
    }
}

/// One request's jobs, which are admitted and released together.
#[derive(Clone)]
pub struct Collected(Arc<Batch>);

impl Collected {
    /// Does what [`admit`](Self::admit) does if there is nothing to wait for, and returns whether that was so.
    pub fn try_admit(&self) -> bool {
        self.0.try_admit()
    }

    /// Waits until the queue has the jobs that are for it, and the runner room for the others. A response is held
    /// back until then.
    ///
    /// Cancel safe: the jobs are as they were, except that a push to the queue may have been done.
    pub async fn admit(&self) {
        self.0.enqueue().await;
        self.0.admit().await;
    }

    /// Lets the jobs know the request they come from. Only the first call does anything.
    pub fn set_request(&self, request: RequestInfo) {
        self.0.set_request(request);
    }

    /// The response is over: hands the jobs to the runner. Only the first release does anything.
    pub fn release(&self, response: Option<ResponseInfo>) {
        self.0.release(response);
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

//! The list that a thread collects for: a thread-local that is set while a future is polled, as Tokio's task-locals are.
//!
//! Unlike a task-local it holds no list until the first job is deferred, so a request without jobs allocates nothing.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    mem::{self, ManuallyDrop},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    engine::Engine,
    list::{JobList, Origin},
};
use crate::model::error::DeferError;

thread_local! {
    // Without a destructor an access is a plain one. There is nothing to destroy: `enter` always puts back what it found.
    static CURRENT: Cell<ManuallyDrop<Current>> = const { Cell::new(ManuallyDrop::new(Current::Outside)) };
}

thread_local! {
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

thread_local! {
    static PARENT: Cell<Option<Parent>> = const { Cell::new(None) };
}

thread_local! {
    static AFTER_POLL: Cell<Option<(usize, AfterPoll)>> = const { Cell::new(None) };
}

/// What to do with a list once the thread leaves its scope, but not that of a nested scope, which ends before. The list is known
/// by its address.
type AfterPoll = fn(&Arc<JobList>);

/// A job that a queue has stored, and that the thread polls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent {
    /// The address of its list, which is compared and nothing else.
    list: usize,
    index: usize,
}

/// The jobs that a future is a part of.
#[derive(Clone, Copy, Default)]
pub(crate) struct PartOf {
    in_job: bool,
    parent: Option<Parent>,
}

impl PartOf {
    /// Returns what the thread polls.
    pub(crate) fn current() -> Self {
        let in_job = is_in_job();
        Self { in_job, parent: if in_job { PARENT.get() } else { None } }
    }

    fn enter(self) -> Option<(InJob, InParent)> {
        self.in_job.then(|| (InJob::enter(), InParent::replace(self.parent)))
    }
}

/// Returns the index of the job of this list that the thread polls, if a queue has stored that.
pub(crate) fn parent_in(list: &Arc<JobList>) -> Option<usize> {
    let parent = PARENT.get()?;
    (parent.list == Arc::as_ptr(list).addr()).then_some(parent.index)
}

/// Marks the thread as polling a job that a queue has stored, until this is dropped.
pub(crate) struct InParent {
    before: Option<Parent>,
}

impl InParent {
    pub(crate) fn enter(list: &Arc<JobList>, index: usize) -> Self {
        Self::replace(Some(Parent { list: Arc::as_ptr(list).addr(), index }))
    }

    fn replace(parent: Option<Parent>) -> Self {
        Self { before: PARENT.replace(parent) }
    }
}

impl Drop for InParent {
    fn drop(&mut self) {
        PARENT.set(self.before);
    }
}

/// Calls `f` for this list once the thread leaves its scope; at once if it is not in that.
pub(crate) fn after_poll(list: &Arc<JobList>, f: AfterPoll) {
    let current = Current::replace(Current::Outside);
    let is_current = matches!(&current, Current::Used(current) if Arc::ptr_eq(current, list));
    Current::replace(current);
    let address = Arc::as_ptr(list).addr();
    let is_free = AFTER_POLL.get().is_none_or(|(of, _)| of == address);
    if is_current && is_free {
        AFTER_POLL.set(Some((address, f)));
    } else {
        f(list);
    }
}

/// The scope that a thread is in.
pub(crate) enum Current {
    Outside,
    /// A request that has deferred nothing.
    Unused(Arc<Engine<JobList>>),
    Used(Arc<JobList>),
}

impl Current {
    /// Enters this scope until the guard is dropped. Then the scope around it is back.
    #[inline]
    pub(crate) fn enter(&mut self) -> Entered<'_> {
        self.swap();
        Entered(self)
    }

    #[inline]
    fn swap(&mut self) {
        let mine = mem::replace(self, Self::Outside);
        *self = Self::replace(mine);
    }

    #[inline]
    fn replace(current: Self) -> Self {
        ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(current)))
    }

    /// Returns the list of the current scope, creating it on first use. `None` outside of any scope.
    pub(crate) fn list() -> Option<Result<Arc<JobList>, DeferError>> {
        match Self::replace(Self::Outside) {
            Self::Outside => None,
            Self::Used(list) => {
                Self::replace(Self::Used(list.clone()));
                Some(Ok(list))
            }
            Self::Unused(engine) => Some(Self::create_list(engine)),
        }
    }

    fn create_list(engine: Arc<Engine<JobList>>) -> Result<Arc<JobList>, DeferError> {
        /// Puts the scope back. A subscriber may panic below, when it is asked for the current span.
        struct PutBack(Current);
        impl Drop for PutBack {
            fn drop(&mut self) {
                Current::replace(mem::replace(&mut self.0, Current::Outside));
            }
        }
        let mut scope = PutBack(Self::Unused(engine));
        let origin = Origin::current()?;
        let Self::Unused(engine) = mem::replace(&mut scope.0, Self::Outside) else {
            return Err(DeferError::NoRuntime);
        };
        let list = JobList::new(engine, origin);
        scope.0 = Self::Used(list.clone());
        Ok(list)
    }
}

/// A scope that the thread is in until this is dropped.
pub(crate) struct Entered<'a>(&'a mut Current);

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.swap();
        if AFTER_POLL.get().is_some() {
            self.after_poll();
        }
    }
}

impl Entered<'_> {
    #[cold]
    fn after_poll(&self) {
        let Current::Used(list) = &*self.0 else { return };
        if let Some((_, f)) = AFTER_POLL.get().filter(|(of, _)| *of == Arc::as_ptr(list).addr()) {
            AFTER_POLL.set(None);
            f(list);
        }
    }
}

/// Calls `f` with the list of the thread's scope, if it has one. `f` must not panic, nor look at the scope.
pub(crate) fn with_list<R>(f: impl FnOnce(&JobList) -> R) -> Option<R> {
    let current = Current::replace(Current::Outside);
    let result = match &current {
        Current::Used(list) => Some(f(list)),
        Current::Outside | Current::Unused(_) => None,
    };
    Current::replace(current);
    result
}

/// Calls `f` outside of any scope.
pub(crate) fn outside<R>(f: impl FnOnce() -> R) -> R {
    let mut outside = Current::Outside;
    let _entered = outside.enter();
    f()
}

/// Returns whether this thread polls a job, however many scopes deep.
pub(crate) fn is_in_job() -> bool {
    IN_JOB.get()
}

/// Marks the thread as polling a job until this is dropped.
pub(crate) struct InJob {
    before: bool,
}

impl InJob {
    #[inline]
    pub(crate) fn enter() -> Self {
        Self { before: IN_JOB.replace(true) }
    }
}

impl Drop for InJob {
    #[inline]
    fn drop(&mut self) {
        IN_JOB.set(self.before);
    }
}

pin_project! {
    /// A future in a scope. Returned by [`Defer::scope`](crate::Defer::scope).
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        current: Current,
        part_of: PartOf,
        // `None` once it has completed.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            this.drop_future();
        }
    }
}

impl<F> Scoped<F> {
    pub(crate) fn new(current: Current, future: F) -> Self {
        Self { current, part_of: PartOf::default(), future: Some(future) }
    }

    /// A future in the scope of this list. One that is part of a job waits for no room.
    pub(crate) fn of_list(list: Arc<JobList>, part_of: PartOf, future: F) -> Self {
        Self { current: Current::Used(list), part_of, future: Some(future) }
    }

    /// A future in the scope that the thread is in, if any.
    pub(crate) fn inherit(future: F) -> Self {
        let current = match Current::list() {
            Some(Ok(list)) => Current::Used(list),
            Some(Err(_)) | None => Current::Outside,
        };
        Self { current, part_of: PartOf::current(), future: Some(future) }
    }

    pub(crate) fn current(&self) -> &Current {
        &self.current
    }

    /// Drops the future in its scope: what it holds may defer while it is dropped.
    pub(crate) fn drop_future(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.future.is_some() {
            let _entered = this.current.enter();
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _part_of = this.part_of.enter();
        let _entered = this.current.enter();
        poll_once(this.future, cx)
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").finish_non_exhaustive()
    }
}

pin_project! {
    /// A future in the scope of a list, as small as it can be: each request with jobs has one for its worker.
    pub(crate) struct InList<F> {
        list: Arc<JobList>,
        // `None` once it has completed.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for InList<F> {
        // Values in the future may defer while they are dropped.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let mut current = Current::Used(this.list.clone());
                let _entered = current.enter();
                this.future.set(None);
            }
        }
    }
}

impl<F> InList<F> {
    pub(crate) fn new(list: Arc<JobList>, future: F) -> Self {
        Self { list, future: Some(future) }
    }
}

impl<F: Future> Future for InList<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut current = Current::Used(this.list.clone());
        let _entered = current.enter();
        poll_once(this.future, cx)
    }
}

/// Polls a future, and drops it once it has completed: while its scope is entered.
#[inline]
fn poll_once<F: Future>(mut future: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let polled = future.as_mut().as_pin_mut().expect("a future is not polled after it completed").poll(cx);
    if polled.is_ready() {
        future.set(None);
    }
    polled
}

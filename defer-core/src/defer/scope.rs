//! The scope of one request.

use std::{
    borrow::Borrow,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::Arc,
};

use http::StatusCode;

use crate::{
    list::{
        current::{Current, Scoped},
        list::JobList,
    },
    model::response::ResponseInfo,
    primitives::BoxFuture,
    runner::Runner,
};

/// Runs a future in its own scope, outside HTTP: in a command, a message consumer or a test. The jobs that it defers start
/// after it has completed.
///
/// Pass the runner by value or by reference. Before it returns, it waits until durable jobs are stored. Under
/// [`Overflow::Wait`](crate::Overflow::Wait), it also waits until there is room for the other jobs, except inside a job.
///
/// # Cancel safety
///
/// If this is dropped before it completes, the future is dropped, and the jobs deferred so far are released.
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
    let scoped = pin!(Scoped::new(Current::Unused(runner.borrow().engine.clone()), future));
    let mut scoped = ReleaseOnDrop(scoped);
    let output = scoped.0.as_mut().await;
    if let Current::Used(list) = scoped.0.current() {
        list.admit(None).await;
    }
    output
}

/// Drops a future, and then releases what it has deferred.
struct ReleaseOnDrop<'a, F>(Pin<&'a mut Scoped<F>>);

impl<F> Drop for ReleaseOnDrop<'_, F> {
    fn drop(&mut self) {
        let dropped = catch_unwind(AssertUnwindSafe(|| self.0.as_mut().drop_future()));
        if let Current::Used(list) = self.0.current() {
            list.release(None);
        }
        if let Err(panic) = dropped {
            resume_unwind(panic);
        }
    }
}

/// The scope of one request. Use it to write your own middleware, as `DeferLayer` does.
///
/// [Enter](Self::enter) it for each poll of the request's handler and body, and [release](Self::release) it when the
/// response is over. Jobs of a scope that is dropped without a release are abandoned.
pub struct Scope {
    current: Current,
}

impl Scope {
    /// Creates a scope without jobs.
    pub fn new(runner: Runner) -> Self {
        Self { current: Current::Unused(runner.engine) }
    }

    /// Returns another scope of the same request. Both share the [`list`](Self::list), if this one has a list; otherwise each
    /// gets its own with its first job.
    #[must_use]
    pub fn share(&self) -> Self {
        let current = match &self.current {
            Current::Outside => Current::Outside,
            Current::Unused(engine) => Current::Unused(engine.clone()),
            Current::Used(list) => Current::Used(list.clone()),
        };
        Self { current }
    }

    /// Calls `f` in this scope, which collects the jobs that are deferred in it.
    #[inline]
    pub fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let _entered = self.current.enter();
        f()
    }

    /// Returns whether the scope has a [`list`](Self::list).
    pub fn is_used(&self) -> bool {
        matches!(self.current, Current::Used(_))
    }

    /// Returns the list of the scope's jobs. `None` if nothing was deferred and no [`Defer`](crate::Defer) was given out
    /// that could defer later.
    pub fn list(&self) -> Option<Arc<JobList>> {
        match &self.current {
            Current::Used(list) => Some(list.clone()),
            Current::Outside | Current::Unused(_) => None,
        }
    }

    /// Starts storing durable jobs, like [`JobList::store`].
    #[inline]
    pub fn store(&self, status: StatusCode) -> Option<BoxFuture<'static, ()>> {
        match &self.current {
            Current::Used(list) => list.store(status),
            Current::Outside | Current::Unused(_) => None,
        }
    }

    /// Releases the jobs, like [`JobList::release`].
    pub fn release(&self, response: Option<ResponseInfo>) {
        if let Current::Used(list) = &self.current {
            list.release(response);
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("is_used", &self.is_used()).finish_non_exhaustive()
    }
}

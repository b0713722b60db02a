//! A handle to a request's list.

use std::{fmt, future::Future, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    deferred::Deferred,
    functions::{closure_type, join},
};
#[cfg(doc)]
use crate::{defer, defer_fn};
use crate::{
    job::{
        context::JobContext,
        job::{Deferrable, IntoJobResult, job_type},
    },
    list::{
        current::{Current, PartOf, Scoped},
        list::JobList,
    },
    run::segment::{NewClosure, NewJob},
};

/// A handle to the list of the current request's jobs.
///
/// Use it to defer jobs outside the request's scope: in another task, on a thread, in a callback. A clone is a handle to the
/// same list. A job that is pushed after the response has been sent joins the end of the line, and runs immediately if the line
/// is empty.
///
/// In axum, it is an extractor. Creating one allocates even if nothing is deferred. [`defer`] and its siblings do not need it.
#[derive(Clone)]
pub struct Defer {
    list: Arc<JobList>,
    /// The future in which the handle was created.
    part_of: PartOf,
}

impl Defer {
    /// Returns a handle to the list of the current scope. `None` outside any scope and outside a Tokio runtime.
    pub fn current() -> Option<Self> {
        let list = Current::list()?.ok()?;
        Some(Self { list, part_of: PartOf::current() })
    }

    /// Defers a job.
    pub fn push<J: Deferrable>(&self, job: J) -> Deferred {
        join(self.list.clone(), job_type::<J>(), &mut NewJob::new(job))
    }

    /// Defers a closure, like [`defer_fn`].
    pub fn push_fn<F, Fut>(&self, work: F) -> Deferred
    where
        F: FnOnce(JobContext) -> Fut + Send + 'static,
        Fut: Future<Output: IntoJobResult> + Send + 'static,
    {
        join(self.list.clone(), closure_type::<F>(), &mut NewClosure::new(work))
    }

    /// Sets an extension of the request for its jobs, such as the tenant. All jobs of the request see it: they get it by its
    /// type, with [`JobContext::extension`]. A second value of the same type replaces the first.
    ///
    /// You do not have to set extensions again that a layer outside the `DeferLayer` has put on the request: name their type
    /// with `DeferLayer::capture_extension`.
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
    /// defer.insert_extension(Tenant("acme".into()));
    /// defer_fn(|cx| async move {
    ///     let Tenant(name) = cx.extension()?;
    ///     println!("for {name}");
    ///     Ok(())
    /// });
    /// # }).await;
    /// # runner.idle().await;
    /// # assert_eq!(runner.stats().succeeded, 1);
    /// # }
    /// ```
    pub fn insert_extension<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static>(
        &self,
        value: T,
    ) {
        let _replaced = self.list.lock().extensions.get_or_insert_default().insert(value);
    }

    /// Cancels the jobs with this key that have neither started nor left their line. Returns whether there were any.
    pub fn cancel_key(&self, key: impl AsRef<str>) -> bool {
        self.list.cancel_key(key.as_ref(), None)
    }

    /// Returns the number of the request's jobs that can still be cancelled or changed.
    pub fn len(&self) -> usize {
        self.list.waiting()
    }

    /// Returns whether no job is waiting to start.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs a future in this scope. Use it for a future that you pass to `tokio::spawn`, which otherwise has no scope.
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
        Scoped::of_list(self.list.clone(), self.part_of, future)
    }
}

impl fmt::Debug for Defer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Defer").field("len", &self.len()).finish_non_exhaustive()
    }
}

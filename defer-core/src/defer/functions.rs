//! The functions that defer a job.

use std::{future::Future, sync::Arc};

use super::deferred::Deferred;
use crate::{
    job::{
        context::JobContext,
        job::{Deferrable, IntoJobResult, job_type},
    },
    list::{
        current::Current,
        entry::Entry,
        list::{JobList, Origin},
    },
    model::{error::DeferError, id::JobId, job_type::JobType, policy::Policy},
    run::{
        join::{Incoming, add},
        segment::{NewClosure, NewJob},
    },
    runner::Runner,
};

/// Defers a job until the response of the current request is over.
///
/// The derive's `MyJob::defer(..)` takes the fields one after another. This function takes the job itself. Use it for a job
/// that exists already, or to name the fields, as in `defer(Transfer { from: 1, to: 2 })`.
///
/// Outside any scope, the job runs immediately on [`Runner::global`], and a warning is logged.
///
/// # Panics
///
/// Outside a Tokio runtime, where nothing can run the job. See [`try_defer`].
#[track_caller]
pub fn defer<J: Deferrable>(job: J) -> Deferred {
    or_panic(try_defer(job))
}

/// Like [`defer`], but returns an error instead of panicking.
///
/// # Errors
///
/// [`DeferError::NoRuntime`] outside a Tokio runtime. The job is dropped.
pub fn try_defer<J: Deferrable>(job: J) -> Result<Deferred, DeferError> {
    defer_incoming(job_type::<J>(), &mut NewJob::new(job))
}

/// Defers a closure until the response of the current request is over. The closure takes a [`JobContext`], returns `()` or a
/// [`JobResult`](crate::JobResult), and runs once.
///
/// Events show the name that the compiler gives it, which includes the enclosing function. Outside any scope, it runs
/// immediately on [`Runner::global`], and a warning is logged.
///
/// # Panics
///
/// Outside a Tokio runtime, where nothing can run the closure. See [`try_defer_fn`].
#[track_caller]
pub fn defer_fn<F, Fut>(work: F) -> Deferred
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    or_panic(try_defer_fn(work))
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
    defer_incoming(closure_type::<F>(), &mut NewClosure::new(work))
}

#[track_caller]
fn or_panic(deferred: Result<Deferred, DeferError>) -> Deferred {
    match deferred {
        Ok(deferred) => deferred,
        Err(error) => panic!("{error}"),
    }
}

/// Adds a job to the list of the current scope or, outside of any, to one of the global runner.
fn defer_incoming(kind: &'static JobType, job: &mut dyn Incoming) -> Result<Deferred, DeferError> {
    match Current::list() {
        Some(list) => Ok(join(list?, kind, job)),
        None => defer_globally(kind, job),
    }
}

/// Adds a job to a list of the global runner, which is released immediately.
#[cold]
fn defer_globally(kind: &'static JobType, job: &mut dyn Incoming) -> Result<Deferred, DeferError> {
    let list = JobList::new(Runner::global().engine, Origin::current()?);
    tracing::warn!(
        target: "defer",
        job = kind.name(),
        "a job was deferred outside of a request and runs at once on the global runner: add `DeferLayer` to \
         the router, after any middleware that defers, because one that wraps the layer has no scope; or hand \
         the scope to the task that defers with `Defer::scope`"
    );
    let deferred = join(list.clone(), kind, job);
    list.release(None);
    Ok(deferred)
}

/// Adds a job to a list.
#[inline(always)]
pub(super) fn join(list: Arc<JobList>, kind: &'static JobType, job: &mut dyn Incoming) -> Deferred {
    let id = JobId::next();
    let index = add(&list, Entry::new(id, kind), job);
    Deferred::new(list, index, id)
}

/// Returns the type of a closure, named as the compiler names the closure.
pub(super) fn closure_type<F>() -> &'static JobType {
    const { &JobType::new(std::any::type_name::<F>, Policy::new()) }
}

//! The kinds of jobs: plain ones on the runtime, shared ones, and closures.

use std::{
    future::{Future, ready},
    sync::Arc,
    time::Duration,
};

use super::{
    blocking::on_pool,
    context::JobContext,
    job::{Deferrable, IntoJobResult},
    middleware::wrap_blocking,
};
#[cfg(feature = "testing")]
use crate::list::shared::{SharedJob, Show};
use crate::{
    limits::keyed_semaphore::Slot,
    list::list::Gate,
    model::error::{JobError, JobResult},
};

/// The work of an attempt: a job or a closure.
pub(crate) trait Work: Send + 'static {
    /// Whether attempts are boxed futures, of one type for all jobs, instead of being part of their worker.
    const IS_BOXED: bool = false;

    /// Runs the job. It may panic before it returns its future, so call this inside another future.
    fn run(&mut self, cx: &JobContext) -> impl Future<Output = JobResult> + Send;

    /// Runs the job. If the job has a thread of its own, the thread keeps these turns until it returns, even if this future is
    /// dropped earlier.
    fn run_with(&mut self, cx: &JobContext, turns: Vec<Slot>) -> impl Future<Output = JobResult> + Send {
        drop(turns);
        self.run(cx)
    }

    /// Calls the job's `failed`. It may panic like [`run`](Self::run).
    fn failed(&mut self, cx: &JobContext, error: &JobError) -> impl Future<Output = ()> + Send {
        let _ = (cx, error);
        ready(())
    }

    /// Returns the gate that the job waits at instead of for a permit, if its type has one.
    fn gate(&mut self) -> Option<&mut dyn Gate> {
        None
    }

    /// Returns the job, if it is shared.
    #[cfg(feature = "testing")]
    fn shared(&self) -> Option<SharedJob> {
        None
    }
}

/// A job on the runtime's worker threads.
pub(crate) struct Plain<J>(pub(crate) J);

impl<J: Deferrable> Work for Plain<J> {
    fn run(&mut self, cx: &JobContext) -> impl Future<Output = JobResult> + Send {
        self.0.run(cx)
    }

    fn failed(&mut self, cx: &JobContext, error: &JobError) -> impl Future<Output = ()> + Send {
        self.0.failed(cx, error)
    }
}

/// A job with other owners than its list: a thread on the blocking pool may still have it after a timeout, and a test may look at
/// it.
pub(crate) struct Shared<J>(pub(crate) Arc<J>);

impl<J: Deferrable> Work for Shared<J> {
    const IS_BOXED: bool = true;

    fn run(&mut self, cx: &JobContext) -> impl Future<Output = JobResult> + Send {
        self.run_with(cx, Vec::new())
    }

    async fn run_with(&mut self, cx: &JobContext, turns: Vec<Slot>) -> JobResult {
        #[cfg(feature = "testing")]
        if cx.list().is_faked(cx.id(), shared(&self.0)) {
            return Ok(());
        }
        if const { J::POLICY.is_blocking() } {
            let (job, cx) = (self.0.clone(), cx.clone());
            let run = async move { wrap_blocking(&cx, Box::pin(async { job.run(&cx).await })).await };
            on_pool(Box::pin(run), turns).await
        } else {
            self.0.run(cx).await
        }
    }

    async fn failed(&mut self, cx: &JobContext, error: &JobError) {
        if const { J::POLICY.is_blocking() } {
            let (job, cx, error) = (self.0.clone(), cx.clone(), error.clone());
            let told = async move {
                job.failed(&cx, &error).await;
                Ok(())
            };
            // The only error is that it was stopped.
            let _ = on_pool(Box::pin(told), Vec::new()).await;
        } else {
            self.0.failed(cx, error).await;
        }
    }

    #[cfg(feature = "testing")]
    fn shared(&self) -> Option<SharedJob> {
        Some(shared(&self.0))
    }
}

#[cfg(feature = "testing")]
pub(crate) fn shared<J: Deferrable>(job: &Arc<J>) -> SharedJob {
    SharedJob {
        job: job.clone(),
        batch_size: J::BATCH.map(|batching| batching.size),
        show: J::SHOW.map(|_| -> Show {
            |job, f| match (J::SHOW, job.downcast_ref()) {
                (Some(show), Some(job)) => show(job, f),
                _ => Ok(()),
            }
        }),
    }
}

/// A closure, which gets one attempt.
pub(crate) struct Once<F>(pub(crate) Option<F>);

impl<F, Fut> Work for Once<F>
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send,
{
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        match self.0.take() {
            Some(work) => work(cx.clone()).await.into_job_result().map_err(only_once),
            // Middleware may have made it snooze.
            None => Err(only_once(JobError::snooze(Duration::ZERO))),
        }
    }
}

/// Returns the error of a closure that asks to run again, which it cannot.
fn only_once(error: JobError) -> JobError {
    if !error.is_snooze() {
        return error;
    }
    JobError::msg("a closure runs once, and cannot snooze: make a job type of it").fatal()
}

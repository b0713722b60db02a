//! The kinds of work: a job on the runtime, a job on the blocking pool, a closure.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use tokio::{sync::oneshot, task::JoinHandle};

#[cfg(feature = "testing")]
use crate::attempt::SharedJob;
use crate::{
    attempt::Work,
    context::JobContext,
    error::{BoxError, JobError, JobResult},
    job::{Deferrable, IntoJobResult},
    scope::Scoped,
};

/// A job on the runtime's worker threads.
pub(crate) struct AsyncJob<J>(pub(crate) J);

impl<J: Deferrable> Work for AsyncJob<J> {
    // An async block around `run`: a job may do something, and panic, before it returns its future.
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        self.0.run(cx).await
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        J::ENCODE.map(|encode| encode(&self.0))
    }
}

/// A job that a recorder keeps and that tests may look at.
#[cfg(feature = "testing")]
pub(crate) struct RecordedJob<J>(pub(crate) Arc<J>);

#[cfg(feature = "testing")]
impl<J: Deferrable> Work for RecordedJob<J> {
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        self.0.run(cx).await
    }

    fn job(&self) -> Option<SharedJob> {
        Some(self.0.clone())
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        J::ENCODE.map(|encode| encode(&self.0))
    }
}

/// A job on the blocking pool. Shared with its thread, which may still have it after a timeout.
pub(crate) struct BlockingJob<J>(pub(crate) Arc<J>);

impl<J: Deferrable> Work for BlockingJob<J> {
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        let job = self.0.clone();
        let cx = cx.clone();
        let runtime = tokio::runtime::Handle::current();
        let span = tracing::Span::current();
        let (stop, stopped) = oneshot::channel();
        let scoped = Scoped::inherit(async move { unless(stopped, job.run(&cx)).await });
        let task = tokio::task::spawn_blocking(move || {
            let _entered = span.enter();
            runtime.block_on(scoped)
        });
        let mut on_pool = OnPool { task, _stop: stop };
        match (&mut on_pool.task).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(feature = "testing")]
    fn job(&self) -> Option<SharedJob> {
        Some(self.0.clone())
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        J::ENCODE.map(|encode| encode(&self.0))
    }
}

/// A task on the blocking pool. If dropped before the job has a thread, the job never starts: one that timed out must not
/// run later. If dropped after that, the job stops at its next `.await`.
struct OnPool {
    task: JoinHandle<JobResult>,
    _stop: oneshot::Sender<Infallible>,
}

impl Drop for OnPool {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a job until it completes or is stopped.
async fn unless(
    mut stopped: oneshot::Receiver<Infallible>,
    run: impl Future<Output = JobResult>,
) -> JobResult {
    let mut run = pin!(run);
    poll_fn(|cx| {
        if Pin::new(&mut stopped).poll(cx).is_ready() {
            return Poll::Ready(Err(JobError::msg("stopped")));
        }
        run.as_mut().poll(cx)
    })
    .await
}

/// A closure, which has one attempt.
pub(crate) struct Once<F>(pub(crate) Option<F>);

impl<F, Fut> Work for Once<F>
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send,
{
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        match self.0.take() {
            Some(work) => work(cx.clone()).await.into_job_result(),
            None => Ok(()),
        }
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        None
    }
}

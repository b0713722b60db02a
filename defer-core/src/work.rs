//! The kinds of work: a job on the runtime, a job on the blocking pool, a closure.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle};

#[cfg(feature = "testing")]
use crate::attempt::SharedJob;
use crate::{
    around,
    attempt::Work,
    context::JobContext,
    error::{BoxError, JobError, JobResult},
    future::BoxFuture,
    job::{Deferrable, IntoJobResult},
    list::{Entry, JobList},
    policy::JobType,
    scope::Scoped,
    watchdog::Watchdog,
};

/// Returns the type of a job.
pub(crate) fn job_type<J: Deferrable>() -> &'static JobType {
    const { &JobType::new(|| J::NAME, J::POLICY) }
}

/// Adds a job to a list, as the kind of work that its type and the list's runner ask for. Returns its index, or `None` if it
/// was shed.
pub(crate) fn add_job<J: Deferrable>(list: &Arc<JobList>, entry: Entry, job: J) -> Option<usize> {
    let is_blocking = const { J::POLICY.is_blocking() };
    #[cfg(feature = "testing")]
    if list.runner().is_recording() {
        let job = Arc::new(job);
        return match is_surrounded(list) {
            _ if is_blocking => list.add(entry, BlockingJob(job)),
            true => list.add(entry, Surrounded::new(list, RecordedJob(job))),
            false => list.add(entry, RecordedJob(job)),
        };
    }
    if is_blocking {
        list.add(entry, BlockingJob(Arc::new(job)))
    } else if is_surrounded(list) {
        list.add(entry, Surrounded::new(list, AsyncJob::<J, BOXED>(job)))
    } else {
        list.add(entry, AsyncJob::<J, PLAIN>(job))
    }
}

/// Adds a closure to a list, as [`add_job`] adds a job.
pub(crate) fn add_closure<F, Fut>(list: &Arc<JobList>, entry: Entry, closure: F) -> Option<usize>
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    if is_surrounded(list) {
        list.add(entry, Surrounded::new(list, Once::<F, BOXED>(Some(closure))))
    } else {
        list.add(entry, Once::<F, PLAIN>(Some(closure)))
    }
}

/// Returns whether the runner puts something around its jobs, or watches them. Those that block see to the first themselves, on
/// their own thread, and may do what the watchdog is there for.
fn is_surrounded(list: &JobList) -> bool {
    list.runner().is_surrounding()
}

/// Where a kind of work is boxed it is another type, so that the plain one has one caller, and is inlined there.
const BOXED: bool = true;
const PLAIN: bool = false;

/// A job with what its runner puts around each attempt. A kind of its own, so that jobs without pay nothing for it.
struct Surrounded {
    work: Box<dyn AnyWork>,
    watchdog: Option<Arc<Watchdog>>,
}

impl Surrounded {
    fn new(list: &JobList, work: impl Work) -> Self {
        Self { work: Box::new(work), watchdog: list.runner().watchdog().cloned() }
    }
}

/// A [`Work`] of a type that is not known.
trait AnyWork: Send {
    fn run<'a>(&'a mut self, cx: &'a JobContext) -> BoxFuture<'a, JobResult>;
    fn failed<'a>(&'a mut self, cx: &'a JobContext, error: &'a JobError) -> BoxFuture<'a, ()>;
    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>>;
    #[cfg(feature = "testing")]
    fn job(&self) -> Option<SharedJob>;
}

impl<W: Work> AnyWork for W {
    fn run<'a>(&'a mut self, cx: &'a JobContext) -> BoxFuture<'a, JobResult> {
        Box::pin(Work::run(self, cx))
    }

    fn failed<'a>(&'a mut self, cx: &'a JobContext, error: &'a JobError) -> BoxFuture<'a, ()> {
        Box::pin(Work::failed(self, cx, error))
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        Work::encode(self)
    }

    #[cfg(feature = "testing")]
    fn job(&self) -> Option<SharedJob> {
        Work::job(self)
    }
}

impl Work for Surrounded {
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        let Self { work, watchdog } = self;
        let run = around::run(cx.arounds(), cx, work.run(cx));
        match watchdog {
            Some(watchdog) => watchdog.watch(cx, run).await,
            None => run.await,
        }
    }

    async fn failed(&mut self, cx: &JobContext, error: &JobError) {
        self.work.failed(cx, error).await;
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        self.work.encode()
    }

    #[cfg(feature = "testing")]
    fn job(&self) -> Option<SharedJob> {
        self.work.job()
    }
}

/// A job on the runtime's worker threads.
struct AsyncJob<J, const BOXED: bool>(J);

impl<J: Deferrable, const BOXED: bool> Work for AsyncJob<J, BOXED> {
    // An async block around `run`: a job may do something, and panic, before it returns its future.
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        self.0.run(cx).await
    }

    async fn failed(&mut self, cx: &JobContext, error: &JobError) {
        self.0.failed(cx, error).await;
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        J::ENCODE.map(|encode| encode(&self.0))
    }
}

/// A job that a recorder keeps and that tests may look at.
#[cfg(feature = "testing")]
struct RecordedJob<J>(Arc<J>);

#[cfg(feature = "testing")]
impl<J: Deferrable> Work for RecordedJob<J> {
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        self.0.run(cx).await
    }

    async fn failed(&mut self, cx: &JobContext, error: &JobError) {
        self.0.failed(cx, error).await;
    }

    fn job(&self) -> Option<SharedJob> {
        Some(self.0.clone())
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        J::ENCODE.map(|encode| encode(&self.0))
    }
}

/// A job on the blocking pool. Shared with its thread, which may still have it after a timeout.
struct BlockingJob<J>(Arc<J>);

impl<J: Deferrable> Work for BlockingJob<J> {
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        let (job, cx) = (self.0.clone(), cx.clone());
        // What is around the job is on its thread.
        on_pool(async move { around::run(cx.arounds(), &cx, Box::pin(async { job.run(&cx).await })).await })
            .await
    }

    async fn failed(&mut self, cx: &JobContext, error: &JobError) {
        let (job, cx, error) = (self.0.clone(), cx.clone(), error.clone());
        let told = async move {
            job.failed(&cx, &error).await;
            Ok(())
        };
        // There is no error but that it was stopped.
        let _ = on_pool(told).await;
    }

    #[cfg(feature = "testing")]
    fn job(&self) -> Option<SharedJob> {
        Some(self.0.clone())
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        J::ENCODE.map(|encode| encode(&self.0))
    }
}

/// Runs a part of a job on a thread of the pool, in its scope and its span.
async fn on_pool(part: impl Future<Output = JobResult> + Send + 'static) -> JobResult {
    let runtime = tokio::runtime::Handle::current();
    let span = tracing::Span::current();
    let (stop, stopped) = oneshot::channel();
    let scoped = Scoped::inherit(async move { unless(stopped, part).await });
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

/// A closure cannot be run again, though it asks for that.
fn only_once(error: JobError) -> JobError {
    if !error.is_snooze() {
        return error;
    }
    JobError::msg("a closure runs once, and cannot snooze: make a job type of it").fatal()
}

/// A closure, which has one attempt.
struct Once<F, const BOXED: bool>(Option<F>);

impl<F, Fut, const BOXED: bool> Work for Once<F, BOXED>
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send,
{
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        match self.0.take() {
            Some(work) => work(cx.clone()).await.into_job_result().map_err(only_once),
            // What is around it lets it snooze.
            None => Err(only_once(JobError::snooze(Duration::ZERO))),
        }
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        None
    }
}

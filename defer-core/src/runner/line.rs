//! Jobs of one type that were deferred one after another, kept together and run by one future.
//!
//! This is what makes ten jobs cheaper than ten tasks: the jobs lie side by side in one vector, and the future that
//! runs them is allocated once for all of them.

use std::{
    any::Any,
    convert::Infallible,
    future::{Future, poll_fn},
    ops::Range,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use tokio::{sync::oneshot, task::JoinHandle};

use super::worker::Worker;
use crate::{
    context::JobContext,
    error::{BoxError, JobError, JobResult},
    job::{Deferrable, IntoJobResult},
    panic::drop_quietly,
    queue::BoxFuture,
    scope::Defer,
};

/// What a runner runs: a job, or a closure.
pub(crate) trait Work: Send + 'static {
    /// Does nothing before it is polled.
    fn run(&mut self, cx: &JobContext) -> impl Future<Output = JobResult> + Send;

    /// The job, if it is shared.
    #[cfg(feature = "testing")]
    fn job(&self) -> Option<SharedJob> {
        None
    }

    /// The job as a queue keeps it; `None` for one that is not for a queue.
    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>>;
}

/// A job that a test may look at, whoever else has it.
#[cfg(feature = "testing")]
pub(crate) type SharedJob = Arc<dyn Any + Send + Sync>;

/// A line of works of a type that only the line knows.
pub(crate) trait Line: Send {
    /// Spawns a worker that begins with this line.
    fn spawn(self: Box<Self>, worker: Worker) -> JoinHandle<()>;

    /// Runs the works, from the first to the last.
    fn run<'a>(&'a mut self, worker: &'a mut Worker) -> BoxFuture<'a, ()>;

    /// Takes one out, to be dropped.
    fn take(&mut self, index: usize) -> Option<Box<dyn Send>>;

    /// One of them, if it is shared.
    #[cfg(feature = "testing")]
    fn job(&self, index: usize) -> Option<SharedJob>;

    /// The line itself, so that another work of its type can join.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// A line of works of type `W`. The first is kept in place, so that a single one needs no vector.
pub(crate) struct Row<W> {
    start: usize,
    first: Option<W>,
    rest: Vec<Option<W>>,
}

impl<W: Work> Row<W> {
    /// Puts the work at the end of the line, if it is a line of its type, or into a new one.
    pub(crate) fn append(work: W, last: Option<&mut Box<dyn Line>>, index: usize) -> Option<Box<dyn Line>> {
        let row = last.and_then(|line| line.as_any_mut().downcast_mut::<Self>());
        match row {
            Some(row) => {
                if row.rest.len() == row.rest.capacity() {
                    row.rest.reserve((row.rest.len() + 1).max(3) * 3);
                }
                row.rest.push(Some(work));
                None
            }
            None => Some(Box::new(Self { start: index, first: Some(work), rest: Vec::new() })),
        }
    }

    /// The indices of its jobs, also of those that were taken out.
    pub(super) fn indices(&self) -> Range<usize> {
        self.start..self.start + 1 + self.rest.len()
    }

    pub(super) fn slot(&mut self, index: usize) -> Option<&mut Option<W>> {
        match index.checked_sub(self.start)? {
            0 => Some(&mut self.first),
            n => self.rest.get_mut(n - 1),
        }
    }

    #[cfg(feature = "testing")]
    fn at(&self, index: usize) -> Option<&W> {
        match index.checked_sub(self.start)? {
            0 => self.first.as_ref(),
            n => self.rest.get(n - 1)?.as_ref(),
        }
    }
}

impl<W: Work> Line for Row<W> {
    fn spawn(self: Box<Self>, worker: Worker) -> JoinHandle<()> {
        worker.spawn(self)
    }

    fn run<'a>(&'a mut self, worker: &'a mut Worker) -> BoxFuture<'a, ()> {
        Box::pin(worker.run(self))
    }

    fn take(&mut self, index: usize) -> Option<Box<dyn Send>> {
        Some(Box::new(self.slot(index)?.take()?))
    }

    #[cfg(feature = "testing")]
    fn job(&self, index: usize) -> Option<SharedJob> {
        self.at(index)?.job()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl<W> Drop for Row<W> {
    /// One by one: of two that panic at once, the process would die.
    fn drop(&mut self) {
        drop_quietly(self.first.take());
        self.rest.drain(..).for_each(drop_quietly);
    }
}

/// A job on the runtime's worker threads.
pub(crate) struct AsyncJob<J>(pub(crate) J);

impl<J: Deferrable> Work for AsyncJob<J> {
    // Not `self.0.run(cx)` as it is: a job may do something, and panic, before it returns its future.
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        self.0.run(cx).await
    }

    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        J::ENCODE.map(|encode| encode(&self.0))
    }
}

/// A job that a recorder keeps: it can be looked at while it waits.
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

/// A job on the blocking pool. Shared with the thread it runs on, which may still have it after a time-out.
pub(crate) struct BlockingJob<J>(pub(crate) Arc<J>);

impl<J: Deferrable> Work for BlockingJob<J> {
    async fn run(&mut self, cx: &JobContext) -> JobResult {
        let job = self.0.clone();
        let cx = cx.clone();
        let runtime = tokio::runtime::Handle::current();
        let scope = Defer::current();
        let span = tracing::Span::current();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::task::spawn_blocking(move || {
            let _entered = span.enter();
            let run = unless(stopped, job.run(&cx));
            match scope {
                Some(scope) => runtime.block_on(scope.scope(run)),
                None => runtime.block_on(run),
            }
        });
        let mut thread = OnPool { task, _stop: stop };
        match (&mut thread.task).await {
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

/// Work on the blocking pool. Dropped before it has a thread, it does not get one: a job that took too long may not
/// run after all. Dropped later, it stops at its next `.await`.
struct OnPool {
    task: JoinHandle<JobResult>,
    _stop: oneshot::Sender<Infallible>,
}

impl Drop for OnPool {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a job until nobody waits for it any more. It is dropped then.
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

/// A closure, which runs once.
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

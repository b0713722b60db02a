//! Runs a part of a job on the blocking pool.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    task::Poll,
};

use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    limits::keyed_semaphore::Slot,
    list::current::Scoped,
    model::error::{JobError, JobResult},
    primitives::{BoxFuture, panic::Panicked},
};

/// Runs a part of a job on a thread of the pool, in its scope and span. The thread keeps the turns until it returns.
pub(super) async fn on_pool(part: BoxFuture<'static, JobResult>, turns: Vec<Slot>) -> JobResult {
    let runtime = tokio::runtime::Handle::current();
    let span = tracing::Span::current();
    let (stop, stopped) = oneshot::channel();
    let scoped = Scoped::inherit(unless(stopped, part));
    let task = tokio::task::spawn_blocking(move || {
        let _turns = turns;
        let _entered = span.enter();
        catch_unwind(AssertUnwindSafe(|| runtime.block_on(scoped))).map_err(Panicked::new)
    });
    let mut on_pool = OnPool { task, _stop: stop };
    match (&mut on_pool.task).await {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => panicked.resume(),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(error) => Err(error.into()),
    }
}

/// A task on the blocking pool. If this is dropped before the task has a thread, the job never starts, because a job that timed
/// out must not run later. If dropped after that, the job stops at its next `.await`.
struct OnPool {
    task: JoinHandle<Result<JobResult, Panicked>>,
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

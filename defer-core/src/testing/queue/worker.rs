//! The worker of the queue.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    iter::once,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use tokio::time::sleep_until;

use super::{
    held::Leased,
    queue::TestQueue,
    table::{Found, RowState},
};
use crate::{
    job::job::Deferrable,
    model::error::{BoxError, caught},
    primitives::BoxFuture,
    runner::{Resume, RunWorker, Runner},
    store::{End, Envelope, Lease},
};

/// Takes jobs from a [`TestQueue`], and runs them on a runner. Returned by [`TestQueue::worker`].
///
/// While it exists, jobs of its types that are deferred on its runner run there, after their response and in their order.
pub struct TestWorker {
    queue: TestQueue,
    runner: Runner,
    types: BTreeMap<&'static str, RunAs>,
}

type RunAs = fn(&Runner, &[u8], Resume, Arc<dyn Lease>) -> Result<(), BoxError>;

impl TestQueue {
    /// Creates a worker that runs jobs on this runner. Add the types that it takes with [`job`](TestWorker::job).
    pub fn worker(&self, runner: Runner) -> TestWorker {
        TestWorker { queue: self.clone(), runner, types: BTreeMap::new() }
    }
}

impl TestWorker {
    /// Also takes jobs of this type, under its name and its earlier names.
    ///
    /// # Panics
    ///
    /// If the type cannot be read from a queue: derive `Deserialize`.
    #[must_use]
    #[track_caller]
    pub fn job<J: Deferrable>(mut self) -> Self {
        assert!(
            J::DECODE.is_some(),
            "`{}` cannot be read from a queue: derive `Deserialize` for it",
            J::NAME
        );
        for name in once(&J::NAME).chain(J::ALIASES) {
            if self.types.insert(name, run_as::<J>).is_none() {
                self.queue.table.add_type(self.runner.key(), name);
            }
        }
        self.runner.add_job::<J>();
        self
    }

    /// Runs jobs until no job of its types waits or runs, including delayed and retried jobs.
    ///
    /// # Cancel safety
    ///
    /// If dropped, it stops taking jobs. The jobs that it has go on.
    pub async fn run_until_empty(&self) {
        let _hurry = self.runner.hurry();
        self.work(pin!(std::future::pending())).await;
    }

    /// Takes jobs until no job waits or runs, or until `stop` completes. Returns whether no job waits or runs.
    async fn work(&self, mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>) -> bool {
        let mut changes = self.queue.table.changes();
        loop {
            changes.mark_unchanged();
            let next = match self.queue.table.take(|name| self.types.contains_key(name)) {
                Found::Due(job, resume) => {
                    self.begin(&job, resume);
                    continue;
                }
                Found::At(next) => next,
                Found::Nothing => return false,
            };
            let mut changed = pin!(changes.changed());
            let mut due = pin!(next.map(sleep_until));
            let is_over = poll_fn(|cx| {
                let is_due = due.as_mut().as_pin_mut().is_some_and(|due| due.poll(cx).is_ready());
                if stop.as_mut().poll(cx).is_ready() {
                    Poll::Ready(true)
                } else if is_due || changed.as_mut().poll(cx).is_ready() {
                    Poll::Ready(false)
                } else {
                    Poll::Pending
                }
            });
            if is_over.await {
                return true;
            }
        }
    }

    fn begin(&self, job: &Envelope, resume: Resume) {
        let lease = Leased::lease(&self.queue.table, job.id, RowState::Taken);
        let Some(run_as) = self.types.get(&*job.name) else { return };
        let begun = caught(|| run_as(&self.runner, &job.payload, resume, lease.clone()));
        let error = match begun {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        drop(lease.settle(End::Failed { error }, Vec::new()));
    }
}

fn run_as<J: Deferrable>(
    runner: &Runner,
    payload: &[u8],
    resume: Resume,
    lease: Arc<dyn Lease>,
) -> Result<(), BoxError> {
    let decode = J::DECODE.ok_or("it cannot be read")?;
    runner.resume_leased(decode(payload)?, resume, lease)?;
    Ok(())
}

impl RunWorker for TestWorker {
    fn runner(&self) -> Option<Runner> {
        Some(self.runner.clone())
    }

    fn run(self: Box<Self>, mut stop: BoxFuture<'static, ()>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move {
            let mut changes = self.queue.table.changes();
            loop {
                changes.mark_unchanged();
                if self.work(stop.as_mut()).await {
                    break;
                }
                let mut changed = pin!(changes.changed());
                let is_stopped = poll_fn(|cx| match stop.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(true),
                    Poll::Pending => changed.as_mut().poll(cx).map(|_| false),
                });
                if is_stopped.await {
                    break;
                }
            }
            // The jobs that it took.
            let is_taken = || self.queue.table.rows().iter().any(|row| row.state == RowState::Taken);
            loop {
                changes.mark_unchanged();
                if !is_taken() {
                    return Ok(());
                }
                // This never fails, because the queue has the sender.
                let _ = changes.changed().await;
            }
        })
    }
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        for name in self.types.keys() {
            self.queue.table.remove_type(self.runner.key(), name);
        }
    }
}

impl fmt::Debug for TestWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestWorker").field("types", &self.types.keys()).finish_non_exhaustive()
    }
}

//! Who runs a batch's jobs: one task for those in line, and one for each that is tried again.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, Sleep},
};

use super::{
    attempt::{Attempt, Outcome, timer},
    batch::{Batch, Next, Start},
    gate::{Gate, Permit},
    line::{Row, Work},
};
use crate::{context::JobContext, panic::drop_quietly, scope::Scoped};

/// Runs a batch's jobs until none is left. Dropped before that, it leaves none behind uncounted: it is made before the
/// task, because a runtime that was shut down drops the task without a poll.
pub(crate) struct Worker {
    batch: Arc<Batch>,
    /// `None` while it waits for its turn.
    permit: Option<Permit<Arc<Batch>>>,
    done: bool,
}

impl Worker {
    pub(super) fn new(batch: Arc<Batch>, permit: Permit<Arc<Batch>>) -> Self {
        Self { batch, permit: Some(permit), done: false }
    }

    /// Spawns the worker. Running the line that it begins with is part of its future; those that come later are boxed.
    pub(super) fn spawn<W: Work>(mut self, mut first: Box<Row<W>>) -> JoinHandle<()> {
        let batch = self.batch.clone();
        let scope = batch.clone();
        // Not an `async fn`: its future would have room for each argument twice, and what is spawned is moved around.
        let run = async move {
            self.run(&mut first).await;
            drop_quietly(first);
            while let Some(mut line) = self.batch.take_line() {
                self.pause().await;
                line.run(&mut self).await;
            }
            self.end();
        };
        batch.runtime().spawn(Scoped::of_job(scope, run))
    }

    /// Runs the jobs of a line, from the first to the last.
    pub(super) async fn run<W: Work>(&mut self, row: &mut Row<W>) {
        for index in row.indices() {
            if index > row.indices().start {
                self.pause().await;
            }
            let Some(slot) = row.slot(index) else { continue };
            let Some(work) = slot else { continue };
            match attempt(&self.batch, index, work).await {
                Next::Done => drop_quietly(slot.take()),
                Next::Retry(delay) => {
                    if let Some(work) = slot.take() {
                        Retry::spawn(&self.batch, index, work, delay);
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        self.done = true;
    }

    /// Between two jobs.
    async fn pause(&mut self) {
        // Jobs that never wait for anything would keep the thread for the whole line.
        tokio::task::consume_budget().await;
        if let Some(permit) = self.permit.take_if(|permit| permit.is_wanted()) {
            self.permit = Some(permit.turn().await);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.done {
            self.batch.worker_gone();
        }
    }
}

/// Runs one attempt of a job.
async fn attempt<W: Work>(batch: &Arc<Batch>, index: usize, work: &mut W) -> Next {
    let Some(Start { subject, policy }) = batch.begin(index) else {
        return Next::Done;
    };
    let span = batch.span(subject);
    let started = batch.is_watched().then(Instant::now);
    let cx = JobContext::new(batch.clone(), subject.id, subject.attempt);
    let outcome = match policy.timeout().map(timer).transpose() {
        Ok(limit) => Attempt::new(work.run(&cx), &span, policy, limit).await,
        Err(error) => Outcome::Returned(Err(error)),
    };
    let elapsed = started.map_or(Duration::ZERO, |started| started.elapsed());
    batch.finish(index, outcome, elapsed, &span)
}

/// A job between two tries and in the later ones.
struct Retry<W> {
    batch: Arc<Batch>,
    index: usize,
    work: Option<W>,
    has_room: bool,
}

impl<W: Work> Retry<W> {
    /// Tries a job again after a while, out of line.
    fn spawn(batch: &Arc<Batch>, index: usize, work: W, delay: Duration) {
        let mut retry = Self { batch: batch.clone(), index, work: Some(work), has_room: true };
        let Some(backoff) = retry.backoff(delay) else { return };
        let task = batch.runtime().spawn(Scoped::of_job(batch.clone(), retry.run(backoff)));
        batch.keep_retry(index, task.abort_handle());
    }

    /// The wait for the next attempt. Without a timer there is none, and the job has failed.
    fn backoff(&mut self, delay: Duration) -> Option<Pin<Box<Sleep>>> {
        let backoff = timer(delay);
        if let Err(error) = backoff {
            drop_quietly(self.work.take());
            self.batch.fail(self.index, error);
            return None;
        }
        backoff.ok()
    }

    async fn run(mut self, mut backoff: Pin<Box<Sleep>>) {
        let batch = self.batch.clone();
        loop {
            backoff.await;
            let permit = Gate::acquire(&batch).await;
            self.has_room = false;
            batch.give_back_room(1);
            let Some(work) = &mut self.work else { return };
            let next = attempt(&batch, self.index, work).await;
            drop(permit);
            let Next::Retry(delay) = next else {
                drop_quietly(self.work.take());
                return;
            };
            self.has_room = true;
            let Some(next) = self.backoff(delay) else { return };
            backoff = next;
        }
    }
}

impl<W> Drop for Retry<W> {
    fn drop(&mut self) {
        if self.has_room {
            self.batch.give_back_room(1);
        }
        if let Some(work) = self.work.take() {
            drop_quietly(work);
            self.batch.abandon(self.index);
        }
    }
}

//! The end of a runner: waits for its jobs, and says which it could not wait for.

use std::{sync::Arc, time::Duration};

use super::{Runner, batch::Batch};
use crate::{
    error::{JobError, caught},
    job::JobId,
    queue::{Envelope, push},
};

/// How long the queue may take for the jobs that are left at the deadline.
const HAND_OVER: Duration = Duration::from_secs(5);

/// What came of a shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Jobs that ended while the runner was draining.
    pub completed: usize,
    /// Jobs that had not ended at the deadline. They were stopped, and count as abandoned.
    pub unfinished: Vec<UnfinishedJob>,
    /// Jobs that had not ended at the deadline and were pushed to the queue.
    pub queued: usize,
}

/// A job that had not ended at the deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedJob {
    /// The job's id.
    pub id: JobId,
    /// The job's name.
    pub name: String,
}

impl Runner {
    /// Waits until all jobs have ended, for at most `grace`; then stops those that have not, and names them.
    ///
    /// Jobs deferred meanwhile still count, and run if time allows. [`JobContext::shutting_down`] tells long jobs
    /// that it has begun. A job that holds its thread without an `.await` cannot be stopped; it is named all the
    /// same. A second shutdown is harmless: it waits for what is left.
    ///
    /// Unfinished jobs of a type for the queue are stopped and pushed to it; for that the queue has 5 s, after which
    /// they are named too.
    ///
    /// Dropped before the deadline, it stops nothing, and can be called again.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with a timer.
    ///
    /// [`JobContext::shutting_down`]: crate::JobContext::shutting_down
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.drain().begin();
        let before = self.counters().completed_so_far();
        let drained = tokio::time::timeout(grace, self.idle()).await;
        let mut report = ShutdownReport::default();
        if drained.is_err() {
            self.stop(&mut report).await;
        }
        let completed = self.counters().completed_so_far() - before;
        report.completed = usize::try_from(completed).unwrap_or(usize::MAX);
        report
    }

    /// Ends every job that has not ended. Those for the queue are stopped too, and then pushed to it.
    async fn stop(&self, report: &mut ShutdownReport) {
        let mut leaving = Leaving(Vec::new());
        let mut envelopes = Vec::new();
        for batch in self.batches() {
            let stopped = batch.stop(self.queue().is_some());
            report.unfinished.extend(stopped.abandoned);
            for (index, envelope) in stopped.leaving {
                leaving.0.push((batch.clone(), index));
                envelopes.push(envelope);
            }
        }
        let left: Vec<_> = envelopes
            .iter()
            .map(|envelope| UnfinishedJob { id: envelope.id, name: envelope.name.clone() })
            .collect();
        let taken = !envelopes.is_empty() && self.hand_over(envelopes).await;
        for ((batch, index), job) in leaving.0.drain(..).zip(left) {
            batch.end_left(index, taken);
            if taken {
                report.queued += 1;
            } else {
                report.unfinished.push(job);
            }
        }
        report.unfinished.sort_by_key(|job| job.id);
    }

    /// Pushes what is left to the queue. Returns whether it has it.
    async fn hand_over(&self, envelopes: Vec<Envelope>) -> bool {
        let Some(queue) = self.queue() else { return false };
        let pushed = tokio::time::timeout(HAND_OVER, push(queue, envelopes)).await;
        let error: JobError = match pushed {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        let what = "the queue did not take the jobs that are left";
        if caught(|| tracing::error!(target: "defer", %error, "{what}")).is_err() {
            tracing::error!(target: "defer", "{what}, and its error panicked while it was written");
        }
        false
    }
}

/// Jobs that are on their way to the queue. Dropped before the queue has them, they count as abandoned.
struct Leaving(Vec<(Arc<Batch>, usize)>);

impl Drop for Leaving {
    fn drop(&mut self) {
        for (batch, index) in self.0.drain(..) {
            batch.end_left(index, false);
        }
    }
}

//! The end of a runner: waits for its jobs, and says which it could not wait for.

use std::{sync::Arc, time::Duration};

use super::{
    Runner,
    attempt::caught,
    batch::{Batch, Unfinished},
};
use crate::job::JobId;

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
    /// Dropped before it completes, it stops nothing, and can be called again.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with a timer.
    ///
    /// [`JobContext::shutting_down`]: crate::JobContext::shutting_down
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.drain().begin();
        let before = self.counters().ended_so_far();
        let drained = tokio::time::timeout(grace, self.idle()).await;
        let ended = self.counters().ended_so_far() - before;
        let mut report = ShutdownReport {
            completed: usize::try_from(ended).unwrap_or(usize::MAX),
            ..ShutdownReport::default()
        };
        if drained.is_err() {
            self.stop(&mut report).await;
        }
        report
    }

    /// Ends every job that has not ended. Those for the queue go there first.
    async fn stop(&self, report: &mut ShutdownReport) {
        let mut left: Vec<(Arc<Batch>, Unfinished)> = Vec::new();
        for batch in self.batches() {
            left.extend(batch.unfinished().into_iter().map(|job| (batch.clone(), job)));
        }
        let envelopes: Vec<_> = left.iter().filter_map(|(_, job)| job.envelope.clone()).collect();
        let queued = match self.queue() {
            Some(queue) if !envelopes.is_empty() => match caught(|| queue.push(envelopes)).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(%error, "the queue did not take the jobs that are left");
                    false
                }
            },
            _ => false,
        };
        for (batch, job) in left {
            if queued && job.envelope.is_some() {
                report.queued += usize::from(batch.end_queued(job.index));
            } else if batch.abandon(job.index) {
                report.unfinished.push(UnfinishedJob { id: job.id, name: job.name.to_owned() });
            }
            batch.abort();
        }
        report.unfinished.sort_by_key(|job| job.id);
    }
}

//! Shutting a runner down: waits for its jobs, then stops and names those that are left.

use std::{sync::Arc, time::Duration};

use super::runner::Runner;
use crate::{
    list::{list::JobList, state::HandedOver},
    model::{
        error::{JobError, caught},
        id::JobId,
        job_type::JobRef,
    },
    run::stop::{end_handover, stop},
    store::{Envelope, push},
};

/// The result of a shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Number of jobs that ended while the runner was draining.
    pub completed: usize,
    /// Jobs that had not ended at the deadline. They were stopped, and are counted as abandoned.
    pub unfinished: Vec<UnfinishedJob>,
    /// Number of jobs that had not ended at the deadline and were pushed to the queue, or had come from it.
    pub queued: usize,
}

/// A job that had not ended at the deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedJob {
    /// The job's id.
    pub id: JobId,
    /// The job's name.
    pub name: String,
}

impl From<JobRef> for UnfinishedJob {
    fn from(job: JobRef) -> Self {
        Self { id: job.id, name: job.name().to_owned() }
    }
}

impl Runner {
    /// Waits until all jobs have ended, for at most `grace`, then stops and names those that have not.
    ///
    /// Jobs that are deferred during the wait count too, and run if time allows. [`JobContext::shutting_down`] tells long
    /// jobs that the shutdown has begun. A job that blocks its thread cannot be stopped; it is named too. A second
    /// shutdown is harmless: it waits for what is left.
    ///
    /// Unfinished jobs of a queued type are stopped and pushed to the queue. Those that the queue does not take within the
    /// [push timeout](crate::RunnerBuilder::push_timeout) are abandoned and named too. So is a job whose condition has not
    /// been asked yet, because only its response could tell whether it should run, and one whose [`failed`](crate::Job::failed) is
    /// running, because elsewhere it might yet succeed.
    ///
    /// # Cancel safety
    ///
    /// If dropped before the deadline, it stops nothing and can be called again. If dropped while it pushes to the
    /// queue, it has already stopped the jobs; those on their way to the queue count as abandoned.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, or on one without a timer.
    ///
    /// [`JobContext::shutting_down`]: crate::JobContext::shutting_down
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.engine.shutdown.begin();
        let before = self.engine.counters.completed_so_far();
        let drained = tokio::time::timeout(grace, self.idle()).await;
        let mut report = ShutdownReport::default();
        if drained.is_err() {
            self.stop(&mut report).await;
        }
        let completed = self.engine.counters.completed_so_far() - before;
        report.completed = usize::try_from(completed).unwrap_or(usize::MAX);
        report
    }

    /// Stops every job that has not ended, and pushes to the queue those that it can take.
    async fn stop(&self, report: &mut ShutdownReport) {
        let mut handover = Handover(Vec::new());
        let mut envelopes = Vec::new();
        for list in self.engine.lists() {
            let stopped = stop(&list, self.queue().is_some());
            report.unfinished.extend(stopped.abandoned.into_iter().map(UnfinishedJob::from));
            for HandedOver { index, job, envelope } in stopped.handed_over {
                let Some(envelope) = envelope else {
                    end_handover(&list, index, true);
                    report.queued += 1;
                    continue;
                };
                handover.0.push((list.clone(), index, job.into()));
                envelopes.push(envelope);
            }
        }
        let queued = !envelopes.is_empty() && self.push_in_time(envelopes).await;
        for (list, index, job) in handover.0.drain(..) {
            end_handover(&list, index, queued);
            if queued {
                report.queued += 1;
            } else {
                report.unfinished.push(job);
            }
        }
        report.unfinished.sort_by_key(|job| job.id);
    }

    /// Pushes jobs to the queue. Returns whether it took them in time.
    async fn push_in_time(&self, jobs: Vec<Envelope>) -> bool {
        let Some(queue) = self.queue() else { return false };
        let error: JobError =
            match tokio::time::timeout(self.engine.config.push_timeout, push(queue, jobs)).await {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => error,
                Err(elapsed) => elapsed.into(),
            };
        let what = "the queue did not take the jobs that are left";
        if caught(|| tracing::error!(target: "defer", %error, "{what}")).is_err() {
            tracing::error!(target: "defer", "{what}, and its error panicked while it was formatted");
        }
        false
    }
}

/// Jobs on their way to the queue. If dropped before the queue has them, this counts them as abandoned.
struct Handover(Vec<(Arc<JobList>, usize, UnfinishedJob)>);

impl Drop for Handover {
    fn drop(&mut self) {
        for (list, index, _) in self.0.drain(..) {
            end_handover(&list, index, false);
        }
    }
}

//! Shuts a runner down: waits for its jobs, then stops and reports the rest.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::runner::Runner;
use crate::{
    list::{list::JobList, state::HandedOver},
    model::{
        error::{JobError, caught},
        id::JobId,
        job_type::JobRef,
    },
    run::stop::{end_handover, stop},
    store::{Envelope, Lease, push},
};

/// The result of a shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Number of jobs that ended while the runner was draining.
    pub completed: usize,
    /// Jobs that had not ended at the deadline. They were stopped, and are counted as abandoned.
    pub unfinished: Vec<UnfinishedJob>,
    /// Number of jobs that had not ended at the deadline and went to the queue, or back to it.
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

/// The time that the queue may take, after the deadline, to store how jobs ended.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

impl From<JobRef> for UnfinishedJob {
    fn from(job: JobRef) -> Self {
        Self { id: job.id, name: job.name().to_owned() }
    }
}

impl Runner {
    /// Waits for at most `grace` until all jobs have ended, then stops and reports those that have not.
    ///
    /// Jobs that are deferred during the wait are included, and run if time allows. [`JobContext::shutting_down`] tells long
    /// jobs that the shutdown has begun. A job that blocks its thread cannot be stopped, but is reported too.
    ///
    /// The runner still takes jobs after that, so that a request that ends late does not lose its jobs. They run like any other
    /// jobs, but are in no report. A second shutdown is harmless: it waits for the jobs that are left and for new ones.
    ///
    /// Unfinished durable jobs are stopped and pushed to the queue. If the queue does not take them within the [push
    /// timeout](crate::RunnerBuilder::push_timeout), they are abandoned and reported too. The same happens to a job whose
    /// condition has not been evaluated yet, because only its response could decide it, and to a job whose
    /// [`failed`](crate::Job::failed) is running, because it might succeed elsewhere.
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
            let given_back = self.stop(&mut report).await;
            // Waits for ends that are being stored, and for jobs that others are to run. Other processes recover the jobs that
            // are not stored by then.
            let _ = tokio::time::timeout(SETTLE_WITHIN, self.settled(given_back)).await;
        }
        let completed = self.engine.counters.completed_so_far() - before;
        report.completed = usize::try_from(completed).unwrap_or(usize::MAX);
        report
    }

    /// Waits until the ends of all jobs are stored, and the jobs that were given back to the queue.
    async fn settled(&self, mut given_back: Vec<Weak<dyn Lease>>) {
        self.idle().await;
        // An aborted task drops its job and the job's lease when its runtime gets to it. Polls, because nothing notifies of that.
        loop {
            given_back.retain(|lease| lease.strong_count() > 0);
            if given_back.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if let Some(queue) = self.queue().and_then(|queue| queue.hold()) {
            queue.written().await;
        }
    }

    /// Stops every job that has not ended, and pushes the remaining durable ones to the queue. Returns the leases of those that
    /// the queue has already stored.
    async fn stop(&self, report: &mut ShutdownReport) -> Vec<Weak<dyn Lease>> {
        let mut given_back = Vec::new();
        let mut handover = Handover(Vec::new());
        let mut envelopes = Vec::new();
        for list in self.engine.lists() {
            let stopped = stop(&list, self.queue().is_some());
            report.unfinished.extend(stopped.abandoned.into_iter().map(UnfinishedJob::from));
            for HandedOver { index, job, envelope } in stopped.handed_over {
                let Some(envelope) = envelope else {
                    given_back.extend(list.lease(index).as_ref().map(Arc::downgrade));
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
        given_back
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

//! The work of jobs: as little as is still observable.

use std::sync::atomic::{AtomicU64, Ordering};

use defer_axum::{Deferrable, Job, JobContext, JobResult};
use tokio::sync::Notify;

/// Counts the jobs that have run, and signals when the last of them has.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    left: AtomicU64,
    done: Notify,
}

impl Tally {
    /// Leaked, so that a job holds a plain reference: reference counting would cost more than the job's work.
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Expects this many jobs.
    pub(crate) fn expect(&self, jobs: u64) {
        self.left.store(jobs, Ordering::Relaxed);
    }

    /// Does the work of a job.
    pub(crate) async fn count(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits until all expected jobs have run.
    pub(crate) async fn all_ran(&self) {
        while self.left.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }
}

#[derive(Deferrable)]
pub(crate) struct Count {
    tally: &'static Tally,
}

impl Job for Count {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        self.tally.count().await;
        Ok(())
    }
}

/// Like [`Count`], but another type: alternating jobs of two types are not stored side by side.
#[derive(Deferrable)]
pub(crate) struct CountToo {
    tally: &'static Tally,
}

impl Job for CountToo {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        self.tally.count().await;
        Ok(())
    }
}

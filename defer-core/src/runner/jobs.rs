//! What the runner sees of a list of jobs.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    load::RunningJob,
    semaphore::{self, Semaphore},
};
use crate::{event::JobRef, queue::Envelope, stamp::Stamp};

/// A list of jobs, as the runner sees it.
pub(crate) trait Jobs: Send + Sync {
    /// Returns the runner's semaphore.
    fn semaphore(&self) -> &Semaphore<Arc<dyn Jobs>>;

    /// Runs the jobs with this permit.
    fn granted(self: Arc<Self>, permit: Permit);

    /// Returns since when the job that waits longest could have started, if it could by now.
    fn oldest_ready(&self, now: Stamp) -> Option<Stamp>;

    /// Adds the jobs that run to these.
    fn add_running(&self, running: &mut Vec<RunningJob>);

    /// Counts the jobs that have not ended, by their names.
    fn count_unfinished(&self, counts: &mut BTreeMap<&'static str, u64>);

    /// Makes sure that a job can no longer be taken back. Returns false if it has started, or need not run.
    fn rely_on(&self, index: usize) -> bool;

    /// Stops every job that has not ended. Those that the queue can take are handed over: [`end_handover`] must follow
    /// for each.
    ///
    /// [`end_handover`]: Self::end_handover
    fn stop(&self, has_queue: bool) -> Stopped;

    /// Ends a job that was handed over: as queued, or as abandoned if the queue did not take it.
    fn end_handover(&self, index: usize, queued: bool);
}

/// The right to run one job at a time.
pub(crate) type Permit = semaphore::Permit<Arc<dyn Jobs>>;

/// What [`Jobs::stop`] has stopped.
#[derive(Default)]
pub(crate) struct Stopped {
    pub(crate) abandoned: Vec<JobRef>,
    /// Jobs for the queue, with their indices. `None`: the queue already has the job.
    pub(crate) handed_over: Vec<(usize, JobRef, Option<Envelope>)>,
}

impl semaphore::Grantee for Arc<dyn Jobs> {
    fn semaphore(&self) -> &Semaphore<Self> {
        Jobs::semaphore(&**self)
    }

    fn granted(self, permit: Permit) {
        Jobs::granted(self, permit);
    }
}

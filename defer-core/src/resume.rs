//! Running a job that comes from a queue, for the queue's worker.

use std::{fmt, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    attempt::Work,
    error::DeferError,
    id::JobId,
    job::Deferrable,
    list::{Entry, JobList, Origin},
    policy::Policy,
    queue::{Metadata, Ran},
    runner::{Runner, jobs::Jobs},
    work::{AsyncJob, BlockingJob},
};

/// A job as a queue's worker knows it.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The job's id.
    pub id: JobId,
    /// How many attempts it has had.
    pub attempts: u32,
    /// What it took along of its request.
    pub metadata: Metadata,
}

impl Runner {
    /// Runs one attempt of a job that comes from a queue, as soon as [`max_running`](crate::RunnerBuilder::max_running)
    /// allows: with the runner's state, within its bounds, and with spans, events and counts as any job. Whether another
    /// attempt follows is decided by the type's policy. It is the queue's to run it: the job is counted as queued then.
    ///
    /// Jobs that it defers run on this runner after it, or go to the queue.
    ///
    /// # Errors
    ///
    /// [`DeferError::NoRuntime`] outside of a Tokio runtime. The job is dropped.
    pub fn resume<J: Deferrable>(&self, job: J, resume: Resume) -> Result<Resumed, DeferError> {
        let origin = Origin { queued: Some(Box::new(resume.metadata)), ..Origin::current()? };
        let list = JobList::new(self.clone(), origin);
        let (observer, ran) = oneshot::channel();
        let policy: &'static Policy = const { &J::POLICY };
        let entry = Entry::from_queue(resume.id, J::NAME, policy, resume.attempts, observer);
        if policy.is_blocking() {
            push(&list, entry, BlockingJob(Arc::new(job)));
        } else {
            push(&list, entry, AsyncJob(job));
        }
        list.release(None);
        Ok(Resumed { list, ran: Some(ran), ended: None })
    }
}

fn push<W: Work>(list: &Arc<JobList>, entry: Entry, work: W) {
    // Not shed: a list that was created for a queue waits for room.
    let _ = list.push(entry, work);
}

/// A job from a queue that a runner runs. Dropped before it has ended, it is stopped.
#[must_use = "a job is stopped that nobody waits for"]
pub struct Resumed {
    list: Arc<JobList>,
    ran: Option<oneshot::Receiver<Ran>>,
    /// How it ended, while its jobs are on their way to the queue.
    ended: Option<Ran>,
}

impl Resumed {
    /// Waits until the job has ended, and the jobs for the queue that it has deferred are there: forget the job only then.
    /// Call it once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it can be called again.
    pub async fn ran(&mut self) -> Ran {
        let Some(ran) = &mut self.ran else { return Ran::Unfinished };
        // An error means that it was stopped.
        let ran = match &self.ended {
            Some(ended) => ended.clone(),
            None => self.ended.insert(ran.await.unwrap_or(Ran::Unfinished)).clone(),
        };
        self.list.pushed(None).await;
        self.ran = None;
        ran
    }
}

impl Drop for Resumed {
    fn drop(&mut self) {
        if self.ran.is_some() {
            let stopped = self.list.stop(false);
            for (index, ..) in stopped.handed_over {
                self.list.end_handover(index, true);
            }
        }
    }
}

impl fmt::Debug for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumed").field("list", &self.list).finish_non_exhaustive()
    }
}

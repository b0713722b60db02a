//! Running a job that comes from a queue, for the queue's worker.

use std::{fmt, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    error::DeferError,
    event::JobEventKind,
    id::JobId,
    job::Deferrable,
    list::{Entry, JobList, Origin},
    queue::{Metadata, Ran, SERIAL},
    runner::{Runner, jobs::Jobs},
    work::{add_job, job_type},
};

/// A job as a queue's worker knows it.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The job's id.
    pub id: JobId,
    /// How many attempts it has had.
    pub attempts: u32,
    /// What it carries over from its request.
    pub metadata: Metadata,
}

impl Runner {
    /// Runs one attempt of a job that comes from a queue, as soon as [`max_running`](crate::RunnerBuilder::max_running)
    /// allows: with the runner's state, within its bounds, and with spans, events and counts like any other job. The
    /// type's policy decides whether another attempt follows. The queue runs that attempt, and this runner counts the
    /// job as queued.
    ///
    /// Jobs that it defers run on this runner after it, or go to the queue.
    ///
    /// # Errors
    ///
    /// [`DeferError::NoRuntime`] outside a Tokio runtime. The job is dropped.
    pub fn resume<J: Deferrable>(&self, job: J, resume: Resume) -> Result<Resumed, DeferError> {
        let serial = resume.metadata.get(SERIAL).cloned();
        let list = JobList::new(self.clone(), Origin::of_queued(resume.metadata)?);
        let (observer, ran) = oneshot::channel();
        let entry = Entry::from_queue(resume.id, job_type::<J>(), resume.attempts, observer);
        // Not shed: a list that was created for a queue waits for room.
        let index = add_job(&list, entry, job);
        if let (Some(index), Some(key)) = (index, serial) {
            list.set_serial(index, &key);
        }
        list.release(None);
        Ok(Resumed { list, ran: Some(ran), ended: None })
    }
}

/// A job from a queue that a runner runs. Dropping it before the job has ended stops the job.
#[must_use = "dropping this stops the job"]
pub struct Resumed {
    list: Arc<JobList>,
    ran: Option<oneshot::Receiver<JobEventKind>>,
    /// How it ended, while its jobs are on their way to the queue.
    ended: Option<Ran>,
}

impl Resumed {
    /// Waits until the job has ended and the queue has the jobs that it deferred. Do not forget the job before that. Do not
    /// call this again once it has completed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped before it completes, it can be called again.
    pub async fn ran(&mut self) -> Ran {
        let Some(ran) = &mut self.ran else { return Ran::Unfinished };
        // An error means that it was stopped.
        let ran = match &self.ended {
            Some(ended) => ended.clone(),
            None => self.ended.insert(ran.await.map_or(Ran::Unfinished, |event| Ran::from(&event))).clone(),
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

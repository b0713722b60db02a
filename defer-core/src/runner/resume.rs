//! Runs a job from a queue, for the queue's worker.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::runner::Runner;
use crate::{
    job::job::{Deferrable, job_type},
    list::{
        entry::{Entry, Told},
        list::{JobList, Origin},
    },
    model::{
        error::{DeferError, JobError},
        id::JobId,
        job_type::JobType,
        metadata::{Metadata, ROUTE},
        request::RequestInfo,
        response::ResponseInfo,
    },
    observe::event::JobEventKind,
    run::{
        join::{Incoming, add},
        push::pushed,
        segment::NewJob,
        stop::{end_handover, stop},
    },
    store::Lease,
};

/// A job that a queue's worker passes to a runner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resume {
    /// The job's id.
    pub id: JobId,
    /// The number of attempts it has had.
    pub attempts: u32,
    /// The metadata of its request.
    pub metadata: Metadata,
    /// How the response of its request ended, if known.
    pub response: Option<ResponseInfo>,
    /// How long the job has been due.
    pub waited: Duration,
    /// Its serial key on this runner.
    pub serial: Option<String>,
}

impl Resume {
    /// Creates a job with this id, after this many attempts.
    pub fn new(id: JobId, attempts: u32, metadata: Metadata) -> Self {
        Self { id, attempts, metadata, response: None, waited: Duration::ZERO, serial: None }
    }
}

impl Runner {
    /// Runs one attempt of a job from a queue, as soon as [`max_running`](crate::RunnerBuilder::max_running) allows it. The job
    /// has the runner's state, limits, spans, events and counts, like any other job. The type's policy decides whether another
    /// attempt follows. If so, the queue runs that attempt, and this runner counts the job as queued.
    ///
    /// Jobs that it defers run on this runner after it, or go to the queue.
    ///
    /// # Errors
    ///
    /// [`DeferError::NoRuntime`] outside a Tokio runtime. The job is dropped.
    pub fn resume<J: Deferrable>(&self, job: J, resume: Resume) -> Result<Resumed, DeferError> {
        let (observer, ran) = oneshot::channel();
        let list =
            self.resume_job(job_type::<J>(), &mut NewJob::new(job), resume, Told::Observer(observer))?;
        Ok(Resumed { list, ran: Some(ran), ended: None })
    }

    /// Runs one attempt of a job that a worker has taken, like [`resume`](Self::resume), and settles the lease with its end.
    ///
    /// # Errors
    ///
    /// [`DeferError::NoRuntime`] outside a Tokio runtime. The job and the lease are dropped.
    pub fn resume_leased<J: Deferrable>(
        &self,
        job: J,
        resume: Resume,
        lease: Arc<dyn Lease>,
    ) -> Result<(), DeferError> {
        self.resume_job(job_type::<J>(), &mut NewJob::new(job), resume, Told::Lease(lease)).map(drop)
    }

    fn resume_job(
        &self,
        kind: &'static JobType,
        job: &mut dyn Incoming,
        resume: Resume,
        told: Told,
    ) -> Result<Arc<JobList>, DeferError> {
        let Resume { id, attempts, metadata, response, waited, serial } = resume;
        let request = metadata.get(ROUTE).and_then(|route| RequestInfo::of_route(route));
        let list = JobList::new(self.engine.clone(), Origin::of_queued(metadata)?);
        if let Some(request) = request {
            list.set_request(request);
        }
        let mut entry = Entry::from_queue(id, kind, attempts, told);
        if let Some(now) = list.now() {
            entry.set_ready(now.before(waited));
        }
        if let Some(key) = serial {
            entry.set_serial(key.into(), false);
        }
        // This list never sheds jobs: a list for a queue takes room beyond the bound.
        let _index = add(&list, entry, job);
        list.release(response);
        Ok(list)
    }
}

/// A job from a queue that a runner runs. Dropping it before the job has ended stops the job.
#[must_use = "dropping this stops the job"]
pub struct Resumed {
    list: Arc<JobList>,
    ran: Option<oneshot::Receiver<JobEventKind>>,
    /// How it ended. Set while its jobs are being stored.
    ended: Option<Ran>,
}

impl Resumed {
    /// Waits until the job has ended and the queue has stored the jobs that it deferred. Do not delete the job before that. Do
    /// not call this again after it has completed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped before it completes, it can be called again.
    pub async fn ran(&mut self) -> Ran {
        let Some(ran) = &mut self.ran else { return Ran::Unfinished };
        // An error means that the job was stopped.
        let ran = match &self.ended {
            Some(ended) => ended.clone(),
            None => self.ended.insert(ran.await.map_or(Ran::Unfinished, |event| Ran::from(&event))).clone(),
        };
        pushed(&self.list, None).await;
        self.ran = None;
        ran
    }
}

impl Drop for Resumed {
    fn drop(&mut self) {
        if self.ran.is_some() {
            for handed_over in stop(&self.list, false).handed_over {
                end_handover(&self.list, handed_over.index, true);
            }
        }
    }
}

impl fmt::Debug for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumed").field("list", &self.list).finish_non_exhaustive()
    }
}

/// How a job that a queue's worker gave to a runner with [`Runner::resume`](crate::Runner::resume) ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Ran {
    /// It succeeded: delete it.
    Succeeded,
    /// It has failed permanently.
    #[non_exhaustive]
    Failed {
        /// The error of its last attempt.
        error: JobError,
    },
    /// The attempt failed, and another should follow.
    #[non_exhaustive]
    Retry {
        /// The error of the attempt.
        error: JobError,
        /// How long until the next attempt.
        delay: Duration,
    },
    /// It [snoozed](JobError::snooze), which does not use up an attempt.
    #[non_exhaustive]
    Snoozed {
        /// The delay until it runs again.
        delay: Duration,
    },
    /// It was stopped before it ended: run it again.
    Unfinished,
}

impl From<&JobEventKind> for Ran {
    fn from(event: &JobEventKind) -> Self {
        match event {
            JobEventKind::Succeeded { .. } => Self::Succeeded,
            JobEventKind::Failed { error, .. }
            | JobEventKind::Panicked { error, .. }
            | JobEventKind::TimedOut { error, .. } => Self::Failed { error: error.clone() },
            JobEventKind::Retrying { error, delay, .. } => {
                Self::Retry { error: error.clone(), delay: *delay }
            }
            JobEventKind::Snoozed { delay, .. } => Self::Snoozed { delay: *delay },
            _ => Self::Unfinished,
        }
    }
}

//! The code that is compiled for each job type, together with [`jobs`](super::jobs) and the first function of
//! [`worker`](super::worker).

use std::{any::Any, future::Future, ops::Range, sync::Arc};

use tokio::{runtime::Handle, task::JoinHandle};

use super::{jobs::Jobs, join::Incoming, member::Member, worker};
#[cfg(feature = "testing")]
use crate::list::shared::SharedJob;
use crate::{
    job::{
        context::JobContext,
        job::{Deferrable, IntoJobResult},
        work::{Once, Plain, Shared, Work},
    },
    list::list::{Call, Gate, JobList, Segment, WorkerGuard},
    model::{
        error::{BoxError, JobResult},
        job_type::JobRef,
    },
    primitives::BoxFuture,
};

impl<W: Work> Segment for Jobs<W> {
    fn indices(&self) -> Range<usize> {
        self.range()
    }

    fn has(&self, index: usize) -> bool {
        Self::has(self, index)
    }

    fn take(&mut self, index: usize) -> Option<Box<dyn Segment>> {
        Some(Box::new(Self::of(index, self.slot(index)?.take()?)))
    }

    fn clear(&mut self, index: usize) {
        Self::clear(self, index);
    }

    fn spawn(self: Box<Self>, guard: WorkerGuard, runtime: &Handle) -> JoinHandle<()> {
        if const { W::IS_BOXED } {
            worker::spawn_boxed(guard, self, runtime)
        } else {
            worker::spawn(guard, *self, runtime)
        }
    }

    fn call<'a>(
        &'a mut self,
        index: usize,
        list: &Arc<JobList>,
        job: JobRef,
        call: Call<'a>,
    ) -> BoxFuture<'a, JobResult> {
        let cx = JobContext::new(list.clone(), job);
        let work = self.present(index);
        Box::pin(async move {
            match call {
                Call::Run(turns) => work.run_with(&cx, turns).await,
                Call::Failed(error) => {
                    work.failed(&cx, error).await;
                    Ok(())
                }
            }
        })
    }

    fn gate(&mut self, index: usize) -> Option<&mut dyn Gate> {
        self.slot(index)?.as_mut()?.gate()
    }

    #[cfg(feature = "testing")]
    fn shared(&self, index: usize) -> Option<SharedJob> {
        self.peek(index)?.shared()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// A job that is to join a list, until it has.
pub(crate) struct NewJob<J>(Option<J>);

impl<J: Deferrable> NewJob<J> {
    pub(crate) fn new(job: J) -> Self {
        Self(Some(job))
    }
}

impl<J: Deferrable> Incoming for NewJob<J> {
    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        Some(J::ENCODE?(self.0.as_ref()?))
    }

    fn join(&mut self, index: usize, last: Option<&mut dyn Segment>) -> Option<Box<dyn Segment>> {
        if const { J::POLICY.is_blocking() } {
            self.share(index, last)
        } else if const { J::BATCH.is_some() } {
            join(Member::new(self.0.take()?), index, last)
        } else {
            join(Plain(self.0.take()?), index, last)
        }
    }

    #[cfg(feature = "testing")]
    fn join_shared(&mut self, index: usize, last: Option<&mut dyn Segment>) -> Option<Box<dyn Segment>> {
        if const { J::BATCH.is_some() } {
            return join(Member::shared(Arc::new(self.0.take()?)), index, last);
        }
        self.share(index, last)
    }

    #[cfg(feature = "testing")]
    fn through_queue(&mut self) {
        let (Some(encode), Some(decode), Some(job)) = (J::ENCODE, J::DECODE, &self.0) else { return };
        let decoded = encode(job).and_then(|payload| decode(&payload));
        let decoded =
            decoded.unwrap_or_else(|error| panic!("a `{}` does not survive the queue: {error}", J::NAME));
        self.0 = Some(decoded);
    }

    fn clear(&mut self) {
        self.0 = None;
    }
}

impl<J: Deferrable> NewJob<J> {
    fn share(&mut self, index: usize, last: Option<&mut dyn Segment>) -> Option<Box<dyn Segment>> {
        join(Shared(Arc::new(self.0.take()?)), index, last)
    }
}

/// A closure that is to join a list, until it has.
pub(crate) struct NewClosure<F>(Option<F>);

impl<F> NewClosure<F> {
    pub(crate) fn new(closure: F) -> Self {
        Self(Some(closure))
    }
}

impl<F, Fut> Incoming for NewClosure<F>
where
    F: FnOnce(JobContext) -> Fut + Send + 'static,
    Fut: Future<Output: IntoJobResult> + Send + 'static,
{
    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>> {
        None
    }

    fn join(&mut self, index: usize, last: Option<&mut dyn Segment>) -> Option<Box<dyn Segment>> {
        join(Once(Some(self.0.take()?)), index, last)
    }

    #[cfg(feature = "testing")]
    fn join_shared(&mut self, index: usize, last: Option<&mut dyn Segment>) -> Option<Box<dyn Segment>> {
        self.join(index, last)
    }

    #[cfg(feature = "testing")]
    fn through_queue(&mut self) {}

    fn clear(&mut self) {
        self.0 = None;
    }
}

/// Adds a job to the last segment, if that is of its type and ends before it. Otherwise returns a new one.
fn join<W: Work>(work: W, index: usize, last: Option<&mut dyn Segment>) -> Option<Box<dyn Segment>> {
    match last.and_then(|last| last.as_any_mut().downcast_mut::<Jobs<W>>()) {
        Some(jobs) if jobs.range().end == index => {
            jobs.push(work);
            None
        }
        _ => Some(Box::new(Jobs::of(index, work))),
    }
}

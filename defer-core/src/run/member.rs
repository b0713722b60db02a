//! A job that runs together with others, as its list sees it.

#[cfg(feature = "testing")]
use std::any::TypeId;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::batch::{Ended, Place};
#[cfg(feature = "testing")]
use crate::{job::work::shared, list::shared::SharedJob};
use crate::{
    job::{context::JobContext, job::Deferrable, work::Work},
    list::list::{Gate, JobList},
    model::error::{JobError, JobResult},
    primitives::BoxFuture,
};

/// A job of a type with [`Deferrable::BATCH`].
pub(super) struct Member<J> {
    /// `None` while a batch has it.
    job: Option<J>,
    /// The job, until it may join a batch: a test may look at it.
    #[cfg(feature = "testing")]
    shared: Option<Arc<J>>,
    /// Receives the job back from the batch. An attempt may have timed out before that.
    ended: Option<oneshot::Receiver<Ended<J>>>,
    place: Option<Place<J>>,
}

impl<J: Deferrable> Member<J> {
    pub(super) fn new(job: J) -> Self {
        Self {
            job: Some(job),
            #[cfg(feature = "testing")]
            shared: None,
            ended: None,
            place: None,
        }
    }

    #[cfg(feature = "testing")]
    pub(super) fn shared(job: Arc<J>) -> Self {
        Self { job: None, shared: Some(job), ended: None, place: None }
    }

    /// Takes the job for itself, unless a test keeps it or has faked its type. Returns whether it has.
    #[cfg(feature = "testing")]
    fn unshare(&mut self, list: &JobList) -> bool {
        if !list.fakes(TypeId::of::<J>()) {
            match self.shared.take().map(Arc::try_unwrap) {
                Some(Ok(job)) => self.job = Some(job),
                Some(Err(job)) => self.shared = Some(job),
                None => {}
            }
        }
        self.shared.is_none()
    }

    /// Returns the job, once no batch has it.
    ///
    /// # Errors
    ///
    /// If its batch is gone with its runtime, and the job with it.
    async fn job(&mut self) -> Result<&J, JobError> {
        #[cfg(feature = "testing")]
        if let Some(job) = &self.shared {
            return Ok(job);
        }
        if let Some(ended) = &mut self.ended {
            self.job = ended.await.ok().map(|ended| ended.job);
            self.ended = None;
        }
        self.job.as_ref().ok_or_else(gone)
    }
}

fn gone() -> JobError {
    JobError::msg("the runtime that ran the batch was shut down")
}

impl<J: Deferrable> Work for Member<J> {
    const IS_BOXED: bool = true;

    async fn run(&mut self, cx: &JobContext) -> JobResult {
        #[cfg(feature = "testing")]
        if self.shared.as_ref().is_some_and(|job| cx.list().is_faked(cx.id(), shared(job))) {
            return Ok(());
        }
        let Some(place) = &mut self.place else { return self.job().await?.run(cx).await };
        let job = self.job.take().ok_or_else(gone)?;
        match place.arrive(job, cx.attempt()) {
            Ok(ended) => {
                let ended = self.ended.insert(ended).await;
                self.ended = None;
                let Ended { job, result } = ended.map_err(|_| gone())?;
                self.job = Some(job);
                result
            }
            Err(job) => {
                self.job = Some(job);
                Err(gone())
            }
        }
    }

    async fn failed(&mut self, cx: &JobContext, error: &JobError) {
        if let Ok(job) = self.job().await {
            job.failed(cx, error).await;
        }
    }

    fn gate(&mut self) -> Option<&mut dyn Gate> {
        Some(self)
    }

    #[cfg(feature = "testing")]
    fn shared(&self) -> Option<SharedJob> {
        self.shared.as_ref().map(shared)
    }
}

impl<J: Deferrable> Gate for Member<J> {
    fn is_for(&mut self, list: &JobList, attempts: u32) -> bool {
        #[cfg(feature = "testing")]
        if !self.unshare(list) {
            return false;
        }
        let _ = list;
        let tries = J::POLICY.tries();
        tries == 1 || attempts.saturating_add(1) < tries
    }

    fn join(&mut self, list: &Arc<JobList>) {
        if let (Some(_), None, Some(batching)) = (&self.job, &self.place, J::BATCH) {
            self.place = Some(Place::join(list, batching));
        }
    }

    fn opened<'a>(&'a mut self, list: &'a Arc<JobList>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // It may still be in its last batch.
            if self.job().await.is_ok() {
                self.join(list);
            }
            if let Some(place) = &mut self.place {
                place.opened().await;
            }
        })
    }

    fn is_open(&self) -> bool {
        match &self.place {
            Some(place) => place.is_open(),
            // It is gone, and its attempt says so.
            None => self.job.is_none() && self.ended.is_none(),
        }
    }

    fn leave(&mut self) {
        self.place = None;
    }
}

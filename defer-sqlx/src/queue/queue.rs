//! The queue.

use std::{fmt, sync::Arc};

use defer_core::{
    BoxError, BoxFuture, JobId, JobStatus,
    queue::{Cancel, Envelope, FailedJob, Hold, HoldJobs, InspectQueue, Queue, QueueCounts},
};

use crate::{
    engine::{Owner, new_job},
    error::Error,
    push::{PushJobs, Table},
    store::{Cancelling, NewJob, Store, StoreError},
};

/// A queue of durable jobs in a database. Pass it to [`RunnerBuilder::queue`](defer_core::RunnerBuilder::queue).
///
/// Cloning is cheap: a clone refers to the same queue. The queue has its own connections and threads, which end when the last
/// clone, the last worker and the last job of this process are gone.
#[derive(Clone)]
pub struct SqlxQueue {
    owner: Arc<Owner>,
    table: Arc<Table>,
}

impl SqlxQueue {
    pub(crate) fn new(owner: Arc<Owner>, table: Table) -> Self {
        Self { owner, table: Arc::new(table) }
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub(super) fn pusher(&self) -> Arc<dyn PushJobs> {
        self.owner.clone()
    }

    /// Asks the database something, on the queue's own runtime.
    pub(super) async fn ask<T: Send + 'static>(&self, ask: impl AsyncFnOnceSend<T>) -> Result<T, Error> {
        let store = self.owner.engine().store().clone();
        let answer = self.owner.run(ask.call(store)).await?;
        answer.map_err(|error| Error::Store(error.into()))
    }

    /// Returns how many jobs the queue has. Each count stops at 10,000.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn counts(&self) -> Result<QueueCounts, Error> {
        self.ask(|store: Arc<dyn Store>| async move { store.counts().await }).await
    }

    /// Returns at most `limit` failed jobs, the latest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn failed(&self, limit: usize) -> Result<Vec<FailedJob>, Error> {
        self.ask(move |store: Arc<dyn Store>| async move { store.failed(limit).await }).await
    }

    /// Returns what no process has taken although it has been due for a minute: the names of job types, and `queue NAME` for
    /// other queues in the same database that have no process.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn unclaimed(&self) -> Result<Vec<String>, Error> {
        self.ask(|store: Arc<dyn Store>| async move { store.unclaimed(60_000).await }).await
    }

    /// Returns the status of a job, whichever process runs it. `None` if the id is unknown, or the job is no longer kept.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn status(&self, id: JobId) -> Result<Option<JobStatus>, Error> {
        self.ask(move |store: Arc<dyn Store>| async move { store.status(id).await }).await
    }

    /// Runs a failed job again, with all its attempts. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn retry(&self, id: JobId) -> Result<bool, Error> {
        let retried = self.ask(move |store: Arc<dyn Store>| async move { store.retry(id).await }).await?;
        self.owner.engine().made_ready();
        Ok(retried)
    }

    /// Deletes a failed job. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn discard(&self, id: JobId) -> Result<bool, Error> {
        self.ask(move |store: Arc<dyn Store>| async move { store.discard(id).await }).await
    }

    /// Cancels a job, in whichever process it is. A job that has ended does not change.
    ///
    /// [`Cancelled`](Cancel::Cancelled) means that the job will not run anywhere, because its row says so. A running job is
    /// asked to stop at its next `.await`: in this process immediately, in another one within three seconds.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn cancel(&self, id: JobId) -> Result<Cancel, Error> {
        let engine = self.owner.engine().clone();
        let cancelled = self.owner.run(Box::pin(async move { engine.cancel(id).await })).await?;
        Ok(match cancelled.map_err(|error| Error::Store(error.into()))? {
            Cancelling::Cancelled => Cancel::Cancelled,
            Cancelling::Asked => Cancel::Asked,
            Cancelling::Ended => Cancel::Ended,
            Cancelling::Unknown => Cancel::Unknown,
        })
    }

    /// Pauses jobs with this name in every process, until they are [resumed](Self::resume). Running jobs go on.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        self.set_paused(name, true).await
    }

    /// Resumes jobs with this name.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn resume(&self, name: &str) -> Result<(), Error> {
        self.set_paused(name, false).await?;
        self.owner.engine().made_ready();
        Ok(())
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), Error> {
        let of_store = name.to_owned();
        self.ask(move |store: Arc<dyn Store>| async move { store.pause(of_store, paused).await }).await?;
        self.owner.engine().workers.note_paused(name, paused);
        Ok(())
    }

    /// Closes the queue and its clones: finishes pending writes, for at most two seconds, and signs off from the database.
    /// Completes within four seconds.
    ///
    /// Durable jobs that this process still has are stopped, and other processes run them immediately, so [shut
    /// down](defer_core::Runner::shutdown) the runner first. After this, durable jobs of the runner run in this process only,
    /// as if the database were unreachable. Workers of the queue end with an error, and other calls on the queue return errors.
    ///
    /// You do not have to call it: the queue also closes when its last clone and its last job are dropped. Call it to know when
    /// it has closed.
    ///
    /// # Cancel safety
    ///
    /// If dropped, the queue still closes.
    pub async fn close(&self) {
        self.owner.close().await;
    }
}

/// A question to a store, as a future that owns the store.
pub(super) trait AsyncFnOnceSend<T>: Send + 'static {
    fn call(self, store: Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>>;
}

impl<T, F, Fut> AsyncFnOnceSend<T> for F
where
    F: FnOnce(Arc<dyn Store>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    fn call(self, store: Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> {
        Box::pin(self(store))
    }
}

impl Queue for SqlxQueue {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let max = self.owner.engine().settings().max_payload;
            let jobs = jobs.into_iter().map(|job| new_job(job, max)).collect::<Result<Vec<_>, _>>()?;
            self.owner.engine().push(jobs).await?;
            Ok(())
        })
    }

    fn hold(&self) -> Option<&dyn HoldJobs> {
        Some(self)
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl HoldJobs for SqlxQueue {
    fn hold(&self, jobs: Vec<Envelope>) -> Hold {
        self.owner.hold(jobs)
    }

    fn runs_here(&self, runner: usize, name: &str) -> bool {
        self.owner.engine().workers.take(runner, name)
    }

    fn written(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.owner.written())
    }
}

impl PushJobs for Owner {
    fn push(&self, job: NewJob) -> BoxFuture<'static, Result<(), Error>> {
        let engine = self.engine().clone();
        Box::pin(async move { engine.push(vec![job]).await.map(drop) })
    }
}

impl fmt::Debug for SqlxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxQueue").field("owner", &self.owner).finish_non_exhaustive()
    }
}

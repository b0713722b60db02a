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

/// Durable jobs in a database. Give it to [`RunnerBuilder::queue`](defer_core::RunnerBuilder::queue).
///
/// Cloning is cheap: a clone is the same queue. The queue has connections and threads of its own, which end when the last clone, the
/// last worker and the last job of this process are gone.
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

    /// Asks the database, on the queue's own runtime.
    pub(super) async fn ask<T: Send + 'static>(&self, ask: impl AsyncFnOnceSend<T>) -> Result<T, Error> {
        let store = self.owner.engine().store().clone();
        let answer = self.owner.run(ask.call(store)).await?;
        answer.map_err(|error| Error::Store(error.into()))
    }

    /// Returns how many jobs the queue has. Each number stops at 10,000.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn counts(&self) -> Result<QueueCounts, Error> {
        self.ask(|store: Arc<dyn Store>| async move { store.counts().await }).await
    }

    /// Returns at most so many jobs that failed for good, the latest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn failed(&self, limit: usize) -> Result<Vec<FailedJob>, Error> {
        self.ask(move |store: Arc<dyn Store>| async move { store.failed(limit).await }).await
    }

    /// Returns what has been due for a minute and nobody takes: names of job types that no worker was given, and `queue NAME` for
    /// other queues in the same database without a process.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn unclaimed(&self) -> Result<Vec<String>, Error> {
        self.ask(|store: Arc<dyn Store>| async move { store.unclaimed(60_000).await }).await
    }

    /// Returns how far a job has got, or how it has ended, whichever process runs it. `None` if the id is unknown, or no longer
    /// kept.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn status(&self, id: JobId) -> Result<Option<JobStatus>, Error> {
        self.ask(move |store: Arc<dyn Store>| async move { store.status(id).await }).await
    }

    /// Runs a job again that failed for good, with all its attempts. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn retry(&self, id: JobId) -> Result<bool, Error> {
        let retried = self.ask(move |store: Arc<dyn Store>| async move { store.retry(id).await }).await?;
        self.owner.engine().made_ready();
        Ok(retried)
    }

    /// Deletes a job that failed for good. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn discard(&self, id: JobId) -> Result<bool, Error> {
        self.ask(move |store: Arc<dyn Store>| async move { store.discard(id).await }).await
    }

    /// Cancels a job, in whatever process it is. One that has ended stays as it is.
    ///
    /// [`Cancelled`](Cancel::Cancelled) means that it runs nowhere from here on: its row says so. One that runs is asked to stop: in
    /// this process at its next `.await`, in another one within a beat (3 s).
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

    /// Leaves jobs of this name where they are, in every process, until they are [resumed](Self::resume). Those that run go on.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        self.set_paused(name, true).await
    }

    /// Lets jobs of this name run again.
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

    /// Closes the queue and its clones: stores what waits to be stored, for two seconds at most, and takes leave of the database.
    /// Completes within four seconds.
    ///
    /// Durable jobs that this process still has are stopped, and other processes run them at once. So [shut down](defer_core::Runner::shutdown)
    /// the runner before. From here on its durable jobs run in this process only, as when the database is away; workers of the queue
    /// end with an error, and so does whatever the queue is asked.
    ///
    /// There is no need to call it: a queue does the same on its own when its last clone and its last job are dropped. It tells
    /// you when that is done.
    ///
    /// # Cancel safety
    ///
    /// If dropped, the queue is closed all the same.
    pub async fn close(&self) {
        self.owner.close().await;
    }
}

/// Something to ask of a store, as a future that owns it.
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

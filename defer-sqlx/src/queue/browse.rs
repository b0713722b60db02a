//! Inspects single jobs, and the processes that have them.

use std::sync::Arc;

use defer_core::{
    JobId,
    queue::{FailureGroup, Holder, JobFilter, NameCounts, QueuedJob},
};

use super::queue::SqlxQueue;
use crate::{
    engine::queued_job,
    error::Error,
    store::{Failures, Store, Stored},
};

impl SqlxQueue {
    /// Returns one job, whichever process has it. `None` if the id is unknown, or the job is no longer kept.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn job(&self, id: JobId) -> Result<Option<QueuedJob>, Error> {
        let row = self.ask(move |store: Arc<dyn Store>| async move { store.job(id).await }).await?;
        Ok(row.and_then(queued_job))
    }

    /// Returns at most `limit` of these jobs. For each process, it looks at no more than 1,000 jobs.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn jobs(&self, filter: JobFilter, limit: usize) -> Result<Vec<QueuedJob>, Error> {
        let rows =
            self.ask(move |store: Arc<dyn Store>| async move { store.jobs(filter, limit).await }).await?;
        Ok(rows.into_iter().filter_map(queued_job).collect())
    }

    /// Returns at most `limit` groups of failed jobs, those with the latest failure first. Looks at the latest 10,000 failures.
    /// Jobs belong to the same group if they have the same name, and the same first 200 characters in the first line of their
    /// errors.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn failures(&self, limit: usize) -> Result<Vec<FailureGroup>, Error> {
        self.ask(move |store: Arc<dyn Store>| async move { store.failures(limit).await }).await
    }

    /// Returns the number of jobs for each name that has jobs other than successful ones. Counting stops at 10,000, or earlier
    /// if there are many names, so the cost does not grow with the number of jobs.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn counts_by_name(&self) -> Result<Vec<NameCounts>, Error> {
        self.ask(|store: Arc<dyn Store>| async move { store.counts_by_name().await }).await
    }

    /// Returns the processes that hold or run jobs of the queue, including this one. If a process has sent no
    /// [heartbeat](Holder::last_seen) for nine seconds, others are about to take over its jobs.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn holders(&self) -> Result<Vec<Holder>, Error> {
        let rows = self.ask(|store: Arc<dyn Store>| async move { store.holders().await }).await?;
        Ok(rows.into_iter().map(|row| self.owner().engine().told(row)).collect())
    }

    /// Returns the names of the jobs that are [paused](Self::pause).
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn paused(&self) -> Result<Vec<String>, Error> {
        self.ask(|store: Arc<dyn Store>| async move { store.paused().await }).await
    }

    /// Runs the failed jobs of a [group](Self::failures) again, with all their attempts, a thousand per transaction. Returns
    /// how many there were.
    ///
    /// # Errors
    ///
    /// If the database fails. Some of the jobs may still run again.
    ///
    /// # Cancel safety
    ///
    /// If dropped, some of the jobs may run again.
    pub async fn retry_all(&self, name: &str, error: &str) -> Result<u64, Error> {
        let retried = self.of_group(name, error, |store, failures| store.retry_some(failures)).await;
        self.owner().engine().made_ready();
        retried
    }

    /// Deletes the failed jobs of a [group](Self::failures), a thousand per transaction. Returns how many there were.
    ///
    /// # Errors
    ///
    /// If the database fails. Some of the jobs may still be deleted.
    ///
    /// # Cancel safety
    ///
    /// If dropped, some of the jobs may be deleted.
    pub async fn discard_all(&self, name: &str, error: &str) -> Result<u64, Error> {
        self.of_group(name, error, |store, failures| store.discard_some(failures)).await
    }

    /// Applies an operation to a group of failed jobs until no more are found. Returns the number of jobs.
    async fn of_group(
        &self,
        name: &str,
        error: &str,
        some: impl Fn(&dyn Store, Failures) -> Stored<'_, usize> + Send + 'static,
    ) -> Result<u64, Error> {
        let (name, error) = (name.to_owned(), error.to_owned());
        let all = async move |store: Arc<dyn Store>| {
            // Leaves out jobs that fail again meanwhile.
            let failures = Failures { name, error, until: store.now().await? };
            let mut all = 0;
            loop {
                match some(&*store, failures.clone()).await? {
                    0 => return Ok(all),
                    done => all += done as u64,
                }
            }
        };
        self.ask(all).await
    }
}

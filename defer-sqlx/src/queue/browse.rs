//! Looking at jobs one by one, and at the processes that have them.

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
    /// Returns one job, whichever process has it. `None` if the id is unknown, or no longer kept.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn job(&self, id: JobId) -> Result<Option<QueuedJob>, Error> {
        let row = self.ask(move |store: Arc<dyn Store>| async move { store.job(id).await }).await?;
        Ok(row.and_then(queued_job))
    }

    /// Returns at most so many jobs. Of a process that has more than 1,000, only so many are looked at.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn jobs(&self, filter: JobFilter, limit: usize) -> Result<Vec<QueuedJob>, Error> {
        let rows =
            self.ask(move |store: Arc<dyn Store>| async move { store.jobs(filter, limit).await }).await?;
        Ok(rows.into_iter().filter_map(queued_job).collect())
    }

    /// Returns at most so many groups of jobs that failed for good, those with the latest failure first. Looks at the latest 10,000
    /// failures. A group is known by its name and the first 200 characters of the first line of its errors.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn failures(&self, limit: usize) -> Result<Vec<FailureGroup>, Error> {
        self.ask(move |store: Arc<dyn Store>| async move { store.failures(limit).await }).await
    }

    /// Returns how many jobs there are of each name that has some other than done ones. Each number stops at 10,000, or sooner if
    /// there are many names: a look costs the same however many jobs there are.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn counts_by_name(&self) -> Result<Vec<NameCounts>, Error> {
        self.ask(|store: Arc<dyn Store>| async move { store.counts_by_name().await }).await
    }

    /// Returns the processes that hold or run jobs of the queue, this one among them. One that was not
    /// [heard of](Holder::last_seen) for nine seconds is dying, and others will run its jobs.
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

    /// Runs the jobs of a [group](Self::failures) again that have failed so far, with all of their attempts, a thousand in each
    /// transaction. Returns how many there were.
    ///
    /// # Errors
    ///
    /// If the database fails. Some of them may run again then.
    ///
    /// # Cancel safety
    ///
    /// If dropped, some of them may run again.
    pub async fn retry_all(&self, name: &str, error: &str) -> Result<u64, Error> {
        let retried = self.of_group(name, error, |store, failures| store.retry_some(failures)).await;
        self.owner().engine().made_ready();
        retried
    }

    /// Deletes the jobs of a [group](Self::failures) that have failed so far, a thousand in each transaction. Returns how many there
    /// were.
    ///
    /// # Errors
    ///
    /// If the database fails. Some of them may be deleted then.
    ///
    /// # Cancel safety
    ///
    /// If dropped, some of them may be deleted.
    pub async fn discard_all(&self, name: &str, error: &str) -> Result<u64, Error> {
        self.of_group(name, error, |store, failures| store.discard_some(failures)).await
    }

    /// Does something with a group of failed jobs, until no more are found. Returns with how many.
    async fn of_group(
        &self,
        name: &str,
        error: &str,
        some: impl Fn(&dyn Store, Failures) -> Stored<'_, usize> + Send + 'static,
    ) -> Result<u64, Error> {
        let (name, error) = (name.to_owned(), error.to_owned());
        let all = async move |store: Arc<dyn Store>| {
            // What fails again meanwhile is left.
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

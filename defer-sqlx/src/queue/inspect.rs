//! Implements the interface to inspect a queue.

use defer_core::{
    BoxError, BoxFuture, JobId, JobStatus,
    queue::{
        Cancel, FailedJob, FailureGroup, Holder, InspectQueue, JobFilter, NameCounts, QueueCounts, QueuedJob,
    },
};

use super::queue::SqlxQueue;

impl InspectQueue for SqlxQueue {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        Box::pin(async { Ok(Self::counts(self).await?) })
    }

    fn failed(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        Box::pin(async move { Ok(Self::failed(self, limit).await?) })
    }

    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        Box::pin(async move { Ok(Self::status(self, id).await?) })
    }

    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(async move { Ok(Self::retry(self, id).await?) })
    }

    fn unclaimed(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        Box::pin(async { Ok(Self::unclaimed(self).await?) })
    }

    fn discard(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(async move { Ok(Self::discard(self, id).await?) })
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<Cancel, BoxError>> {
        Box::pin(async move { Ok(Self::cancel(self, id).await?) })
    }

    fn pause<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(Self::pause(self, name).await?) })
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(Self::resume(self, name).await?) })
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<QueuedJob>, BoxError>> {
        Box::pin(async move { Ok(Self::job(self, id).await?) })
    }

    fn jobs(&self, filter: JobFilter, limit: usize) -> BoxFuture<'_, Result<Vec<QueuedJob>, BoxError>> {
        Box::pin(async move { Ok(Self::jobs(self, filter, limit).await?) })
    }

    fn failures(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailureGroup>, BoxError>> {
        Box::pin(async move { Ok(Self::failures(self, limit).await?) })
    }

    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        Box::pin(async { Ok(Self::counts_by_name(self).await?) })
    }

    fn holders(&self) -> BoxFuture<'_, Result<Vec<Holder>, BoxError>> {
        Box::pin(async { Ok(Self::holders(self).await?) })
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        Box::pin(async { Ok(Self::paused(self).await?) })
    }

    fn retry_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        Box::pin(async move { Ok(Self::retry_all(self, name, error).await?) })
    }

    fn discard_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        Box::pin(async move { Ok(Self::discard_all(self, name, error).await?) })
    }
}

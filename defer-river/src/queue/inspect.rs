//! Looks into the queue.

use std::{collections::BTreeMap, time::Duration};

use defer_core::{
    BoxError, BoxFuture, Cancel, JobId, JobStatus,
    queue::{FailedJob, InspectQueue, JobFilter, NameCounts, QueueCounts, QueuedJob},
};
use riverqueue::JobState;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{queue::RiverQueue, shown::duration};
use crate::{
    error::Error,
    store::{AT_ONCE, Change, Changed, Flag, From, Stored, To, list, settle},
};

/// The states of jobs that have not ended, and of those that can be looked at afterwards.
const COUNTED: [&str; 7] =
    ["available", "pending", "scheduled", "retryable", "running", "completed", "discarded"];

/// How many jobs of a type are in a state.
#[derive(Deserialize)]
struct Count {
    kind: String,
    is_held: Flag,
    is_due: Flag,
    count: u64,
    oldest: Option<i64>,
}

/// How long the database may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

async fn within<T>(ask: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(TIMEOUT, ask).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Store(format!("it did not answer within {TIMEOUT:?}").into())),
    }
}

impl RiverQueue {
    async fn ask(&self, statement: &'static str, parameter: Value) -> Result<Vec<String>, Error> {
        within(async {
            // Its own, which is closed if this is dropped half-way.
            let mut connection = self.engine.database.open().await?;
            connection.target().ask(statement, &parameter).await
        })
        .await
    }

    async fn list(&self, statement: &'static str, parameter: Value) -> Result<Vec<Stored>, Error> {
        within(async {
            let mut connection = self.engine.database.open().await?;
            list(&mut connection.target(), statement, parameter).await
        })
        .await
    }

    /// Asks a statement that changes some jobs until it finds no more.
    async fn ask_for_all(&self, statement: &'static str) -> Result<(), Error> {
        while self.ask(statement, json!({})).await?.len() >= AT_ONCE {}
        Ok(())
    }

    /// Returns whether a job of these types waits or runs.
    pub(crate) async fn is_left(&self, names: &Value) -> Result<bool, Error> {
        let statement = self.engine.database.statements().is_left;
        let asked = json!({ "names": names, "queue": self.engine.settings.queue });
        Ok(!self.ask(statement, asked).await?.is_empty())
    }

    async fn stored_job(&self, id: JobId) -> Result<Option<Stored>, Error> {
        let statement = self.engine.database.statements().find;
        Ok(self.list(statement, json!({ "id": id })).await?.pop())
    }

    async fn counted(&self) -> Result<Vec<(&'static str, Count)>, Error> {
        let statement = self.engine.database.statements().count;
        within(async {
            let mut connection = self.engine.database.open().await?;
            let mut counts = Vec::new();
            for state in COUNTED {
                let rows = connection.target().ask(statement, &json!({ "state": state })).await?;
                let read = rows.iter().filter_map(|row| serde_json::from_str::<Count>(row).ok());
                counts.extend(read.map(|count| (state, count)));
            }
            Ok(counts)
        })
        .await
    }

    /// Returns how many jobs of this crate the database has, in queues of any name. Each count of a state stops at 10,000. Jobs
    /// that River has deleted do not count: by default it keeps completed ones for 24 hours, and discarded ones for 7 days.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn counts(&self) -> Result<QueueCounts, Error> {
        let mut counts = QueueCounts::default();
        for (state, count) in self.counted().await? {
            match state {
                "completed" => counts.done += count.count,
                "discarded" => counts.failed += count.count,
                "running" => counts.running += count.count,
                _ if count.is_held.is_set() => counts.running += count.count,
                _ => {
                    counts.pending += count.count;
                    counts.oldest_due = counts.oldest_due.max(count.oldest.map(duration));
                }
            }
        }
        Ok(counts)
    }

    /// Returns at most `limit` failed jobs, the latest first, of queues of any name.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn failed(&self, limit: usize) -> Result<Vec<FailedJob>, Error> {
        let statement = self.engine.database.statements().failed;
        let failed = self.list(statement, json!({ "limit": limit })).await?;
        Ok(failed
            .into_iter()
            .filter_map(|job| {
                let attempts = job.attempts();
                Some(FailedJob::new(job.defer.id?, job.kind, attempts, job.error.unwrap_or_default()))
            })
            .collect())
    }

    /// Returns the status of a job, whichever process runs it. `None` if the id is unknown, or River has deleted it.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn status(&self, id: JobId) -> Result<Option<JobStatus>, Error> {
        Ok(self.stored_job(id).await?.map(|job| job.job_status()))
    }

    /// Runs a failed job again, with all its attempts. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn retry(&self, id: JobId) -> Result<bool, Error> {
        let change = Change::new(From::Failed { id }, To::Anew);
        let retried = within(async {
            let mut connection = self.engine.database.open().await?;
            let statements = self.engine.database.statements();
            settle(&mut connection.target(), statements, &[&change], &self.engine.settings.queue).await
        });
        Ok(retried.await?.contains(&Changed::Made))
    }

    /// Deletes a failed job. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn discard(&self, id: JobId) -> Result<bool, Error> {
        let statement = self.engine.database.statements().discard;
        Ok(!self.ask(statement, json!({ "id": id })).await?.is_empty())
    }

    /// Cancels a job, in whichever process it is, as River does. A job that has ended does not change.
    ///
    /// [`Cancelled`](Cancel::Cancelled) means that the job will not run anywhere. A running job is asked to stop at its next
    /// `.await`.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn cancel(&self, id: JobId) -> Result<Cancel, Error> {
        let Some(job) = self.stored_job(id).await? else { return Ok(Cancel::Unknown) };
        if job.ended.is_some() {
            return Ok(Cancel::Ended);
        }
        let row = match self.river.jobs().cancel(job.row).await {
            Ok(row) => row,
            Err(riverqueue::Error::NotFound(_)) => return Ok(Cancel::Unknown),
            Err(error) => return Err(error.into()),
        };
        Ok(match row.state {
            JobState::Cancelled => Cancel::Cancelled,
            JobState::Running => Cancel::Asked,
            _ => Cancel::Ended,
        })
    }

    /// Pauses jobs with this name in every process and every queue of the database, until they are [resumed](Self::resume).
    /// Running jobs go on.
    ///
    /// River pauses queues, and not types: this parks the jobs of the type as River's `pending`. One that is retried or
    /// snoozes at this moment is parked within three seconds. To pause all, use
    /// [`river()`](Self::river)`.queues().pause(..)`.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        let statements = self.engine.database.statements();
        self.ask(statements.pause, json!({ "name": name })).await?;
        self.ask_for_all(statements.park).await
    }

    /// Resumes jobs with this name. One that is being stored or parked at this moment is found within three seconds.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn resume(&self, name: &str) -> Result<(), Error> {
        let statements = self.engine.database.statements();
        self.ask(statements.resume, json!({ "name": name })).await?;
        self.ask_for_all(statements.unpark).await?;
        let payload = json!({ "queue": self.engine.settings.queue }).to_string();
        self.ask(statements.notify, json!({ "payload": payload })).await?;
        Ok(())
    }
}

impl InspectQueue for RiverQueue {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        Box::pin(async { Ok(self.counts().await?) })
    }

    fn failed(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        Box::pin(async move { Ok(self.failed(limit).await?) })
    }

    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        Box::pin(async move { Ok(self.status(id).await?) })
    }

    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(async move { Ok(self.retry(id).await?) })
    }

    fn discard(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(async move { Ok(self.discard(id).await?) })
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<Cancel, BoxError>> {
        Box::pin(async move { Ok(self.cancel(id).await?) })
    }

    fn pause<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(self.pause(name).await?) })
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(self.resume(name).await?) })
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        Box::pin(async { Ok(self.ask(self.engine.database.statements().paused, json!({})).await?) })
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<QueuedJob>, BoxError>> {
        Box::pin(async move { Ok(self.stored_job(id).await?.and_then(Stored::shown)) })
    }

    fn jobs(&self, filter: JobFilter, limit: usize) -> BoxFuture<'_, Result<Vec<QueuedJob>, BoxError>> {
        Box::pin(async move {
            let statements = self.engine.database.statements();
            let statement = match filter {
                JobFilter::Ready => statements.ready,
                JobFilter::Delayed => statements.delayed,
                JobFilter::Running => statements.running,
                _ => return Ok(Vec::new()),
            };
            let jobs = self.list(statement, json!({ "limit": limit })).await?;
            Ok(jobs.into_iter().filter_map(Stored::shown).collect())
        })
    }

    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        Box::pin(async {
            let mut names = BTreeMap::new();
            for (state, count) in self.counted().await? {
                if state == "completed" {
                    continue;
                }
                let name = count.kind.clone();
                let counts: &mut NameCounts =
                    names.entry(name).or_insert_with(|| NameCounts::new(count.kind));
                match state {
                    "discarded" => counts.failed += count.count,
                    "running" => counts.running += count.count,
                    _ if count.is_held.is_set() => counts.running += count.count,
                    _ if count.is_due.is_set() => {
                        counts.ready += count.count;
                        counts.oldest_due = counts.oldest_due.max(count.oldest.map(duration));
                    }
                    _ => counts.delayed += count.count,
                }
            }
            Ok(names.into_values().collect())
        })
    }
}

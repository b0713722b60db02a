//! A job that the queue or a transaction is about to store.

use std::{
    fmt,
    future::{IntoFuture, ready},
    sync::Arc,
    time::Duration,
};

use defer_core::{BoxFuture, JobId};

use super::{
    insert::{Insert, Table},
    transaction::QueueTransaction,
};
use crate::{
    engine::{millis, text},
    error::Error,
    store::{NewJob, Replace, Throttle},
};

/// Stores jobs that any process may take.
pub(crate) trait PushJobs: Send + Sync {
    /// Starts storing a job. Dropping the future does not stop it.
    fn push(&self, job: NewJob) -> BoxFuture<'static, Result<(), Error>>;
}

/// A job that is stored when you await this. Returned by [`SqlxQueue::push`](crate::SqlxQueue::push) and
/// [`SqlxQueue::push_in`](crate::SqlxQueue::push_in).
///
/// Awaiting it returns the job's id. With [`push`](crate::SqlxQueue::push), the job is then stored. With
/// [`push_in`](crate::SqlxQueue::push_in), it is part of your transaction, and stored when you commit.
///
/// ```
/// # use defer_sqlx::SqlxQueue;
/// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SyncCart { cart: u64 }
/// # impl Job for SyncCart { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
/// # impl Deferrable for SyncCart { const NAME: &'static str = "SyncCart"; const POLICY: Policy = Policy::new(); }
/// use std::time::Duration;
///
/// # async fn example(queue: &SqlxQueue) -> Result<(), defer_sqlx::Error> {
/// let id = queue.push(SyncCart { cart: 42 }).delay(Duration::from_secs(5)).unique("sync:42").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// - [`Error::Encode`] if the job cannot be serialized as JSON, or is too large.
/// - [`Error::OtherDatabase`] if the transaction is on another kind of database than the queue.
/// - [`Error::NotInTransaction`] if [`replace`](Self::replace) or [`at_most_every`](Self::at_most_every) was called on what
///   [`push_in`](crate::SqlxQueue::push_in) returned.
/// - [`Error::Store`] if the database failed, with the client's error inside. After that, your transaction can go on with
///   SQLite; with Postgres you can only roll it back.
///
/// # Cancel safety
///
/// If a [`push`](crate::SqlxQueue::push) is dropped while it is in progress, the job may be stored or not. If it is dropped
/// before it is awaited, nothing happens. A [`push_in`](crate::SqlxQueue::push_in) is as cancel safe as a statement of your
/// client.
#[must_use = "futures do nothing unless you `.await` them"]
pub struct Push<'a> {
    job: Result<NewJob, Error>,
    to: Destination<'a>,
}

enum Destination<'a> {
    Queue(Arc<dyn PushJobs>),
    Transaction(&'a mut dyn QueueTransaction, Arc<Table>),
}

impl<'a> Push<'a> {
    pub(crate) fn by_queue(job: Result<NewJob, Error>, queue: Arc<dyn PushJobs>) -> Self {
        Self { job, to: Destination::Queue(queue) }
    }

    pub(crate) fn in_transaction(
        job: Result<NewJob, Error>,
        transaction: &'a mut dyn QueueTransaction,
        table: Arc<Table>,
    ) -> Self {
        Self { job, to: Destination::Transaction(transaction, table) }
    }

    /// Runs the job no sooner than this long after it was pushed, by the database's clock.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|job| job.delay = millis(delay))
    }

    /// Drops the job if another job with this key is waiting to be taken. It then ends as a duplicate, and its status names the
    /// other job.
    ///
    /// Once the other job is taken, the next job with the key is stored again, so no change is missed. A job that waits for
    /// another attempt does not count.
    ///
    /// Uncommitted transactions do not count: if two with the same key are open at the same time, neither waits for the other,
    /// and both jobs run. On Postgres, a job that has duplicates is not taken before the transactions of these duplicates have
    /// ended.
    pub fn unique(self, key: impl Into<String>) -> Self {
        self.with(|job| job.unique = Some(text(&key.into())))
    }

    /// Replaces the job with the same [unique](Self::unique) key that is waiting to be taken, instead of being dropped as its
    /// duplicate. This job is due when the other one was, and the other one ends as its duplicate. A job that was taken is not
    /// replaced.
    ///
    /// Only [`push`](crate::SqlxQueue::push) can do this: it changes another job, which your transaction would keep locked.
    pub fn replace(self) -> Self {
        self.with(|job| job.replace = Some(Replace::AtItsTime))
    }

    /// Replaces the job with the same [unique](Self::unique) key that is waiting to be taken, and starts its own
    /// [`delay`](Self::delay) from now. It is due no later than `longest` after the first job in the chain of replacements was
    /// pushed. See [`replace`](Self::replace).
    ///
    /// ```
    /// # use defer_sqlx::SqlxQueue;
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Index { document: u64 }
    /// # impl Job for Index { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for Index { const NAME: &'static str = "Index"; const POLICY: Policy = Policy::new(); }
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), defer_sqlx::Error> {
    /// # let queue = SqlxQueue::connect("sqlite::memory:").await?;
    /// let edit = || {
    ///     let job = queue.push(Index { document: 42 }).unique("index:42");
    ///     job.replace_within(Duration::from_secs(60)).delay(Duration::from_secs(5))
    /// };
    /// let first = edit().await?;
    /// let second = edit().await?;
    /// assert_eq!(queue.status(first).await?, Some(defer_core::JobStatus::duplicate(second)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace_within(self, longest: Duration) -> Self {
        self.with(|job| job.replace = Some(Replace::Within(millis(longest))))
    }

    /// Drops the job if, when it would be taken, another job with this key has started less than this long ago in any process. It
    /// then ends as a duplicate of the other job. Only [`push`](crate::SqlxQueue::push) can do this.
    ///
    /// ```
    /// # use defer_sqlx::SqlxQueue;
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Scan { repository: u64 }
    /// # impl Job for Scan { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for Scan { const NAME: &'static str = "Scan"; const POLICY: Policy = Policy::new(); }
    /// # async fn example(queue: &SqlxQueue) -> Result<(), defer_sqlx::Error> {
    /// # use std::time::Duration;
    /// queue.push(Scan { repository: 42 }).at_most_every("scan:42", Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn at_most_every(self, key: impl Into<String>, every: Duration) -> Self {
        self.with(|job| job.throttle = Some(Throttle { key: text(&key.into()), every: millis(every) }))
    }

    /// Runs jobs with this key one at a time, across all processes, in the order in which they were stored.
    ///
    /// The order is that of the statements, not of the commits.
    pub fn serial(self, key: impl Into<String>) -> Self {
        self.with(|job| job.serial = Some(text(&key.into())))
    }

    /// Sets the job's priority, instead of its type's. Workers take due jobs with a higher priority first.
    pub fn priority(self, priority: i16) -> Self {
        self.with(|job| job.priority = priority)
    }

    fn with(mut self, set: impl FnOnce(&mut NewJob)) -> Self {
        if let Ok(job) = &mut self.job {
            set(job);
        }
        self
    }
}

impl<'a> IntoFuture for Push<'a> {
    type Output = Result<JobId, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let job = match self.job {
            Ok(job) => job,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let id = job.id;
        match self.to {
            Destination::Queue(queue) => Box::pin(async move {
                queue.push(job).await?;
                Ok(id)
            }),
            Destination::Transaction(transaction, table) => Box::pin(async move {
                let option = match (&job.replace, &job.throttle) {
                    (Some(_), _) => Some("replace"),
                    (None, Some(_)) => Some("at_most_every"),
                    (None, None) => None,
                };
                if let Some(option) = option {
                    return Err(Error::NotInTransaction { option });
                }
                let queue = table.database;
                if transaction.database() != Some(queue) {
                    return Err(Error::OtherDatabase { queue: queue.name() });
                }
                transaction.insert(&Insert::new(table, job)).await.map_err(Error::Store)?;
                Ok(id)
            }),
        }
    }
}

impl fmt::Debug for Push<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("job", &self.job.as_ref().map(|job| job.id)).finish_non_exhaustive()
    }
}

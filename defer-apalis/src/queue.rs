//! The queue.

use std::{fmt, sync::Arc, time::Duration};

use defer_core::{
    BoxError, BoxFuture, JobId, JobStatus,
    queue::QueueCounts as Counts,
    queue::{Envelope, FailedJob, InspectQueue, Queue},
};
use tokio::sync::Notify;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use defer_core::Deferrable;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use serde::Serialize;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use crate::transaction::QueueTransaction;
use crate::{
    commit::Commits,
    error::Error,
    store::{self, Store},
};

/// The name of apalis' queue in which the jobs are.
const QUEUE: &str = "defer";

/// A queue on apalis. Give it to [`RunnerBuilder::queue`](defer_core::RunnerBuilder::queue).
///
/// Cloning is cheap: a clone is the same queue.
#[derive(Clone)]
pub struct ApalisQueue {
    pub(crate) store: Arc<dyn Store>,
    commits: Arc<Commits>,
    /// Jobs were pushed in this process.
    pub(crate) pushed: Arc<Notify>,
}

impl ApalisQueue {
    /// Connects to the database or server at this URL, and creates what it needs there.
    ///
    /// `sqlite:queue.db` is a file, which is created if it does not exist; `postgres:` and `redis:` are servers.
    ///
    /// # Errors
    ///
    /// If the URL is not of a kind that is known and built in, or if the connection fails.
    ///
    /// ```
    /// # use defer_apalis::ApalisQueue;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let error = ApalisQueue::connect("mysql://localhost").await.unwrap_err();
    /// assert!(error.to_string().contains("expected a URL that begins with `sqlite:`"));
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Self, Error> {
        match url.split(':').next().unwrap_or_default() {
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Self::new(store::sqlite::Sqlite::connect(url, QUEUE).await?)),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Ok(Self::new(store::postgres::Postgres::connect(url, QUEUE).await?)),
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "redis+unix" | "unix" => {
                Ok(Self::new(store::redis::Redis::connect(url, QUEUE).await?))
            }
            #[cfg(not(feature = "sqlite"))]
            "sqlite" => Err(Error::MissingFeature { feature: "sqlite" }),
            #[cfg(not(feature = "postgres"))]
            "postgres" | "postgresql" => Err(Error::MissingFeature { feature: "postgres" }),
            #[cfg(not(feature = "redis"))]
            "redis" | "rediss" | "redis+unix" | "unix" => Err(Error::MissingFeature { feature: "redis" }),
            scheme => Err(Error::UnknownUrl { scheme: scheme.to_owned() }),
        }
    }

    /// Uses a pool of yours, so that jobs can be [stored in your transactions](Self::push_in). Creates apalis' tables in its
    /// database.
    ///
    /// What a power cut leaves is what the pool's settings say: set `journal_mode(Wal)` and `synchronous(Full)`, as
    /// [`connect`](Self::connect) does.
    ///
    /// # Errors
    ///
    /// If the tables cannot be created.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(pool: sqlx::SqlitePool) -> Result<Self, Error> {
        Ok(Self::new(store::sqlite::Sqlite::open(pool, QUEUE).await?))
    }

    /// Uses a pool of yours, so that jobs can be [stored in your transactions](Self::push_in). Creates apalis' schema in its
    /// database.
    ///
    /// # Errors
    ///
    /// If the schema cannot be created.
    #[cfg(feature = "postgres")]
    pub async fn postgres(pool: sqlx::PgPool) -> Result<Self, Error> {
        Ok(Self::new(store::postgres::Postgres::open(pool, QUEUE).await?))
    }

    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    fn new(store: impl Store + 'static) -> Self {
        Self { store: Arc::new(store), commits: Arc::default(), pushed: Arc::default() }
    }

    /// Stores a job in a transaction of yours: it is there with your rows or not at all, and runs after the commit, within a
    /// second on SQLite and at once on Postgres. Returns its id.
    ///
    /// No count and no event of a runner knows of it before a worker has it, since it may be rolled back.
    ///
    /// # Errors
    ///
    /// If the transaction is of another kind of database than the queue's, if the job cannot be written as JSON, or if the database
    /// fails. The transaction may then still be used on SQLite; on Postgres it can only be rolled back.
    ///
    /// On SQLite, a transaction that reads before it writes fails if another has written meanwhile: begin one with
    /// `pool.begin_with("BEGIN IMMEDIATE")`.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use defer_apalis::{ApalisQueue, sqlx};
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendWelcome { to: String }
    /// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for SendWelcome { const NAME: &'static str = "SendWelcome"; const POLICY: Policy = Policy::new(); }
    ///
    /// async fn sign_up(
    ///     pool: &sqlx::SqlitePool,
    ///     queue: &ApalisQueue,
    ///     email: &str,
    /// ) -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut tx = pool.begin().await?;
    ///     sqlx::query("INSERT INTO users (email) VALUES (?1)").bind(email).execute(&mut *tx).await?;
    ///     queue.push_in(&mut tx, SendWelcome { to: email.to_owned() }).await?;
    ///     tx.commit().await?; // both or neither
    ///     Ok(())
    /// }
    /// # }
    /// # fn main() {}
    /// ```
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub async fn push_in<J: Deferrable + Serialize>(
        &self,
        transaction: &mut impl QueueTransaction,
        job: J,
    ) -> Result<JobId, Error> {
        let ids = self.push_many_in(transaction, [job]).await?;
        Ok(ids[0])
    }

    /// Stores several jobs in a transaction of yours, as [`push_in`](Self::push_in) does. Returns their ids.
    ///
    /// # Errors
    ///
    /// As [`push_in`](Self::push_in).
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub async fn push_many_in<J: Deferrable + Serialize>(
        &self,
        transaction: &mut impl QueueTransaction,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<JobId>, Error> {
        let jobs: Result<Vec<Envelope>, BoxError> = jobs.into_iter().map(|job| Envelope::of(&job)).collect();
        self.push_envelopes_in(transaction, jobs.map_err(Error::Encode)?).await
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    async fn push_envelopes_in<T: QueueTransaction>(
        &self,
        transaction: &mut T,
        jobs: Vec<Envelope>,
    ) -> Result<Vec<JobId>, Error> {
        if T::DATABASE != self.store.database() {
            return Err(Error::OtherDatabase { queue: self.store.database() });
        }
        transaction.push(QUEUE, &jobs).await?;
        Ok(jobs.iter().map(|job| job.id).collect())
    }

    /// Returns how many jobs the queue has.
    ///
    /// # Errors
    ///
    /// If the database or server fails.
    pub async fn counts(&self) -> Result<Counts, Error> {
        self.store.counts().await
    }

    /// Returns at most so many jobs that failed for good, the latest first.
    ///
    /// # Errors
    ///
    /// If the database or server fails.
    pub async fn failed(&self, limit: usize) -> Result<Vec<FailedJob>, Error> {
        self.store.failed(limit).await
    }

    /// Returns how far a job has got, or how it has ended, whichever process runs it. A lookup by its key.
    ///
    /// It is [`Pending`](JobStatus::Pending) while it waits for a worker, a delay or its next attempt,
    /// [`Running`](JobStatus::Running) while a worker has it, and then [`Succeeded`](JobStatus::Succeeded) or, given up,
    /// [`Failed`](JobStatus::Failed). `None` if the id is unknown, or [forgotten](Self::forget_done).
    ///
    /// # Errors
    ///
    /// If the database or server fails.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it only reads.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use defer_apalis::{ApalisQueue, JobStatus};
    /// use defer_core::{queue::{Envelope, Queue}, JobId};
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendWelcome { to: String }
    /// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for SendWelcome { const NAME: &'static str = "SendWelcome"; const POLICY: Policy = Policy::new(); }
    ///
    /// # pub async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let queue = ApalisQueue::connect("sqlite::memory:").await?;
    /// let job = Envelope::of(&SendWelcome { to: "ada@example.com".to_owned() })?;
    /// let id = job.id; // given to the client, who asks later
    /// queue.push(vec![job]).await?;
    /// assert_eq!(queue.status(id).await?, Some(JobStatus::Pending));
    /// assert_eq!(queue.status(JobId::unique()).await?, None);
    /// # Ok(())
    /// # }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> { example::run().await }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    pub async fn status(&self, id: JobId) -> Result<Option<JobStatus>, Error> {
        self.store.status(id).await
    }

    /// Runs a job again that failed for good, with all of its attempts. Returns whether there was such a job.
    ///
    /// # Errors
    ///
    /// If the database or server fails.
    pub async fn retry(&self, id: JobId) -> Result<bool, Error> {
        let retried = self.store.retry(id).await?;
        if retried {
            self.pushed.notify_one();
        }
        Ok(retried)
    }

    /// Deletes the jobs that succeeded so long ago or longer. Returns how many. Call it from time to time: they are kept until
    /// then. Those that failed are kept until they are [retried](Self::retry).
    ///
    /// # Errors
    ///
    /// If the database or server fails.
    pub async fn forget_done(&self, age: Duration) -> Result<u64, Error> {
        self.store.forget_done(age).await
    }
}

impl Queue for ApalisQueue {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            self.commits.push(&self.store, jobs).await?;
            self.pushed.notify_one();
            Ok(())
        })
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl InspectQueue for ApalisQueue {
    fn counts(&self) -> BoxFuture<'_, Result<Counts, BoxError>> {
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
}

impl fmt::Debug for ApalisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApalisQueue").field("store", &self.store).finish_non_exhaustive()
    }
}

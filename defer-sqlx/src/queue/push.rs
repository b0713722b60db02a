//! Stores jobs from outside a request.

use std::sync::Arc;

use defer_core::Deferrable;
use serde::Serialize;

use super::SqlxQueue;
use crate::{
    error::Error,
    push::{Insert, Push, QueueTransaction},
};

impl SqlxQueue {
    /// Stores a job from outside a request: from a command, a timer or a message consumer. Set a [delay](Push::delay), a
    /// [unique](Push::unique) or [serial](Push::serial) key, or a [priority](Push::priority) on the returned value, and await
    /// it.
    ///
    /// The job is ready as soon as it is stored: a worker takes it, in this process or another.
    ///
    /// # Errors
    ///
    /// See [`Push`].
    ///
    /// ```
    /// # use defer_sqlx::SqlxQueue;
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendWelcome { to: String }
    /// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for SendWelcome { const NAME: &'static str = "SendWelcome"; const POLICY: Policy = Policy::new(); }
    /// # async fn example(queue: &SqlxQueue) -> Result<(), defer_sqlx::Error> {
    /// let id = queue.push(SendWelcome { to: "ada@example.com".to_owned() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn push<J: Deferrable + Serialize>(&self, job: J) -> Push<'static> {
        Push::by_queue(self.table().job(&job), self.pusher())
    }

    /// Stores a job in your own transaction, together with your rows or not at all. Workers see it within a second after your
    /// commit.
    ///
    /// [`QueueTransaction`] lists the supported clients. Await the returned value, as with [`push`](Self::push).
    ///
    /// The job appears in the counts and events of a runner only when a worker takes it, because your transaction may be rolled
    /// back.
    ///
    /// On SQLite, a transaction that reads before it writes fails if another connection has written in between, so begin it
    /// with `pool.begin_with("BEGIN IMMEDIATE")`. While it is open, no other connection can write to that file.
    ///
    /// # Errors
    ///
    /// See [`Push`].
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use defer_sqlx::{SqlxQueue, sqlx};
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendWelcome { to: String }
    /// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for SendWelcome { const NAME: &'static str = "SendWelcome"; const POLICY: Policy = Policy::new(); }
    ///
    /// async fn sign_up(
    ///     pool: &sqlx::SqlitePool,
    ///     queue: &SqlxQueue,
    ///     email: &str,
    /// ) -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    ///     sqlx::query("INSERT INTO users (email) VALUES (?1)").bind(email).execute(&mut *tx).await?;
    ///     queue.push_in(&mut tx, SendWelcome { to: email.to_owned() }).await?;
    ///     tx.commit().await?; // both or neither
    ///     Ok(())
    /// }
    /// # }
    /// # fn main() {}
    /// ```
    pub fn push_in<'t, T, J>(&self, transaction: &'t mut T, job: J) -> Push<'t>
    where
        T: QueueTransaction,
        J: Deferrable + Serialize,
    {
        Push::in_transaction(self.table().job(&job), transaction, Arc::clone(self.table()))
    }

    /// Returns the statement that stores a job, with its values, for a database client that [`push_in`](Self::push_in) does not
    /// support.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if the job cannot be serialized as JSON, or is too large.
    pub fn insert<J: Deferrable + Serialize>(&self, job: J) -> Result<Insert, Error> {
        Ok(Insert::new(Arc::clone(self.table()), self.table().job(&job)?))
    }
}

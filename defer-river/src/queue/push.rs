//! Stores jobs from outside a request.

use std::{future::IntoFuture, sync::Arc, time::Duration};

use defer_core::{BoxFuture, Deferrable, JobId};
use serde::Serialize;

use super::queue::RiverQueue;
use crate::{
    engine::Engine,
    error::Error,
    store::{Row, Target, insert_waiting},
};

impl RiverQueue {
    /// Stores a job from outside a request: from a command, a timer or a message consumer. Set a [delay](Push::delay), a
    /// [unique](Push::unique) key or a [priority](Push::priority) on the returned value, and await it.
    ///
    /// The job is available as soon as it is stored: a worker takes it, in this process or another.
    ///
    /// # Errors
    ///
    /// As [`Push`] says.
    pub fn push<J: Deferrable + Serialize>(&self, job: J) -> Push<'static> {
        self.push_to(job, To::Queue)
    }

    /// Stores a job in your own transaction, together with your rows or not at all. Workers see it after your commit.
    ///
    /// On SQLite, a transaction that reads before it writes fails if another connection has written in between, so begin it
    /// with `pool.begin_with("BEGIN IMMEDIATE")`. While it is open, no other connection can write to that file: neither River,
    /// nor the requests of this service that have durable jobs.
    ///
    /// On Postgres, a job with a [unique](Push::unique) key keeps others with this key waiting until your transaction is over. Jobs
    /// with other keys go on.
    ///
    /// # Errors
    ///
    /// As [`Push`] says.
    pub fn push_in<'t, T, J>(&self, transaction: &'t mut T, job: J) -> Push<'t>
    where
        T: QueueTransaction,
        J: Deferrable + Serialize,
    {
        self.push_to(job, To::Transaction(transaction.target()))
    }

    fn push_to<'t, J: Deferrable + Serialize>(&self, job: J, to: To<'t>) -> Push<'t> {
        let settings = &self.engine.settings;
        let row = Row::of_job(&job, &settings.queue, settings.max_payload);
        Push { row, engine: self.engine.clone(), to }
    }
}

/// A job that is stored when you await this. Returned by [`RiverQueue::push`] and [`RiverQueue::push_in`].
///
/// Awaiting it returns the job's id. With [`push`](RiverQueue::push), the job is then stored. With
/// [`push_in`](RiverQueue::push_in), it is part of your transaction, and stored when you commit.
///
/// # Errors
///
/// - [`Error::Encode`] if the job cannot be serialized as JSON, is too large, or has a name that is no kind of River's.
/// - [`Error::OtherDatabase`] if the transaction is on another kind of database than the queue.
/// - [`Error::Store`] if the database refused it. On Postgres, you can then only roll your transaction back.
///
/// While the database is away, [`push`](RiverQueue::push) waits for it. It also waits for an open transaction that stores a job
/// with the same unique key: await it outside of that transaction, which would otherwise wait for itself.
///
/// # Cancel safety
///
/// If a [`push`](RiverQueue::push) is dropped while it is in progress, the job may be stored or not. If it is dropped before it
/// is awaited, nothing happens. A [`push_in`](RiverQueue::push_in) that is dropped half-way leaves its transaction as a
/// statement of sqlx does: roll it back.
#[must_use = "futures do nothing unless you `.await` them"]
pub struct Push<'t> {
    row: Result<Row, Error>,
    engine: Arc<Engine>,
    to: To<'t>,
}

enum To<'t> {
    Queue,
    Transaction(Target<'t>),
}

impl Push<'_> {
    /// Runs the job no sooner than this long after it was pushed, by the database's clock. River's scheduler makes jobs
    /// available every five seconds; a delay of up to five seconds does not wait for it.
    pub fn delay(mut self, delay: Duration) -> Self {
        if let Ok(row) = &mut self.row {
            row.set_delay(delay);
        }
        self
    }

    /// Leaves the job out if another job with this key waits or runs: its status is then
    /// [`Duplicate`](defer_core::JobStatus::Duplicate), and names the other job. This is a unique key of River's, kept by its
    /// index.
    pub fn unique(mut self, key: impl AsRef<str>) -> Self {
        self.row = self.row.and_then(|mut row| row.set_unique(key.as_ref()).map(|()| row));
        self
    }

    /// Sets its priority instead of its type's: among due jobs, workers take those with a higher priority first. 1 and more is
    /// River's 1, 0 is River's 2, -1 is River's 3, and less is River's 4. River's own default is 1.
    pub fn priority(mut self, priority: i16) -> Self {
        if let Ok(row) = &mut self.row {
            row.set_priority(priority);
        }
        self
    }
}

impl<'t> IntoFuture for Push<'t> {
    type Output = Result<JobId, Error>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { row, engine, to } = self;
            let row = row?;
            let id = row.id;
            match to {
                To::Queue => {
                    let closed = |_| Error::Store("the queue was closed".into());
                    let stored = engine.insert(vec![row], false).await.map_err(closed)?;
                    let stored: Result<(), String> = stored.into_iter().collect();
                    stored.map_err(|error| Error::Store(error.into()))?;
                }
                To::Transaction(mut target) => {
                    if !engine.database.is_like(&target) {
                        return Err(Error::OtherDatabase { queue: engine.database.name() });
                    }
                    let statements = engine.database.statements();
                    insert_waiting(&mut target, statements, &[&row], &engine.settings.queue).await?;
                }
            }
            Ok(id)
        })
    }
}

impl std::fmt::Debug for Push<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// A transaction or connection of sqlx 0.9 in which a job can be [stored](RiverQueue::push_in): `Transaction`,
/// `SqliteConnection` and `PgConnection`. On a connection without a transaction, the job is stored immediately.
#[diagnostic::on_unimplemented(
    message = "a job cannot be stored in `{Self}`",
    label = "not a transaction or connection of sqlx 0.9",
    note = "turn on the feature of `defer-river` for its database: `sqlite` or `postgres`",
    note = "`&mut *` turns what comes out of a pool into sqlx' own type"
)]
pub trait QueueTransaction: Send + sealed::Sealed {}

impl<T: Send + sealed::Sealed> QueueTransaction for T {}

// The trait is public so that it can be a bound, but only this module can name it: nobody else sees the private type.
#[allow(private_interfaces, reason = "nobody else can name the trait")]
mod sealed {
    use super::Target;

    pub trait Sealed {
        fn target(&mut self) -> Target<'_>;
    }

    #[cfg(feature = "sqlite")]
    impl Sealed for sqlx::SqliteConnection {
        fn target(&mut self) -> Target<'_> {
            Target::Sqlite(self)
        }
    }

    #[cfg(feature = "sqlite")]
    impl Sealed for sqlx::Transaction<'_, sqlx::Sqlite> {
        fn target(&mut self) -> Target<'_> {
            Target::Sqlite(self)
        }
    }

    #[cfg(feature = "postgres")]
    impl Sealed for sqlx::PgConnection {
        fn target(&mut self) -> Target<'_> {
            Target::Postgres(self)
        }
    }

    #[cfg(feature = "postgres")]
    impl Sealed for sqlx::Transaction<'_, sqlx::Postgres> {
        fn target(&mut self) -> Target<'_> {
            Target::Postgres(self)
        }
    }
}

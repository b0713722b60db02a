//! The queue.

use std::{fmt, sync::Arc};

use defer_core::{
    BoxError, BoxFuture,
    queue::{Envelope, Hold, HoldJobs, InspectQueue, Queue},
};

use crate::engine::{Engine, Held};

/// Durable jobs in River's tables. Clone it: clones share one connection to the database, and one name there.
///
/// Give it to [`RunnerBuilder::queue`](defer_core::RunnerBuilder::queue), and run a [worker](Self::worker) in this process or
/// in another.
///
/// It has two threads and a handful of connections of its own. When its last clone and its last job are dropped, it writes what
/// is left and takes leave; [`close`](Self::close) tells when that is done.
#[derive(Clone)]
pub struct RiverQueue {
    pub(crate) engine: Arc<Engine>,
    /// Works nothing.
    pub(crate) river: riverqueue::Client,
}

impl RiverQueue {
    /// Returns River's own client on the same database, which works no queue. Use it for what this crate does not wrap, such as
    /// jobs of other programs.
    pub fn river(&self) -> &riverqueue::Client {
        &self.river
    }

    /// Returns the statements that create the tables of this crate, and its index on `river_job`, on SQLite, for services that run
    /// their migrations themselves. Run them after River's, each by itself. They change nothing where they have run.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_migrations() -> &'static [&'static str] {
        crate::store::SQLITE.migrations
    }

    /// Returns the statements that create the tables of this crate, and its index on `river_job`, on Postgres, for services that
    /// run their migrations themselves. Run them after River's, each by itself. They change nothing where they have run.
    ///
    /// The last creates the index. On a large `river_job`, write it with `CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS`, and run
    /// it outside of a transaction: so it keeps nobody from writing.
    #[cfg(feature = "postgres")]
    pub fn postgres_migrations() -> &'static [&'static str] {
        crate::store::POSTGRES.migrations
    }

    /// Closes the queue and its clones: finishes pending writes, for at most two seconds, and takes leave of the database.
    ///
    /// Durable jobs whose responses are still open are made available by another process at its next beat, so [shut
    /// down](defer_core::Runner::shutdown) the runner first. After this, durable jobs of the runner run in this process only.
    ///
    /// # Cancel safety
    ///
    /// If dropped, the queue still closes.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}

impl Queue for RiverQueue {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let rows = jobs.into_iter().map(|job| self.engine.row(job)).collect::<Result<Vec<_>, _>>()?;
            if rows.is_empty() {
                return Ok(());
            }
            let stored = self.engine.insert(rows, false).await.map_err(|_| "the queue was closed")?;
            stored.into_iter().collect::<Result<(), _>>().map_err(BoxError::from)
        })
    }

    fn hold(&self) -> Option<&dyn HoldJobs> {
        Some(self)
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl HoldJobs for RiverQueue {
    fn hold(&self, jobs: Vec<Envelope>) -> Hold {
        Held::hold(&self.engine, jobs)
    }

    /// River's workers run every job.
    fn runs_here(&self, _: usize, _: &str) -> bool {
        false
    }

    fn written(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.engine.written())
    }
}

impl fmt::Debug for RiverQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RiverQueue").field("engine", &self.engine).finish_non_exhaustive()
    }
}

//! Reads stored jobs back.

use std::{any::type_name, fmt, iter::once, sync::Arc, time::Duration};

use defer_core::{__private::read_stored, Deferrable, JobId, JobStatus};

use super::SqlxQueue;
use crate::{
    error::Error,
    store::{Store, StoredRow},
};

/// A job in a queue. Returned by [`SqlxQueue::stored`].
#[derive(Clone)]
#[non_exhaustive]
pub struct StoredJob<J> {
    /// The job, read from its payload.
    pub job: J,
    /// The job's id.
    pub id: JobId,
    /// Its status.
    pub status: JobStatus,
    /// Its serial key.
    pub serial: Option<String>,
    /// Its unique key.
    pub unique: Option<String>,
    /// How long until it is due, by the database's clock. Its delay begins when it becomes ready.
    pub due_in: Duration,
}

/// Omits the job, because its fields may be secret.
impl<J> fmt::Debug for StoredJob<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredJob")
            .field("id", &self.id)
            .field("job", &type_name::<J>())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl SqlxQueue {
    /// Returns at most `limit` jobs of type `J` in the queue, under all its names, in the order in which they were deferred.
    /// They include waiting and running jobs, and ended jobs that are still kept. Jobs pushed in a transaction are included
    /// once it is committed.
    ///
    /// Use it in tests and commands. There is no index for it, so the database may look at every row.
    ///
    /// # Errors
    ///
    /// If the database fails, or if a job cannot be read: [`Error::Unreadable`].
    ///
    /// # Panics
    ///
    /// If the type cannot be read from a queue: derive `Deserialize`.
    pub async fn stored<J: Deferrable>(&self, limit: usize) -> Result<Vec<StoredJob<J>>, Error> {
        assert!(
            J::DECODE.is_some(),
            "`{}` cannot be read from a queue: derive `Deserialize` for it",
            J::NAME
        );
        let names: Vec<String> = once(&J::NAME).chain(J::ALIASES).map(|name| (*name).to_owned()).collect();
        let rows =
            self.ask(move |store: Arc<dyn Store>| async move { store.stored(names, limit).await }).await?;
        let read = |row: StoredRow| {
            let StoredRow { id, payload, status, serial, unique, due_in } = row;
            let job =
                read_stored::<J>(payload.as_bytes()).map_err(|reason| Error::Unreadable { id, reason })?;
            let due_in = Duration::from_millis(u64::try_from(due_in).unwrap_or_default());
            Ok(StoredJob { job, id, status, serial, unique, due_in })
        };
        rows.into_iter().map(read).collect()
    }
}

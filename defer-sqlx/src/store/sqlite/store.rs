//! Runs each transaction on one of the connections.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use defer_core::{
    BoxFuture, JobId, JobStatus,
    queue::{FailedJob, FailureGroup, JobFilter, NameCounts, QueueCounts},
};
use sqlx::sqlite::SqliteConnectOptions;

use super::{at_once, browse, database::File, failures, holders, inspect, migrate, push, take, write};
use crate::{
    error::Error,
    store::{
        connection::{Database, Line, look, run},
        fill::fill,
        interface::{
            Beat, Cancelling, Change, Changed, Failures, Holder, HolderId, HolderRow, JobRow, NewJob, Store,
            Stored, StoredRow, Taken, Write,
        },
    },
};

/// Jobs in a SQLite file, or in memory.
pub(crate) struct Sqlite {
    queue: Arc<str>,
    file: Arc<File>,
    writer: Line<File>,
    /// For reads, so that they do not delay writes.
    reader: Line<File>,
    beats: Line<File>,
    /// The last search for due jobs found as many as it asked for.
    has_more: AtomicBool,
    /// The serial key from which the next search behind a crowd starts.
    from_key: Arc<Mutex<String>>,
}

impl Sqlite {
    /// Opens a file, and creates the file and the tables where they are missing. With `in_memory` there is no file, and all
    /// transactions share one connection.
    pub(crate) async fn connect(
        options: SqliteConnectOptions,
        in_memory: bool,
        queue: String,
        migrate: bool,
    ) -> Result<Self, Error> {
        let file = Arc::new(File::new(options, in_memory));
        let writer = Line::new(&file);
        migrate::migrate(&writer, migrate).await?;
        let of_its_own = || if in_memory { writer.clone() } else { Line::new(&file) };
        let (reader, beats) = (of_its_own(), of_its_own());
        Ok(Self {
            queue: queue.into(),
            file,
            writer,
            reader,
            beats,
            has_more: AtomicBool::new(false),
            from_key: Arc::default(),
        })
    }
}

#[cfg(test)]
impl Sqlite {
    /// Returns another queue on the same connections.
    pub(crate) fn of_queue(&self, queue: &str) -> Self {
        let Self { writer, reader, beats, .. } = self;
        let (writer, reader, beats) = (writer.clone(), reader.clone(), beats.clone());
        Self {
            queue: queue.into(),
            file: self.file.clone(),
            writer,
            reader,
            beats,
            has_more: AtomicBool::new(false),
            from_key: Arc::default(),
        }
    }
}

impl Sqlite {
    fn write_in_transaction(&self, input: Arc<Write>) -> Stored<'_, Vec<Changed>> {
        let queue = self.queue.clone();
        run!(self.writer, |connection| write::write(connection, &queue, &input))
    }
}

impl Store for Sqlite {
    fn register(&self, holder: Holder) -> Stored<'_, ()> {
        let queue = self.queue.clone();
        run!(self.writer, |connection| holders::register(connection, &queue, &holder))
    }

    fn rename(&self, holder: Holder) -> Stored<'_, ()> {
        run!(self.writer, |connection| holders::rename(connection, &holder))
    }

    fn beat(&self, holder: HolderId) -> Stored<'_, Beat> {
        let (queue, beaten) = (self.queue.clone(), holder.clone());
        Box::pin(async move {
            let is_alive: Stored<'_, bool> =
                run!(self.beats, |connection| holders::count(connection, &beaten));
            let is_alive = is_alive.await?;
            // On a connection of its own, so that writers do not have to wait for it.
            let around: Stored<'_, Beat> =
                look!(self.beats, |connection| holders::look(connection, &queue, &holder, is_alive));
            around.await
        })
    }

    fn bury(&self, holder: HolderId, count: i64) -> Stored<'_, bool> {
        run!(self.beats, |connection| holders::bury(connection, &holder, count))
    }

    fn recover(&self) -> Stored<'_, bool> {
        run!(self.writer, |connection| holders::recover(connection))
    }

    fn unregister(&self, holder: HolderId) -> Stored<'_, ()> {
        Box::pin(async move {
            loop {
                let holder = holder.clone();
                let more = run!(self.writer, |connection| holders::unregister(connection, &holder));
                let more: Stored<'_, bool> = more;
                match more.await {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    // The only connection is gone, perhaps with the holder's last beat, and all jobs with it.
                    Err(_) if self.file.is_only_connection() => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn write<'a>(
        &'a self,
        holder: &'a str,
        held: &'a [NewJob],
        changes: &'a [Change],
    ) -> Stored<'a, Vec<Changed>> {
        let input = Write::new(holder, held, changes);
        // A database in memory has only one connection, which must never be left in a transaction.
        if self.file.is_only_connection() || !at_once::is_one_trip(&input.changes) {
            return self.write_in_transaction(input);
        }
        Box::pin(async move {
            let (queue, of_task) = (self.queue.clone(), input.clone());
            let at_once = self.writer.run_at_once(
                move |connection| {
                    Box::pin(async move { at_once::write_at_once(connection, &queue, &of_task).await })
                },
                async || self.write_in_transaction(input.again()).await,
            );
            at_once.await
        })
    }

    fn push<'a>(&'a self, jobs: &'a [NewJob]) -> Stored<'a, Vec<Option<JobId>>> {
        let (queue, jobs) = (self.queue.clone(), jobs.to_owned());
        run!(self.writer, |connection| push::push(connection, &queue, &jobs))
    }

    fn take(&self, holder: HolderId, names: Vec<String>, limit: usize) -> Stored<'_, Vec<Taken>> {
        let (queue, of) = (self.queue.clone(), self.queue.clone());
        Box::pin(async move {
            let (looked_for, from) = (names.clone(), self.from_key.clone());
            if !self.has_more.swap(false, Ordering::Relaxed) {
                // A waiting worker must not get in the way of writers.
                let is_due: Stored<'_, bool> =
                    look!(self.reader, |connection| take::is_due(connection, &of, &looked_for));
                if !is_due.await? {
                    return Ok(Vec::new());
                }
            }
            let taken = fill(limit, move |limit| {
                let (queue, holder) = (queue.clone(), holder.clone());
                let (names, from) = (names.clone(), from.clone());
                run!(self.writer, |connection| take::take(connection, &queue, &holder, &names, limit, &from))
            });
            let taken = taken.await?;
            self.has_more.store(taken.len() >= limit, Ordering::Relaxed);
            Ok(taken)
        })
    }

    fn next_due(&self, names: Vec<String>) -> Stored<'_, Option<i64>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| take::next_due(connection, &queue, &names))
    }

    fn notified(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn prune(&self, done: i64, failed: i64) -> Stored<'_, bool> {
        let queue = self.queue.clone();
        run!(self.writer, |connection| holders::prune(connection, &queue, done, failed))
    }

    fn unclaimed(&self, due: i64) -> Stored<'_, Vec<String>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| inspect::unclaimed(connection, &queue, due))
    }

    fn counts(&self) -> Stored<'_, QueueCounts> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| inspect::counts(connection, &queue))
    }

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| inspect::failed(connection, &queue, limit))
    }

    fn status(&self, id: JobId) -> Stored<'_, Option<JobStatus>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| inspect::status(connection, &queue, id))
    }

    fn stored(&self, names: Vec<String>, limit: usize) -> Stored<'_, Vec<StoredRow>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| inspect::stored(connection, &queue, &names, limit))
    }

    fn retry(&self, id: JobId) -> Stored<'_, bool> {
        let queue = self.queue.clone();
        run!(self.writer, |connection| inspect::retry(connection, &queue, id))
    }

    fn discard(&self, id: JobId) -> Stored<'_, bool> {
        let queue = self.queue.clone();
        run!(self.writer, |connection| inspect::discard(connection, &queue, id))
    }

    fn cancel<'a>(&'a self, id: JobId, holder: &'a str, started: bool) -> Stored<'a, Cancelling> {
        let (queue, holder) = (self.queue.clone(), holder.to_owned());
        run!(self.writer, |connection| inspect::cancel(connection, &queue, id, &holder, started))
    }

    fn pause(&self, name: String, paused: bool) -> Stored<'_, ()> {
        let queue = self.queue.clone();
        run!(self.writer, |connection| inspect::pause(connection, &queue, &name, paused))
    }

    fn paused(&self) -> Stored<'_, Vec<String>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| inspect::paused(connection, &queue))
    }

    fn job(&self, id: JobId) -> Stored<'_, Option<JobRow>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| browse::job(connection, &queue, id))
    }

    fn jobs(&self, filter: JobFilter, limit: usize) -> Stored<'_, Vec<JobRow>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| browse::jobs(connection, &queue, filter, limit))
    }

    fn failures(&self, limit: usize) -> Stored<'_, Vec<FailureGroup>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| failures::groups(connection, &queue, limit))
    }

    fn counts_by_name(&self) -> Stored<'_, Vec<NameCounts>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| browse::counts_by_name(connection, &queue))
    }

    fn holders(&self) -> Stored<'_, Vec<HolderRow>> {
        let queue = self.queue.clone();
        look!(self.reader, |connection| browse::holders(connection, &queue))
    }

    fn now(&self) -> Stored<'_, i64> {
        look!(self.reader, |connection| inspect::time(connection))
    }

    fn retry_some(&self, failures: Failures) -> Stored<'_, usize> {
        let queue = self.queue.clone();
        run!(self.writer, |connection| failures::retry(connection, &queue, &failures))
    }

    fn discard_some(&self, failures: Failures) -> Stored<'_, usize> {
        let queue = self.queue.clone();
        run!(self.writer, |connection| failures::discard(connection, &queue, &failures))
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("queue", &self.queue).finish_non_exhaustive()
    }
}

//! Runs each transaction on one of the connections.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use defer_core::{
    BoxFuture, JobId, JobStatus,
    queue::{FailedJob, FailureGroup, JobFilter, NameCounts, QueueCounts},
};
use sqlx::postgres::PgConnectOptions;

use super::{
    bell::{Bell, Ear},
    browse,
    database::Server,
    failures, holders, inspect, push,
    tables::Tables,
    take, write,
};
use crate::{
    error::Error,
    store::{
        connection::{DEADLINE, Line, look, run},
        fill::fill,
        interface::{
            Beat, Cancelling, Change, Changed, Failures, Holder, HolderId, HolderRow, JobRow, NewJob, Store,
            Stored, StoredRow, Taken, Write,
        },
    },
};

/// Jobs on a Postgres server.
pub(crate) struct Postgres {
    tables: Arc<Tables>,
    server: Arc<Server>,
    writer: Line<Server>,
    /// For reads and takes, so that they do not delay writes.
    reader: Line<Server>,
    beats: Line<Server>,
    bell: Arc<Bell>,
    ear: Ear,
    /// The serial key from which the next search behind a crowd starts.
    from_key: Arc<Mutex<String>>,
}

impl Postgres {
    /// Connects to a server, and creates missing tables.
    pub(crate) async fn connect(
        options: PgConnectOptions,
        queue: String,
        migrate: bool,
    ) -> Result<Self, Error> {
        let mut server = Server::new(options);
        let late = |_| Error::Store(format!("the server did not answer within {DEADLINE:?}").into());
        let opened = tokio::time::timeout(DEADLINE, server.open_first()).await.map_err(late)?;
        let mut connection = opened.map_err(|error| Error::Store(error.into()))?;
        let server = Arc::new(server);
        let schema = server.prepare(&mut connection, migrate).await?;
        // Its runtime may not be that of the lines.
        drop(connection);
        let ear = Ear::new(&server, &queue);
        Ok(Self {
            tables: Arc::new(Tables::new(queue, schema, server.is_direct())),
            writer: Line::new(&server),
            reader: Line::new(&server),
            beats: Line::new(&server),
            bell: Arc::default(),
            ear,
            from_key: Arc::default(),
            server,
        })
    }

    /// Notifies other processes later if it was too early to do so in the transaction.
    fn ring_if_owed<T>(&self, (value, has_rung): (T, bool)) -> T {
        if !has_rung {
            self.bell.ring_later(&self.reader, &self.tables.queue);
        }
        value
    }
}

/// Runs a transaction on the writer's line, and notifies other processes if it made jobs ready. The work also returns whether it
/// did.
macro_rules! run_and_ring {
    ($store:expr, |$connection:ident, $tables:ident| $work:expr) => {{
        let ($tables, bell) = ($store.tables.clone(), $store.bell.clone());
        Box::pin(async move {
            let run = $store.writer.run(move |$connection| {
                Box::pin(async move {
                    let (value, made_ready) = $work.await?;
                    let has_rung = !made_ready || bell.ring($connection, &$tables.queue).await?;
                    Ok((value, has_rung))
                })
            });
            Ok($store.ring_if_owed(run.await?))
        })
    }};
}

impl Postgres {
    fn write_in_transaction(&self, input: Arc<Write>) -> Stored<'_, Vec<Changed>> {
        run_and_ring!(self, |connection, tables| write::write(connection, &tables, &input))
    }
}

impl Store for Postgres {
    fn schema(&self) -> Option<&str> {
        Some(&self.tables.schema)
    }

    fn register(&self, holder: Holder) -> Stored<'_, ()> {
        let tables = self.tables.clone();
        run!(self.writer, |connection| holders::register(connection, &tables, &holder))
    }

    fn rename(&self, holder: Holder) -> Stored<'_, ()> {
        let tables = self.tables.clone();
        run!(self.writer, |connection| holders::rename(connection, &tables, &holder))
    }

    fn beat(&self, holder: HolderId) -> Stored<'_, Beat> {
        let tables = self.tables.clone();
        run!(self.beats, |connection| holders::beat(connection, &tables, &holder))
    }

    fn bury(&self, holder: HolderId, count: i64) -> Stored<'_, bool> {
        let tables = self.tables.clone();
        run!(self.writer, |connection| holders::bury(connection, &tables, &holder, count))
    }

    fn recover(&self) -> Stored<'_, bool> {
        run_and_ring!(self, |connection, tables| holders::recover(connection, &tables))
    }

    fn unregister(&self, holder: HolderId) -> Stored<'_, ()> {
        Box::pin(async move {
            loop {
                let holder = holder.clone();
                let more: Stored<'_, bool> = run_and_ring!(self, |connection, tables| holders::unregister(
                    connection, &tables, &holder
                ));
                if !more.await? {
                    return Ok(());
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
        if !self.server.is_direct() || !write::is_one_statement(&input.changes) {
            return self.write_in_transaction(input);
        }
        Box::pin(async move {
            let (tables, of_task) = (self.tables.clone(), input.clone());
            let at_once = self.writer.run_at_once(
                move |connection| {
                    Box::pin(async move {
                        let written = write::write_at_once(connection, &tables, &of_task).await;
                        written.map(|(changed, made_ready)| (changed, !made_ready))
                    })
                },
                // `write_in_transaction` rings by itself.
                async || Ok((self.write_in_transaction(input.again()).await?, true)),
            );
            Ok(self.ring_if_owed(at_once.await?))
        })
    }

    fn push<'a>(&'a self, jobs: &'a [NewJob]) -> Stored<'a, Vec<Option<JobId>>> {
        let jobs = jobs.to_owned();
        run_and_ring!(self, |connection, tables| push::push(connection, &tables, &jobs))
    }

    fn take(&self, holder: HolderId, names: Vec<String>, limit: usize) -> Stored<'_, Vec<Taken>> {
        fill(limit, move |limit| {
            let (tables, from) = (self.tables.clone(), self.from_key.clone());
            let (holder, names) = (holder.clone(), names.clone());
            run!(self.reader, |connection| take::take(connection, &tables, &holder, &names, limit, &from))
        })
    }

    fn next_due(&self, names: Vec<String>) -> Stored<'_, Option<i64>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| take::next_due(connection, &tables, &names))
    }

    fn notified(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.ear.heard())
    }

    fn prune(&self, done: i64, failed: i64) -> Stored<'_, bool> {
        let tables = self.tables.clone();
        run!(self.reader, |connection| holders::prune(connection, &tables, done, failed))
    }

    fn unclaimed(&self, due: i64) -> Stored<'_, Vec<String>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| inspect::unclaimed(connection, &tables, due))
    }

    fn counts(&self) -> Stored<'_, QueueCounts> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| inspect::counts(connection, &tables))
    }

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| inspect::failed(connection, &tables, limit))
    }

    fn status(&self, id: JobId) -> Stored<'_, Option<JobStatus>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| inspect::status(connection, &tables, id))
    }

    fn stored(&self, names: Vec<String>, limit: usize) -> Stored<'_, Vec<StoredRow>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| inspect::stored(connection, &tables, &names, limit))
    }

    fn retry(&self, id: JobId) -> Stored<'_, bool> {
        run_and_ring!(self, |connection, tables| inspect::retry(connection, &tables, id))
    }

    fn discard(&self, id: JobId) -> Stored<'_, bool> {
        let tables = self.tables.clone();
        run!(self.writer, |connection| inspect::discard(connection, &tables, id))
    }

    fn cancel<'a>(&'a self, id: JobId, holder: &'a str, started: bool) -> Stored<'a, Cancelling> {
        let holder = holder.to_owned();
        run_and_ring!(self, |connection, tables| inspect::cancel(connection, &tables, id, &holder, started))
    }

    fn pause(&self, name: String, paused: bool) -> Stored<'_, ()> {
        run_and_ring!(self, |connection, tables| inspect::pause(connection, &tables, &name, paused))
    }

    fn paused(&self) -> Stored<'_, Vec<String>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| holders::paused(connection, &tables))
    }

    fn job(&self, id: JobId) -> Stored<'_, Option<JobRow>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| browse::job(connection, &tables, id))
    }

    fn jobs(&self, filter: JobFilter, limit: usize) -> Stored<'_, Vec<JobRow>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| browse::jobs(connection, &tables, filter, limit))
    }

    fn failures(&self, limit: usize) -> Stored<'_, Vec<FailureGroup>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| failures::groups(connection, &tables, limit))
    }

    fn counts_by_name(&self) -> Stored<'_, Vec<NameCounts>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| browse::counts_by_name(connection, &tables))
    }

    fn holders(&self) -> Stored<'_, Vec<HolderRow>> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| browse::holders(connection, &tables))
    }

    fn now(&self) -> Stored<'_, i64> {
        let tables = self.tables.clone();
        look!(self.reader, |connection| failures::time(connection, &tables))
    }

    fn retry_some(&self, failures: Failures) -> Stored<'_, usize> {
        run_and_ring!(self, |connection, tables| failures::retry(connection, &tables, &failures))
    }

    fn discard_some(&self, failures: Failures) -> Stored<'_, usize> {
        let tables = self.tables.clone();
        run!(self.writer, |connection| failures::discard(connection, &tables, &failures))
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("queue", &self.tables.queue).finish_non_exhaustive()
    }
}

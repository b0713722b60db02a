//! A connection of the store's own. It runs one transaction after another, each in a task that is never dropped and within a
//! deadline.
//!
//! After an error that leaves it in doubt, a connection is closed, and the next transaction opens a new one.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use defer_core::BoxFuture;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::interface::StoreError;

/// The time limit of a transaction, including opening a connection if necessary.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// A transaction waits this long for those of other connections of this process before it competes with them.
const PATIENCE: Duration = Duration::from_secs(1);

/// A kind of database.
pub(super) trait Database: fmt::Debug + Send + Sync + 'static {
    type Connection: Send + 'static;

    /// Opens a connection.
    fn open(&self) -> BoxFuture<'_, Result<Self::Connection, sqlx::Error>>;

    /// Executes a statement of transaction control.
    fn execute<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
        statement: Control,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Returns whether the database refused a value or violated constraint in the transaction.
    fn is_data(&self, error: &sqlx::Error) -> bool;

    /// Returns whether the database refused something because another connection has locked it.
    fn is_locked(&self, _: &sqlx::Error) -> bool {
        false
    }

    /// Returns whether a commit, or a statement that commits by itself, has certainly stored nothing if it failed with this
    /// error.
    fn is_refused(&self, error: &sqlx::Error) -> bool {
        self.is_data(error)
    }

    /// Returns whether a connection must not be closed, because the database exists only in it.
    fn is_only_connection(&self) -> bool {
        false
    }

    /// Returns the lock with which writing transactions of this process take turns, if the database has a single writer.
    fn turn(&self) -> Option<Arc<Mutex<()>>> {
        None
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Control {
    /// Begins a transaction that writes.
    Begin,
    /// Begins a transaction that only reads.
    Look,
    Commit,
    Rollback,
}

/// Runs a transaction on a line, and moves values into it.
macro_rules! run {
    ($line:expr, |$connection:ident| $work:expr) => {
        Box::pin(async move { $line.run(move |$connection| Box::pin(async move { $work.await })).await })
    };
}

/// Like `run!`, for a transaction that only reads.
macro_rules! look {
    ($line:expr, |$connection:ident| $work:expr) => {
        Box::pin(async move { $line.look(move |$connection| Box::pin(async move { $work.await })).await })
    };
}

pub(super) use {look, run};

/// A connection, on which one transaction runs at a time.
pub(super) struct Line<D: Database> {
    database: Arc<D>,
    connection: Arc<Mutex<Option<D::Connection>>>,
}

impl<D: Database> Line<D> {
    pub(super) fn new(database: &Arc<D>) -> Self {
        Self { database: database.clone(), connection: Arc::new(Mutex::new(None)) }
    }

    /// Runs a transaction that may write. Dropping this does not stop it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut D::Connection) -> BoxFuture<'a, Result<T, sqlx::Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.transact(Control::Begin, Box::new(work)).await
    }

    /// Runs a transaction that only reads. Dropping this does not stop it.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut D::Connection) -> BoxFuture<'a, Result<T, sqlx::Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.transact(Control::Look, Box::new(work)).await
    }

    /// Runs work that begins and commits its own transaction, in one trip to the database instead of three, and leaves the
    /// connection in none. Dropping this does not stop it. If the connection broke meanwhile, `again` does the same in a
    /// transaction, within a deadline of its own.
    pub(super) async fn run_at_once<T: Send + 'static>(
        &self,
        at_once: impl for<'a> FnOnce(&'a mut D::Connection) -> BoxFuture<'a, Result<T, sqlx::Error>>
        + Send
        + 'static,
        again: impl AsyncFnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.alone(Box::new(at_once)).await {
            Ok(value) => Ok(value),
            Err(AloneError::Failed(error)) => Err(error),
            Err(AloneError::Broken) => match again().await {
                // The first try may be committed, or is about to be. In that case it has locked the rows.
                Err(StoreError::Away(error) | StoreError::Locked(error)) => Err(StoreError::InDoubt(error)),
                answered => answered,
            },
        }
    }

    async fn alone<T: Send + 'static>(&self, work: Work<D::Connection, T>) -> Result<T, AloneError> {
        let (database, connection) = (self.database.clone(), self.connection.clone());
        let task = tokio::spawn(async move {
            let is_sent = AtomicBool::new(false);
            let alone = alone(&*database, connection, &is_sent, work);
            tokio::time::timeout(DEADLINE, alone)
                .await
                .unwrap_or_else(|_| Err(AloneError::Failed(late(&is_sent))))
        });
        let gone = |error: tokio::task::JoinError| AloneError::Failed(StoreError::InDoubt(error.to_string()));
        task.await.map_err(gone)?
    }

    async fn transact<T: Send + 'static>(
        &self,
        begin: Control,
        work: Work<D::Connection, T>,
    ) -> Result<T, StoreError> {
        let (database, connection) = (self.database.clone(), self.connection.clone());
        // The task has the deadline: if it were here, dropping this would leave the connection in a transaction.
        let task = tokio::spawn(async move {
            let commits = AtomicBool::new(false);
            let must_stay = database.is_only_connection();
            let transaction = transaction(&*database, connection, begin, &commits, work);
            // A database in memory always answers, and its connection must not be closed.
            let deadline = if must_stay { Duration::MAX } else { DEADLINE };
            match tokio::time::timeout(deadline, transaction).await {
                Ok(result) => result,
                Err(_) => Err(late(&commits)),
            }
        });
        task.await.unwrap_or_else(|error| Err(StoreError::InDoubt(error.to_string())))
    }
}

impl<D: Database> Clone for Line<D> {
    fn clone(&self) -> Self {
        Self { database: self.database.clone(), connection: self.connection.clone() }
    }
}

type Work<C, T> = Box<dyn for<'a> FnOnce(&'a mut C) -> BoxFuture<'a, Result<T, sqlx::Error>> + Send>;

async fn transaction<D: Database, T>(
    database: &D,
    connection: Arc<Mutex<Option<D::Connection>>>,
    begin: Control,
    commits: &AtomicBool,
    work: Work<D::Connection, T>,
) -> Result<T, StoreError> {
    let place = connection.lock_owned().await;
    let _turn = match begin {
        Control::Begin => turn(database).await,
        _ => None,
    };
    let mut borrowed = Borrowed::begin(database, place, begin).await.map_err(away)?;
    let connection = borrowed.connection();
    let error = match work(connection).await {
        Ok(value) => {
            commits.store(matches!(begin, Control::Begin), Ordering::Release);
            match database.execute(connection, Control::Commit).await {
                Ok(()) => {
                    borrowed.give_back();
                    return Ok(value);
                }
                Err(error) if matches!(begin, Control::Look) || database.is_refused(&error) => error,
                Err(error) => return Err(StoreError::InDoubt(error.to_string())),
            }
        }
        Err(error) => error,
    };
    let error = refused(database, error);
    if error.leaves_connection() || database.is_only_connection() {
        borrowed.roll_back(database).await;
    }
    Err(error)
}

/// Waits for a writing transaction's turn.
async fn turn(database: &impl Database) -> Option<OwnedMutexGuard<()>> {
    tokio::time::timeout(PATIENCE, database.turn()?.lock_owned()).await.ok()
}

fn away(error: sqlx::Error) -> StoreError {
    StoreError::Away(error.to_string())
}

/// Classifies an error of something that has stored nothing.
fn refused(database: &impl Database, error: sqlx::Error) -> StoreError {
    match error {
        error if database.is_data(&error) => StoreError::Data(error.to_string()),
        error if database.is_locked(&error) => StoreError::Locked(error.to_string()),
        error => away(error),
    }
}

impl StoreError {
    /// Returns whether the connection can be used again.
    fn leaves_connection(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Locked(_))
    }
}

/// Returns the error of a missed deadline. Something may have been committed.
fn late(may_be_committed: &AtomicBool) -> StoreError {
    let error = format!("no answer within {DEADLINE:?}");
    if may_be_committed.load(Ordering::Acquire) {
        StoreError::InDoubt(error)
    } else {
        StoreError::Away(error)
    }
}

/// Why work that commits by itself failed.
enum AloneError {
    Failed(StoreError),
    /// The connection broke, perhaps long ago. The work may be committed.
    Broken,
}

async fn alone<D: Database, T>(
    database: &D,
    connection: Arc<Mutex<Option<D::Connection>>>,
    is_sent: &AtomicBool,
    work: Work<D::Connection, T>,
) -> Result<T, AloneError> {
    let place = connection.lock_owned().await;
    let _turn = turn(database).await;
    let opened = Borrowed::open(database, place).await;
    let mut borrowed = opened.map_err(|error| AloneError::Failed(away(error)))?;
    is_sent.store(true, Ordering::Release);
    let error = match work(borrowed.connection()).await {
        Ok(value) => {
            borrowed.give_back();
            return Ok(value);
        }
        Err(error) if database.is_refused(&error) || database.is_locked(&error) => refused(database, error),
        Err(_) => return Err(AloneError::Broken),
    };
    if error.leaves_connection() {
        borrowed.give_back();
    }
    Err(AloneError::Failed(error))
}

/// A connection in a transaction. It is closed unless it is given back.
struct Borrowed<C> {
    connection: Option<C>,
    place: OwnedMutexGuard<Option<C>>,
}

impl<C: Send> Borrowed<C> {
    async fn begin<D: Database<Connection = C>>(
        database: &D,
        mut place: OwnedMutexGuard<Option<C>>,
        begin: Control,
    ) -> Result<Self, sqlx::Error> {
        let mut borrowed = Self { connection: place.take(), place };
        if let Some(connection) = &mut borrowed.connection {
            let begun = database.execute(connection, begin).await;
            if begun.is_ok() {
                return Ok(borrowed);
            }
            if database.is_only_connection() {
                // It may still be in the previous transaction.
                let _ = database.execute(connection, Control::Rollback).await;
                let begun = database.execute(connection, begin).await;
                if begun.is_err() {
                    borrowed.give_back();
                }
                return begun.map(|()| borrowed);
            }
            // The server may have been restarted meanwhile. Only this was sent on the connection.
            borrowed.connection = None;
        }
        let connection = borrowed.connection.insert(database.open().await?);
        database.execute(connection, begin).await?;
        Ok(borrowed)
    }

    /// Takes the connection without beginning a transaction.
    async fn open<D: Database<Connection = C>>(
        database: &D,
        mut place: OwnedMutexGuard<Option<C>>,
    ) -> Result<Self, sqlx::Error> {
        let kept = place.take();
        let mut borrowed = Self { connection: kept, place };
        if borrowed.connection.is_none() {
            borrowed.connection = Some(database.open().await?);
        }
        Ok(borrowed)
    }

    fn connection(&mut self) -> &mut C {
        self.connection.as_mut().expect("it was not given back")
    }

    fn give_back(&mut self) {
        *self.place = self.connection.take();
    }

    /// Rolls back a transaction that was refused.
    async fn roll_back<D: Database<Connection = C>>(&mut self, database: &D) {
        let Some(connection) = &mut self.connection else { return };
        if database.execute(connection, Control::Rollback).await.is_ok() || database.is_only_connection() {
            self.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use super::*;

    /// A database that numbers its connections and records the statements executed on each.
    #[derive(Debug, Default)]
    struct Numbered(StdMutex<(u32, Vec<(u32, Control)>)>);

    impl Database for Numbered {
        type Connection = u32;

        fn open(&self) -> BoxFuture<'_, Result<u32, sqlx::Error>> {
            let mut state = self.0.lock().unwrap();
            state.0 += 1;
            let number = state.0;
            Box::pin(async move { Ok(number) })
        }

        fn execute<'a>(
            &'a self,
            connection: &'a mut u32,
            statement: Control,
        ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
            self.0.lock().unwrap().1.push((*connection, statement));
            Box::pin(async { Ok(()) })
        }

        fn is_data(&self, error: &sqlx::Error) -> bool {
            matches!(error, sqlx::Error::RowNotFound)
        }
    }

    fn line() -> (Arc<Numbered>, Line<Numbered>) {
        let database = Arc::default();
        let line = Line::new(&database);
        (database, line)
    }

    /// Runs a transaction, and returns the number of its connection.
    async fn number(line: &Line<Numbered>) -> u32 {
        line.run(|connection| Box::pin(async { Ok(*connection) })).await.unwrap()
    }

    fn fail(error: sqlx::Error) -> Work<u32, u32> {
        Box::new(|_| Box::pin(async { Err(error) }))
    }

    #[tokio::test]
    async fn a_connection_whose_transaction_failed_is_closed() {
        let (_, line) = line();
        assert_eq!((number(&line).await, number(&line).await), (1, 1), "otherwise it is kept");
        let failed = line.run(fail(sqlx::Error::WorkerCrashed)).await;
        assert!(matches!(failed, Err(StoreError::Away(_))), "{failed:?}");
        assert_eq!(number(&line).await, 2);
        let failed = line.run_at_once(fail(sqlx::Error::WorkerCrashed), async || Ok(7)).await;
        assert_eq!(failed.unwrap(), 7);
        assert_eq!(number(&line).await, 3);
    }

    #[tokio::test]
    async fn a_transaction_that_was_refused_for_its_data_is_rolled_back() {
        let (database, line) = line();
        let refused = line.run(fail(sqlx::Error::RowNotFound)).await;
        assert!(matches!(refused, Err(StoreError::Data(_))), "{refused:?}");
        let last = database.0.lock().unwrap().1.last().copied();
        assert!(matches!(last, Some((1, Control::Rollback))), "{last:?}");
        assert_eq!(number(&line).await, 1);
    }

    #[tokio::test]
    async fn what_commits_by_itself_is_in_doubt_if_its_connection_broke_and_it_cannot_be_repeated() {
        let (_, line) = line();
        let away = async || Err(StoreError::Away("refused".to_owned()));
        let broken = line.run_at_once(fail(sqlx::Error::WorkerCrashed), away).await;
        assert!(matches!(broken, Err(StoreError::InDoubt(_))), "{broken:?}");
        // The first try may have locked the rows.
        let locked = async || Err(StoreError::Locked("refused".to_owned()));
        let broken = line.run_at_once(fail(sqlx::Error::WorkerCrashed), locked).await;
        assert!(matches!(broken, Err(StoreError::InDoubt(_))), "{broken:?}");
        let refused = line.run_at_once(fail(sqlx::Error::RowNotFound), async || Ok(7)).await;
        assert!(matches!(refused, Err(StoreError::Data(_))), "it is not repeated: {refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_commits_by_itself_is_in_doubt_at_its_deadline_only_if_it_was_sent() {
        let (_, line) = line();
        let never = async || -> Result<u32, StoreError> { unreachable!("it is not repeated") };
        let hangs = || -> Work<u32, u32> { Box::new(|_| Box::pin(std::future::pending())) };
        let sent = line.run_at_once(hangs(), never).await;
        assert!(matches!(sent, Err(StoreError::InDoubt(_))), "{sent:?}");
        let _transaction = line.connection.lock().await;
        let waiting = line.run_at_once(hangs(), never).await;
        assert!(matches!(waiting, Err(StoreError::Away(_))), "{waiting:?}");
    }
}

//! A connection of the store's own: one transaction after another, each in a task that is never dropped, within a deadline.
//!
//! A connection is closed after whatever leaves it in doubt, and opened again for the next transaction.

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

/// How long a transaction may take, with the connection that it may have to open.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How long a transaction waits for those of other connections of this process, before it competes with them.
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

    /// Returns whether the database refused something for what it is: a value or a constraint.
    fn is_data(&self, error: &sqlx::Error) -> bool;

    /// Returns whether the database refused something because somebody else has locked it.
    fn is_locked(&self, _: &sqlx::Error) -> bool {
        false
    }

    /// Returns whether a commit that failed so has certainly stored nothing.
    fn is_refused_commit(&self, error: &sqlx::Error) -> bool {
        self.is_data(error)
    }

    /// Returns whether a connection must not be closed, because the database lives in it.
    fn is_only_connection(&self) -> bool {
        false
    }

    /// Returns what the writing transactions of this process take turns by, if the database lets only one of all connections write.
    fn turn(&self) -> Option<Arc<Mutex<()>>> {
        None
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Control {
    /// Begins a transaction that writes.
    Begin,
    /// Begins a transaction that only looks.
    Look,
    Commit,
    Rollback,
}

/// A connection, on which one transaction runs at a time.
pub(super) struct Line<D: Database> {
    database: Arc<D>,
    connection: Arc<Mutex<Option<D::Connection>>>,
}

impl<D: Database> Line<D> {
    pub(super) fn new(database: &Arc<D>) -> Self {
        Self { database: database.clone(), connection: Arc::new(Mutex::new(None)) }
    }

    /// Runs a transaction that may write. It goes on if this is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut D::Connection) -> BoxFuture<'a, Result<T, sqlx::Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.transact(Control::Begin, Box::new(work)).await
    }

    /// Runs a transaction that only looks. It goes on if this is dropped.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut D::Connection) -> BoxFuture<'a, Result<T, sqlx::Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.transact(Control::Look, Box::new(work)).await
    }

    async fn transact<T: Send + 'static>(
        &self,
        begin: Control,
        work: Work<D::Connection, T>,
    ) -> Result<T, StoreError> {
        let (database, connection) = (self.database.clone(), self.connection.clone());
        // The deadline is the task's: dropped with this it would leave the connection in a transaction.
        let task = tokio::spawn(async move {
            let commits = AtomicBool::new(false);
            let must_stay = database.is_only_connection();
            let transaction = transaction(&*database, connection, begin, &commits, work);
            // What is in memory answers, and must not be closed.
            let deadline = if must_stay { Duration::MAX } else { DEADLINE };
            match tokio::time::timeout(deadline, transaction).await {
                Ok(result) => result,
                Err(_) => {
                    let error = format!("no answer within {DEADLINE:?}");
                    let in_doubt = commits.load(Ordering::Acquire);
                    Err(if in_doubt { StoreError::InDoubt(error) } else { StoreError::Away(error) })
                }
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
    let _turn = match (begin, database.turn()) {
        (Control::Begin, Some(turn)) => tokio::time::timeout(PATIENCE, turn.lock_owned()).await.ok(),
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
                Err(error) if matches!(begin, Control::Look) || database.is_refused_commit(&error) => error,
                Err(error) => return Err(StoreError::InDoubt(error.to_string())),
            }
        }
        Err(error) => error,
    };
    let (is_data, is_locked) = (database.is_data(&error), database.is_locked(&error));
    if is_data || is_locked || database.is_only_connection() {
        borrowed.roll_back(database).await;
    }
    Err(match error {
        error if is_data => StoreError::Data(error.to_string()),
        error if is_locked => StoreError::Locked(error.to_string()),
        error => away(error),
    })
}

fn away(error: sqlx::Error) -> StoreError {
    StoreError::Away(error.to_string())
}

/// A connection in a transaction. Unless it is given back, it is closed.
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
                // It may still be in the transaction before.
                let _ = database.execute(connection, Control::Rollback).await;
                let begun = database.execute(connection, begin).await;
                if begun.is_err() {
                    borrowed.give_back();
                }
                return begun.map(|()| borrowed);
            }
            // The server may have been restarted since. Nothing was sent on it but this.
            borrowed.connection = None;
        }
        let connection = borrowed.connection.insert(database.open().await?);
        database.execute(connection, begin).await?;
        Ok(borrowed)
    }

    fn connection(&mut self) -> &mut C {
        self.connection.as_mut().expect("it was not given back")
    }

    fn give_back(&mut self) {
        *self.place = self.connection.take();
    }

    /// Ends a transaction that was refused.
    async fn roll_back<D: Database<Connection = C>>(&mut self, database: &D) {
        let Some(connection) = &mut self.connection else { return };
        if database.execute(connection, Control::Rollback).await.is_ok() || database.is_only_connection() {
            self.give_back();
        }
    }
}

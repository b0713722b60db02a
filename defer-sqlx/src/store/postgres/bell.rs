//! Notifies other processes of ready jobs, and listens for their notifications.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{
    Executor, PgConnection,
    postgres::{PgListener, PgPool},
};
use tokio::{sync::Notify, task::AbortHandle};

use crate::store::{connection::Line, interface::StoreError};

use super::database::Server;

/// The channel. The payload is the queue's name.
const CHANNEL: &str = "defer_jobs";
/// The least time between two notifications of a process, because commits that notify wait for each other (Postgres 15).
const PAUSE: Duration = Duration::from_millis(10);
/// A connection is trusted for this long without hearing anything.
const PING: Duration = Duration::from_secs(30);
/// The wait after a connection was lost.
const RECONNECT: Duration = Duration::from_secs(1);

/// Notifies other processes of ready jobs.
#[derive(Debug, Default)]
pub(super) struct Bell(Mutex<Rung>);

#[derive(Debug, Default)]
struct Rung {
    at: Option<Instant>,
    /// Whether it will ring when the pause is over.
    is_owed: bool,
}

impl Bell {
    /// Notifies when this transaction commits. Returns false if it is too early for that.
    pub(super) async fn ring(&self, connection: &mut PgConnection, queue: &str) -> Result<bool, sqlx::Error> {
        let may_ring = {
            let mut rung = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let may_ring = rung.at.is_none_or(|at| at.elapsed() >= PAUSE);
            if may_ring {
                rung.at = Some(Instant::now());
            }
            may_ring
        };
        if may_ring {
            sqlx::query("SELECT pg_notify($1, $2)")
                .persistent(false)
                .bind(CHANNEL)
                .bind(queue)
                .execute(connection)
                .await?;
        }
        Ok(may_ring)
    }

    /// Notifies once the pause is over, on behalf of all transactions that could not. If this fails, other processes find the
    /// jobs later.
    pub(super) fn ring_later(self: &Arc<Self>, line: &Line<Server>, queue: &str) {
        {
            let mut rung = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut rung.is_owed, true) {
                return;
            }
        }
        let (bell, line, queue) = (self.clone(), line.clone(), queue.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(PAUSE).await;
            bell.0.lock().unwrap_or_else(PoisonError::into_inner).is_owed = false;
            let ring = line.run(move |connection| {
                Box::pin(async move { bell.ring(connection, &queue).await.map(drop) })
            });
            let _: Result<(), StoreError> = ring.await;
        });
    }
}

/// Listens for other processes from the first call on, on a connection of its own. Behind a pooler it hears nothing: it would
/// listen on a connection that others use in turn, and for them a notification is an error (sqlx 0.9).
pub(super) struct Ear {
    pool: Option<PgPool>,
    queue: String,
    heard: Arc<Notify>,
    task: Mutex<Option<AbortHandle>>,
}

impl Ear {
    pub(super) fn new(server: &Server, queue: &str) -> Self {
        let pool = server.is_direct().then(|| server.listener_pool());
        Self { pool, queue: queue.to_owned(), heard: Arc::default(), task: Mutex::default() }
    }

    /// Waits until another process may have made jobs ready.
    pub(super) async fn heard(&self) {
        let Some(pool) = &self.pool else { return std::future::pending().await };
        {
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if task.as_ref().is_none_or(AbortHandle::is_finished) {
                let listen = listen(pool.clone(), self.queue.clone(), self.heard.clone());
                *task = Some(tokio::spawn(listen).abort_handle());
            }
        }
        self.heard.notified().await;
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ear").finish_non_exhaustive()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

/// Runs in a task, because the listener needs a runtime when it is dropped (sqlx 0.9).
async fn listen(pool: PgPool, queue: String, heard: Arc<Notify>) {
    loop {
        if let Err(error) = hear(&pool, &queue, &heard).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "cannot listen for jobs of other processes"
            );
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn hear(pool: &PgPool, queue: &str, heard: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    loop {
        // Notifications may have been missed until now.
        heard.notify_one();
        loop {
            match tokio::time::timeout(PING, listener.try_recv()).await {
                Ok(Ok(Some(notification))) if notification.payload() == queue => break,
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => match tokio::time::timeout(PING, listener.execute("SELECT 1")).await {
                    Ok(result) => {
                        result?;
                    }
                    Err(_) => return Ok(()),
                },
            }
        }
    }
}

//! The engine of a queue: what its clones, its leases and its workers share.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use defer_core::queue::Envelope;
use riverqueue::tokio_util::sync::{CancellationToken, DropGuard};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    beats,
    ops::{Op, Settlement, Stored, Waiting},
    writer,
};
use crate::{
    error::Error,
    store::{Change, Database, Row},
};

/// How long the last writes of a process may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How many bytes may wait for a database that is away. What comes then runs in memory.
const MAX_WAITING: usize = 64 << 20;

/// What a user sets.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The name of River's queue.
    pub(crate) queue: String,
    pub(crate) max_payload: usize,
}

/// What the clones of a queue share. The threads end when it is dropped.
pub(crate) struct Engine {
    pub(crate) database: Database,
    pub(crate) settings: Settings,
    /// This process, as the database knows it.
    pub(crate) holder: String,
    /// Taken when the queue is closed, which the guard tells.
    ops: Mutex<Option<(mpsc::UnboundedSender<Op>, DropGuard)>>,
    waiting: Arc<Waiting>,
    ended: CancellationToken,
}

/// Connects, and starts the threads.
pub(crate) async fn start(
    database: Database,
    settings: Settings,
    migrate: bool,
) -> Result<Arc<Engine>, Error> {
    let (started, engine) = oneshot::channel();
    let (ops, receiver) = mpsc::unbounded_channel();
    let of_thread = database.clone();
    let queue = settings.queue.clone();
    let (holder, waiting) = (defer_core::JobId::unique().to_string(), Arc::default());
    let (ended, closing) = (CancellationToken::new(), CancellationToken::new());
    let engine_of = {
        let ops = (ops, closing.clone().drop_guard());
        let (database, holder, waiting, ended) =
            (database, holder.clone(), Arc::clone(&waiting), ended.clone());
        move || Engine { database, settings, holder, ops: Mutex::new(Some(ops)), waiting, ended }
    };
    spawn("defer-river", async move {
        let connected = async {
            if migrate {
                of_thread.migrate().await?;
            }
            // Others take the jobs of an unknown holder for those of a dead process.
            beats::register(&of_thread, &holder).await
        };
        if let Err(error) = connected.await {
            return drop(started.send(Err(error)));
        }
        let stop = CancellationToken::new();
        let (stopped, has_stopped) = oneshot::channel();
        let beating = beats::beat(of_thread.clone(), holder.clone(), queue.clone(), stop.clone());
        // Its own thread, so that nothing keeps it from beating.
        let beating = spawn("defer-river-beats", async move {
            beating.await;
            let _ = stopped.send(());
        });
        if let Err(error) = beating {
            return drop(started.send(Err(Error::Store(error.into()))));
        }
        // Nothing waits for it anymore: dropped here, it ends.
        drop(started.send(Ok(Arc::new(engine_of()))));
        tokio::select! {
            biased;
            () = writer::write(of_thread.clone(), queue, receiver, waiting) => {}
            () = async {
                closing.cancelled().await;
                // A database that does not answer keeps no process from its end.
                sleep(CLOSE_WITHIN).await;
            } => {}
        }
        stop.cancel();
        // The beats end before the holder takes leave: they would register it again.
        let _ = has_stopped.await;
        beats::take_leave(&of_thread, &holder, CLOSE_WITHIN).await;
        ended.cancel();
    })
    .map_err(|error| Error::Store(error.into()))?;
    engine.await.unwrap_or_else(|_| Err(Error::Store("the queue's thread is gone".into())))
}

fn spawn(name: &str, work: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(work)).map(drop)
}

impl Engine {
    /// Returns the row of a job that is ready.
    pub(crate) fn row(&self, job: Envelope) -> Result<Row, Error> {
        Row::new(job, &self.settings.queue, self.settings.max_payload)
    }

    fn send(&self, op: Op) {
        let ops = self.ops.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a closed queue it is dropped, and with it what tells the end.
        if let Some((ops, _)) = &*ops {
            let _ = ops.send(op);
        }
    }

    /// Begins to store rows. An answer that never comes means that the queue was closed.
    pub(crate) fn insert(&self, rows: Vec<Row>, is_held: bool) -> oneshot::Receiver<Stored> {
        let (reply, stored) = oneshot::channel();
        let size = rows.iter().map(Row::size).sum();
        if self.waiting.add(size, MAX_WAITING) {
            self.send(Op::Insert { rows, is_held, size, reply });
        } else {
            let away = || Err("the queue's database is away, and too many jobs wait for it".to_owned());
            let _ = reply.send(rows.iter().map(|_| away()).collect());
        }
        stored
    }

    /// Begins to store what becomes of a job, with the jobs that it deferred, which this process holds.
    pub(crate) fn settle(&self, change: Change, children: Vec<Row>) -> oneshot::Receiver<Settlement> {
        let (reply, settled) = oneshot::channel();
        self.send(Op::Settle { change: Box::new(change), children, reply });
        settled
    }

    /// Completes when everything before this is stored.
    pub(crate) async fn written(&self) {
        let (reply, written) = oneshot::channel();
        self.send(Op::Flush { reply });
        // An error means that the queue was closed.
        let _ = written.await;
    }

    /// Writes what is left, and takes leave of the database. Completes within four seconds.
    pub(crate) async fn close(&self) {
        let ops = self.ops.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(ops);
        self.ended.cancelled().await;
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("database", &self.database.name()).finish_non_exhaustive()
    }
}

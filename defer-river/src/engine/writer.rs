//! Writes what the requests of this process have for the database, one transaction after another.

use std::{
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::store::{Change, Changed, Connection, Database, Row, insert, insert_waiting, is_data, settle};

/// How many writes share a transaction.
const AT_ONCE: usize = 256;
/// How long a transaction may take. Its connection is closed then, and it is made again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the database did not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// For each row whether it is stored, or why not.
pub(crate) type Stored = Vec<Result<(), String>>;

/// What became of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settlement {
    pub(crate) changed: Changed,
    /// Whether the jobs that the job deferred are stored. The database may refuse them.
    pub(crate) has_children: bool,
}

/// A write.
pub(crate) enum Op {
    Insert { rows: Vec<Row>, is_held: bool, size: usize, reply: oneshot::Sender<Stored> },
    Settle { change: Box<Change>, children: Vec<Row>, reply: oneshot::Sender<Settlement> },
    Flush { reply: oneshot::Sender<()> },
}

/// The bytes of the rows that wait to be stored.
#[derive(Debug, Default)]
pub(super) struct Waiting(AtomicUsize);

impl Waiting {
    /// Adds them, if there is room or nothing waits.
    pub(super) fn add(&self, bytes: usize, max: usize) -> bool {
        let add = |waiting: usize| (waiting == 0 || waiting + bytes <= max).then(|| waiting + bytes);
        self.0.fetch_update(Relaxed, Relaxed, add).is_ok()
    }

    fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }
}

/// The answer to a write.
#[derive(Clone, Copy)]
enum Answer {
    Stored,
    Settled(Changed),
}

/// Writes until nobody sends anymore, and then for at most `close_within`.
pub(super) async fn write(
    database: Database,
    queue: String,
    mut ops: mpsc::UnboundedReceiver<Op>,
    waiting: Arc<Waiting>,
    close_within: Duration,
) {
    let mut writer =
        Writer { database, queue, connection: None, is_away: false, deadline: None, close_within };
    let mut batch = Vec::new();
    while ops.recv_many(&mut batch, AT_ONCE).await > 0 {
        let batch = std::mem::take(&mut batch);
        // Ops that are dropped tell by that that the queue was closed.
        if writer.write_all(batch, &ops, &waiting).await.is_none() {
            return;
        }
    }
}

struct Writer {
    database: Database,
    queue: String,
    connection: Option<Connection>,
    /// Whether that it is away has been said.
    is_away: bool,
    /// When it gives up, once nobody can ask for more.
    deadline: Option<Instant>,
    close_within: Duration,
}

type Queued = mpsc::UnboundedReceiver<Op>;

impl Writer {
    /// Writes these together, or each alone if the database refuses something in them. `None` if the time is over.
    async fn write_all(&mut self, ops: Vec<Op>, queued: &Queued, waiting: &Waiting) -> Option<()> {
        match self.answered(&ops, queued).await? {
            Ok(answers) => {
                ops.into_iter().zip(answers).for_each(|(op, of_op)| answer(op, of_op, waiting));
            }
            Err(error) if ops.len() == 1 => {
                for op in ops {
                    self.refused(op, &error, queued, waiting).await?;
                }
            }
            Err(_) => {
                for op in ops {
                    let op = [op];
                    match self.answered(&op, queued).await? {
                        Ok(answers) => {
                            op.into_iter().zip(answers).for_each(|(op, of_op)| answer(op, of_op, waiting));
                        }
                        Err(error) => {
                            let [op] = op;
                            self.refused(op, &error, queued, waiting).await?;
                        }
                    }
                }
            }
        }
        Some(())
    }

    /// Writes what the database does not refuse of this.
    async fn refused(
        &mut self,
        op: Op,
        error: &sqlx::Error,
        queued: &Queued,
        waiting: &Waiting,
    ) -> Option<()> {
        match op {
            Op::Insert { rows, is_held, size, reply } => {
                let mut stored = Vec::with_capacity(rows.len());
                for row in rows {
                    // What is pushed is stored whole or not at all.
                    let is_tried = is_held && size > row.size();
                    let (unused, _) = oneshot::channel();
                    let alone = [Op::Insert { rows: vec![row], is_held, size: 0, reply: unused }];
                    stored.push(match is_tried {
                        true => {
                            self.answered(&alone, queued).await?.map(drop).map_err(|error| error.to_string())
                        }
                        false => Err(error.to_string()),
                    });
                }
                waiting.remove(size);
                // Nobody may wait for it anymore.
                let _ = reply.send(stored);
            }
            Op::Settle { mut change, reply, .. } => {
                tracing::error!(target: "defer", %error, "the queue's database refuses the end of a job, or its jobs");
                let (unused, _) = oneshot::channel();
                let alone = [Op::Settle { change: change.clone(), children: Vec::new(), reply: unused }];
                let mut answers = self.answered(&alone, queued).await?;
                if answers.is_err() {
                    // A row that stayed as it is would be held for as long as this process lives.
                    change.fail(&error.to_string());
                    let (unused, _) = oneshot::channel();
                    let failed = [Op::Settle { change, children: Vec::new(), reply: unused }];
                    answers = self.answered(&failed, queued).await?;
                }
                let changed = match answers.ok().and_then(|answers| answers.first().copied()) {
                    Some(Answer::Settled(changed)) => changed,
                    _ => Changed::Refused,
                };
                let _ = reply.send(Settlement { changed, has_children: false });
            }
            Op::Flush { reply } => {
                let _ = reply.send(());
            }
        }
        Some(())
    }

    /// Writes these, and returns the answers, or why the database refuses them. While it is away, this waits; `None` if nobody
    /// asks for more, and the time for the last writes is over.
    async fn answered(&mut self, ops: &[Op], queued: &Queued) -> Option<Result<Vec<Answer>, sqlx::Error>> {
        loop {
            match self.transaction(ops).await {
                Ok(answers) => return Some(Ok(answers)),
                Err(error) if is_data(&error) => return Some(Err(error)),
                Err(error) => {
                    if !self.is_away {
                        tracing::warn!(target: "defer", %error, "the queue's database does not answer");
                    }
                    self.is_away = true;
                    if self.is_over(queued) {
                        return None;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Whether nobody asks for more, and the time for the last writes is over.
    fn is_over(&mut self, queued: &Queued) -> bool {
        if queued.sender_strong_count() > 0 {
            return false;
        }
        Instant::now() >= *self.deadline.get_or_insert_with(|| Instant::now() + self.close_within)
    }

    /// Writes in one transaction. After an error that leaves anything in doubt its connection is closed: a rollback on it
    /// might not be answered either.
    async fn transaction(&mut self, ops: &[Op]) -> Result<Vec<Answer>, sqlx::Error> {
        let is_open = self.connection.is_some();
        let work = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.database.open().await?,
            };
            let statements = self.database.statements();
            connection.begin(statements).await?;
            let written = write_in(&mut connection, &self.database, ops, &self.queue).await;
            match written {
                Ok(answers) => {
                    connection.execute("COMMIT").await?;
                    Ok((connection, Ok(answers)))
                }
                Err(error) if is_data(&error) => {
                    connection.execute("ROLLBACK").await?;
                    Ok((connection, Err(error)))
                }
                Err(error) => Err(error),
            }
        };
        let (connection, answers) = timeout(TIMEOUT, work).await.unwrap_or_else(|_| {
            let opened = if is_open { "answer" } else { "connect" };
            Err(sqlx::Error::Io(std::io::Error::other(format!("it did not {opened} within {TIMEOUT:?}"))))
        })?;
        (self.connection, self.is_away) = (Some(connection), false);
        answers
    }
}

async fn write_in(
    connection: &mut Connection,
    database: &Database,
    ops: &[Op],
    queue: &str,
) -> Result<Vec<Answer>, sqlx::Error> {
    let (target, statements) = (&mut connection.target(), database.statements());
    let (mut held, mut ready, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::Insert { rows, is_held: true, .. } => held.extend(rows),
            Op::Insert { rows, .. } => ready.extend(rows),
            Op::Settle { change, .. } => changes.push(&**change),
            Op::Flush { .. } => {}
        }
    }
    insert(target, statements, &held).await?;
    if !ready.is_empty() {
        insert_waiting(target, statements, &ready, queue).await?;
    }
    let mut changed = settle(target, statements, &changes, queue).await?.into_iter();
    let (mut answers, mut children) = (Vec::with_capacity(ops.len()), Vec::new());
    for op in ops {
        answers.push(match op {
            Op::Settle { children: of_op, .. } => {
                let changed = changed.next().unwrap_or(Changed::Refused);
                if changed == Changed::Made {
                    children.extend(of_op);
                }
                Answer::Settled(changed)
            }
            _ => Answer::Stored,
        });
    }
    insert(target, statements, &children).await?;
    Ok(answers)
}

fn answer(op: Op, answer: Answer, waiting: &Waiting) {
    // Nobody may wait for the answer anymore.
    match (op, answer) {
        (Op::Insert { rows, size, reply, .. }, _) => {
            waiting.remove(size);
            let _ = reply.send(rows.iter().map(|_| Ok(())).collect());
        }
        (Op::Settle { reply, .. }, Answer::Settled(changed)) => {
            let _ = reply.send(Settlement { changed, has_children: changed == Changed::Made });
        }
        (Op::Settle { reply, .. }, Answer::Stored) => {
            let _ = reply.send(Settlement { changed: Changed::Refused, has_children: false });
        }
        (Op::Flush { reply }, _) => {
            let _ = reply.send(());
        }
    }
}

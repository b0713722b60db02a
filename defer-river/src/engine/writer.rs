//! Writes what the requests of this process have for the database, one transaction after another.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::ops::{Op, Ops, Settlement, Waiting, Write};
use crate::store::{Changed, Connection, Database, Refusal, insert, insert_waiting, settle};

/// How long a transaction may take. Its connection is closed then, and it is made again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the database did not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a write is tried that others are always faster than. It counts as refused then.
const CONTENDED_TRIES: u32 = 6;
/// How many writes of a batch are looked for that wait for a lock. The rest is put aside with them: the whole table may be locked.
const LOCKED_AT_ONCE: usize = 4;

/// The answer to a write.
#[derive(Clone, Copy)]
enum Answer {
    Stored,
    Settled(Changed),
}

type Answers = Result<Vec<Answer>, (Refusal, sqlx::Error)>;

/// Writes until nobody sends anymore, and everything is written. Ops that are dropped with this tell by that that the queue was
/// closed.
pub(super) async fn write(
    database: Database,
    queue: String,
    ops: mpsc::UnboundedReceiver<Op>,
    waiting: Arc<Waiting>,
) {
    let mut writer =
        Writer { database, queue, ops: Ops::new(ops), waiting, connection: None, is_away: false };
    while let Some(writes) = writer.ops.next().await {
        writer.write_all(writes).await;
    }
}

struct Writer {
    database: Database,
    queue: String,
    ops: Ops,
    waiting: Arc<Waiting>,
    connection: Option<Connection>,
    /// Whether that it is away has been said.
    is_away: bool,
}

impl Writer {
    /// Writes these together, or in parts if something is in the way of some of them.
    async fn write_all(&mut self, writes: Vec<Write>) {
        let mut hurries = writes.iter().any(|write| write.tries > 0);
        // A stack instead of recursion.
        let (mut parts, mut locked) = (vec![writes], 0);
        while let Some(writes) = parts.pop() {
            // Since they were taken, one that they follow may have been put aside.
            let mut writes = self.ops.without_aside(writes);
            if writes.is_empty() {
                continue;
            }
            if locked == LOCKED_AT_ONCE {
                writes.into_iter().for_each(|write| self.ops.put_aside(write));
                continue;
            }
            let ops: Vec<_> = writes.iter().map(|write| &write.op).collect();
            match self.answered(&ops, hurries).await {
                Ok(answers) => {
                    let ops = writes.into_iter().map(|write| write.op);
                    ops.zip(answers).for_each(|(op, of_op)| answer(op, of_op, &self.waiting));
                }
                Err((refusal, _)) if writes.len() > 1 => {
                    // To find the one that waits for a lock, each part of them would wait for it.
                    hurries |= refusal == Refusal::Locked;
                    let half = writes.split_off(writes.len() / 2);
                    parts.extend([half, writes]);
                }
                Err((refusal, error)) => {
                    locked += usize::from(refusal == Refusal::Locked);
                    for write in writes {
                        self.refused(write, refusal, &error).await;
                    }
                }
            }
        }
    }

    /// Puts a write aside, or writes what the database does not refuse of it.
    async fn refused(&mut self, Write { op, tries }: Write, refusal: Refusal, error: &sqlx::Error) {
        let is_data = match refusal {
            Refusal::Contended => tries >= CONTENDED_TRIES,
            refusal => refusal == Refusal::Data,
        };
        if !is_data {
            tracing::debug!(target: "defer", %error, tries, "a write of the queue waits for another transaction");
            return self.ops.put_aside(Write { op, tries });
        }
        match op {
            Op::Insert { rows, is_held, size, reply } => {
                let mut stored = Vec::with_capacity(rows.len());
                for row in rows {
                    // What is pushed is stored whole or not at all.
                    let is_tried = is_held && size > row.size();
                    let (unused, _) = oneshot::channel();
                    let alone = Op::Insert { rows: vec![row], is_held, size: 0, reply: unused };
                    stored.push(match is_tried {
                        true => {
                            let answers = self.answered(&[&alone], false).await;
                            answers.map(drop).map_err(|(_, error)| error.to_string())
                        }
                        false => Err(error.to_string()),
                    });
                }
                self.waiting.remove(size);
                // Nobody may wait for it anymore.
                let _ = reply.send(stored);
            }
            Op::Settle { mut change, children, reply } => {
                let (unused, _) = oneshot::channel();
                let alone = Op::Settle { change: change.clone(), children: Vec::new(), reply: unused };
                let mut answers = self.answered(&[&alone], false).await;
                if let Err((Refusal::Data, _)) = answers {
                    // A row that stayed as it is would be held for as long as this process lives.
                    change.fail(&error.to_string());
                    let (unused, _) = oneshot::channel();
                    let failed = Op::Settle { change: change.clone(), children: Vec::new(), reply: unused };
                    answers = self.answered(&[&failed], false).await;
                }
                if let Err((Refusal::Locked | Refusal::Contended, _)) = answers {
                    let op = Op::Settle { change, children, reply };
                    return self.ops.put_aside(Write { op, tries });
                }
                tracing::error!(target: "defer", %error, "the queue's database refuses the end of a job, or its jobs");
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
    }

    /// Writes these, and returns the answers, or why the database does not do it. While it is away, this waits.
    async fn answered(&mut self, ops: &[&Op], hurries: bool) -> Answers {
        loop {
            let error = match self.transaction(ops, hurries).await {
                Ok(answers) => return Ok(answers),
                Err(error) => error,
            };
            match Refusal::of(&error) {
                Refusal::Away => {
                    if !self.is_away {
                        tracing::warn!(target: "defer", %error, "the queue's database does not answer");
                    }
                    self.is_away = true;
                    // Nothing tells that the database is back.
                    sleep(PAUSE).await;
                }
                refusal => return Err((refusal, error)),
            }
        }
    }

    /// Writes in one transaction. After an error that leaves anything in doubt its connection is closed: a rollback on it
    /// might not be answered either.
    async fn transaction(&mut self, ops: &[&Op], hurries: bool) -> Result<Vec<Answer>, sqlx::Error> {
        let is_open = self.connection.is_some();
        let work = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.database.open().await?,
            };
            let statements = self.database.statements();
            connection.begin(statements).await?;
            if let Some(hurry) = statements.hurry.filter(|_| hurries) {
                connection.execute(hurry).await?;
            }
            let written = write_in(&mut connection, &self.database, ops, &self.queue).await;
            match written {
                Ok(answers) => {
                    connection.execute("COMMIT").await?;
                    Ok((connection, Ok(answers)))
                }
                Err(error) if Refusal::of(&error) == Refusal::Away => Err(error),
                Err(error) => {
                    connection.execute("ROLLBACK").await?;
                    Ok((connection, Err(error)))
                }
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
    ops: &[&Op],
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

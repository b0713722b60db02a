//! Commits pending writes, splits batches and retries them.

use std::{sync::Arc, time::Instant};

use defer_core::queue::Settled;
use tokio::{sync::oneshot, time::sleep_until};

use super::{
    engine::Engine,
    held::{Held, Settling, Stored},
    ops::{Next, Op},
};
use crate::store::{Change, ChangeKind, Changed, NewJob, StoreError, StoredEnd};

/// Writes pending changes forever.
pub(super) async fn write(engine: Arc<Engine>) {
    loop {
        let holder = engine.identity.wait_registered().await;
        match engine.ops.next(engine.clock.now()) {
            Next::Write(ops) => {
                let Left { again, failed } = commit(&engine, &holder, ops).await;
                engine.ops.landed(again, failed, engine.clock.now());
            }
            Next::Wait(until) => {
                tokio::select! {
                    biased;
                    () = engine.ops.added() => {}
                    () = reached(until) => {}
                }
            }
        }
    }
}

/// Waits until this moment, or forever if there is none.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// The part of a batch that was not written.
#[derive(Default)]
struct Left {
    /// The ops to retry.
    again: Vec<Op>,
    /// Whether the database has failed.
    failed: bool,
}

/// Writes ops in as few transactions as their data allow.
async fn commit(engine: &Arc<Engine>, holder: &str, ops: Vec<Op>) -> Left {
    let mut left = Left::default();
    // A stack instead of recursion. It has the halves of batches whose data the database refused.
    let mut batches = vec![ops];
    while let Some(ops) = batches.pop() {
        let batch = Batch::new(engine, holder, ops);
        if batch.ops.is_empty() {
            continue;
        }
        match batch.run(engine, holder).await {
            Ok(()) => {}
            Err((mut ops, StoreError::Data(_) | StoreError::Locked(_))) if ops.len() > 1 => {
                let half = ops.split_off(ops.len() / 2);
                batches.push(half);
                batches.push(ops);
            }
            Err((ops, StoreError::Locked(error))) => {
                let locked = ops.into_iter().filter_map(|op| fail(engine, op, &error, false));
                left.again.extend(locked.map(Op::slower));
            }
            Err((mut ops, StoreError::Data(error))) => {
                let Some(op) = ops.pop() else { continue };
                match simpler(engine, op, error) {
                    Simpler::None => {}
                    Simpler::Some(op) => batches.push(vec![op]),
                    Simpler::Same(op) => left.again.push(op.slower()),
                }
            }
            Err((ops, StoreError::Away(error))) => {
                left.failed = true;
                left.again.extend(ops.into_iter().filter_map(|op| fail(engine, op, &error, false)));
            }
            Err((ops, StoreError::InDoubt(error))) => {
                left.failed = true;
                left.again.extend(ops.into_iter().filter_map(|op| fail(engine, op, &error, true)));
            }
        }
        if left.failed {
            // The other parts would fail too, and each might take as long.
            left.again.extend(batches.drain(..).rev().flatten());
        }
    }
    left
}

/// The contents of one transaction.
struct Batch {
    ops: Vec<Op>,
    held: Vec<NewJob>,
    changes: Vec<Change>,
}

impl Batch {
    /// Skips ops that no longer need to be written, and answers them.
    fn new(engine: &Engine, holder: &str, ops: Vec<Op>) -> Self {
        let mut batch = Self { ops: Vec::with_capacity(ops.len()), held: Vec::new(), changes: Vec::new() };
        for op in ops {
            match op {
                Op::Hold { held, done, .. } if held.is_lost() || held.holder != holder => {
                    void(engine, &held);
                    let _ = done.send(Err("this process was judged dead".to_owned()));
                }
                Op::Change { held, settling, again, .. } if held.is_lost() || held.holder != holder => {
                    // Other processes have the job, unless an earlier try was stored.
                    let settled = if again { Settled::Unknown } else { Settled::Refused };
                    answer(engine, &held, settling, settled);
                }
                Op::Change { held, settling, .. } if !held.may_be_stored() => {
                    nothing(engine, &held, settling)
                }
                Op::Change { held, settling, .. } if held.is_cancelled() => {
                    let is_cancelled = matches!(settling.kind, ChangeKind::End(StoredEnd::Cancelled));
                    let settled = if is_cancelled { Settled::Done } else { Settled::Refused };
                    answer(engine, &held, settling, settled);
                }
                Op::Progress { held } => match held.take_progress(engine.clock.now()) {
                    Some(json) if held.holder == holder => batch.add_progress(held, json),
                    _ => {}
                },
                op => batch.add(op),
            }
        }
        batch
    }

    fn add_progress(&mut self, held: Arc<Held>, json: String) {
        let kind = ChangeKind::Progress { json };
        let (id, claim) = (held.id, held.claim);
        self.changes.push(Change { id, claim, kind, children: Vec::new(), again: false, insert: None });
        self.ops.push(Op::Progress { held });
    }

    fn add(&mut self, op: Op) {
        match &op {
            Op::Progress { .. } => return,
            Op::Hold { job, .. } => self.held.push((**job).clone()),
            Op::Push { jobs, .. } => self.held.extend(jobs.iter().cloned()),
            Op::Change { held, settling: Settling { kind, children, .. }, again, .. } => {
                // A job whose own insert is in the same batch is treated like one in doubt, because the change comes first there.
                let insert = match held.stored() {
                    Stored::Asked(job) | Stored::InDoubt(job) => Some(*job),
                    Stored::WithParent | Stored::Yes(_) | Stored::No => None,
                };
                self.changes.push(Change {
                    id: held.id,
                    claim: held.claim,
                    kind: kind.clone(),
                    children: children.iter().map(|(child, _)| child.clone()).collect(),
                    again: *again,
                    insert,
                });
            }
        }
        self.ops.push(op);
    }

    async fn run(self, engine: &Arc<Engine>, holder: &str) -> Result<(), (Vec<Op>, StoreError)> {
        let Self { ops, held, changes } = self;
        if ops.iter().all(Op::is_push) {
            return match engine.store.push(&held).await {
                Ok(duplicates) => {
                    let mut duplicates = duplicates.into_iter();
                    for op in ops {
                        if let Op::Push { jobs, done } = op {
                            let _ = done.send(Ok(duplicates.by_ref().take(jobs.len()).collect()));
                        }
                    }
                    held.iter().for_each(|job| engine.put_off(job.delay));
                    engine.made_ready();
                    Ok(())
                }
                Err(error) => Err((ops, error)),
            };
        }
        match engine.store.write(holder, &held, &changes).await {
            Ok(changed) => {
                let mut changed = changed.into_iter();
                let makes_ready = ops.iter().any(makes_ready);
                for change in &changes {
                    if let ChangeKind::Ready { delay, .. } | ChangeKind::Retry { delay, .. } = change.kind {
                        engine.put_off(delay);
                    }
                }
                for op in ops {
                    match op {
                        Op::Hold { held, done, .. } => {
                            is_stored(engine, &held, Stored::Yes(engine.clock.now()));
                            let _ = done.send(Ok(()));
                        }
                        Op::Change { held, settling, again, .. } => {
                            let settled = settled(changed.next());
                            // Not if a cancellation was faster.
                            if settled == Settled::Refused && !again && held.stopped().is_none() {
                                tracing::warn!(
                                    target: "defer", id = %held.id,
                                    "the end of a durable job came too late, and changed nothing: another process has the job"
                                );
                            }
                            answer(engine, &held, settling, settled);
                        }
                        // If it was refused, it came too late.
                        Op::Progress { .. } => drop(changed.next()),
                        Op::Push { .. } => {}
                    }
                }
                if makes_ready {
                    engine.made_ready();
                }
                Ok(())
            }
            Err(error) => Err((ops, error)),
        }
    }
}

fn settled(changed: Option<Changed>) -> Settled {
    match changed {
        Some(Changed::Made) => Settled::Done,
        Some(Changed::Duplicate(of)) => Settled::Duplicate(of),
        Some(Changed::Refused) | None => Settled::Refused,
    }
}

/// Returns whether a worker may have something to do after an op.
fn makes_ready(op: &Op) -> bool {
    match op {
        Op::Change { held, settling, .. } => {
            held.is_serial || matches!(settling.kind, ChangeKind::Ready { .. } | ChangeKind::Retry { .. })
        }
        Op::Hold { .. } | Op::Progress { .. } | Op::Push { .. } => false,
    }
}

/// Answers a change.
fn answer(engine: &Engine, held: &Arc<Held>, settling: Settling, settled: Settled) {
    let Settling { kind, children, aside, done } = settling;
    if let Some(aside) = aside {
        let (_, (_, child)) = *aside;
        // It runs in this process only, if it runs.
        void(engine, &child);
    }
    for (_, child) in &children {
        if settled == Settled::Done {
            is_stored(engine, child, Stored::Yes(engine.clock.now()));
        } else {
            // The job was never deferred.
            void(engine, child);
        }
    }
    if !matches!(kind, ChangeKind::Pass) {
        engine.forget(held);
    }
    let _ = done.send(settled);
}

/// Answers a change of a job that is not stored, so no other process has it. Its children are stored by themselves.
fn nothing(engine: &Engine, held: &Arc<Held>, settling: Settling) {
    let Settling { kind, children, aside, done } = settling;
    for (job, child) in children.into_iter().chain(aside.map(|aside| aside.1)) {
        is_stored(engine, &child, Stored::Asked(Box::new(job.clone())));
        let (done, _) = oneshot::channel();
        engine.enqueue(Op::Hold { job: Box::new(job), held: child, done });
    }
    answer(engine, held, Settling::new(kind, Vec::new(), done), Settled::Done);
}

/// Handles an op that the database did not store, or may not have stored. Returns the op if it has to be tried again.
fn fail(engine: &Engine, op: Op, error: &str, in_doubt: bool) -> Option<Op> {
    match op {
        Op::Hold { held, done, .. } => {
            if in_doubt {
                held.in_doubt();
            } else {
                void(engine, &held);
            }
            let _ = done.send(Err(error.to_owned()));
            None
        }
        // A later value replaces this one.
        Op::Progress { .. } => None,
        Op::Push { done, .. } => {
            let _ = done.send(Err(error.to_owned()));
            None
        }
        Op::Change { held, settling, again, slow } => {
            if !again && slow.is_none() {
                tracing::warn!(target: "defer", id = %held.id, error, "the end of a durable job is not stored yet");
            }
            Some(Op::Change { held, settling, again: again || in_doubt, slow })
        }
    }
}

/// The part of an op that is left after the database refused its data.
enum Simpler {
    None,
    Some(Op),
    /// Nothing can be left out. It is tried again, because a job whose end is given up would run again and again.
    Same(Op),
}

fn simpler(engine: &Engine, op: Op, error: String) -> Simpler {
    let Op::Change { held, mut settling, again, slow } = op else {
        fail(engine, op, &error, false);
        return Simpler::None;
    };
    tracing::error!(target: "defer", id = %held.id, error, "the end of a durable job cannot be stored as it is");
    let mut is_same = false;
    match &mut settling.kind {
        ChangeKind::End(StoredEnd::Failed { error, .. }) if !error.is_empty() => error.clear(),
        ChangeKind::Retry { error: error @ Some(_), .. } => *error = None,
        ChangeKind::Ready { outcome, serial, unique, replace, throttle, .. }
            if outcome.is_some() || serial.is_some() || unique.is_some() || throttle.is_some() =>
        {
            (*outcome, *serial, *unique, *replace, *throttle) = (None, None, None, None, None);
        }
        _ => match settling.leave_out_child() {
            // These run in this process only.
            Some(left_out) => left_out.iter().for_each(|(_, child)| void(engine, child)),
            None => is_same = true,
        },
    }
    if !is_same {
        return Simpler::Some(Op::Change { held, settling, again, slow });
    }
    if matches!(held.stored(), Stored::InDoubt(_)) {
        // The database refuses the job itself, so it was never stored.
        void(engine, &held);
        nothing(engine, &held, settling);
        return Simpler::None;
    }
    if matches!(settling.kind, ChangeKind::Pass) {
        answer(engine, &held, settling, Settled::Refused);
        return Simpler::None;
    }
    Simpler::Same(Op::Change { held, settling, again, slow })
}

/// Sets whether a job is stored, now that this is known.
fn is_stored(engine: &Engine, held: &Arc<Held>, stored: Stored) {
    for settling in held.set_stored(stored) {
        engine.enqueue(Op::change(held, settling));
    }
}

/// Notes that the database does not have a job and never will.
fn void(engine: &Engine, held: &Arc<Held>) {
    is_stored(engine, held, Stored::No);
    engine.forget(held);
}

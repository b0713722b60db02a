//! Pending writes, and when to try them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use defer_core::JobId;
use tokio::sync::{Notify, oneshot};

use super::held::{Held, Settling};
use crate::store::{ChangeKind, NewJob};

/// The most jobs in one transaction.
const MOST_JOBS: usize = 1_000;
/// The most bytes of payloads in one transaction, unless one job has more.
const MOST_BYTES: usize = 4 << 20;
/// The delay before ends are tried again after the database did not answer: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The same delay for writes that a response waits for.
const SHORT_PAUSE: Duration = Duration::from_millis(10);
/// The delay before an op that would hold up others is tried again: at first, and at most.
const SLOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The time for which ends of jobs that ran here wait to share a commit. If they were committed at once, their client's next
/// request would wait for that commit, and then for its own.
const GATHER: Duration = Duration::from_millis(4);
/// This many ends are worth a commit of their own.
const GATHERED: usize = 64;

/// A write, and the task that waits for it.
pub(super) enum Op {
    /// A job to be stored, held by this process.
    Hold { job: Box<NewJob>, held: Arc<Held>, done: oneshot::Sender<Result<(), String>> },
    /// A change of a job that this process has.
    Change {
        held: Arc<Held>,
        settling: Settling,
        /// An earlier try may have been stored.
        again: bool,
        /// Set if it would hold up others: it is then tried alone, after this time.
        slow: Option<Duration>,
    },
    /// The progress of a job: written together with other ops, and not retried.
    Progress { held: Arc<Held> },
    /// Jobs to be stored for any process: all of them or none. The answer has, for each, the job that it duplicates, if any.
    Push { jobs: Vec<NewJob>, done: oneshot::Sender<Result<Vec<Option<JobId>>, String>> },
}

impl Op {
    pub(super) fn change(held: &Arc<Held>, settling: Settling) -> Self {
        Self::Change { held: held.clone(), settling, again: false, slow: None }
    }

    fn size(&self) -> (usize, usize) {
        match self {
            Self::Hold { job, .. } => (1, job.payload.len()),
            Self::Progress { .. } => (1, 0),
            Self::Push { jobs, .. } => (jobs.len(), jobs.iter().map(|job| job.payload.len()).sum()),
            Self::Change { settling: Settling { children, .. }, .. } => {
                (1 + children.len(), children.iter().map(|(child, _)| child.payload.len()).sum())
            }
        }
    }

    pub(super) fn is_push(&self) -> bool {
        matches!(self, Self::Push { .. })
    }

    fn is_hold(&self) -> bool {
        matches!(self, Self::Hold { .. })
    }

    /// Returns whether it may wait to share a commit: true for the end of a job that ran here, because nothing waits for it.
    fn may_gather(&self) -> bool {
        match self {
            Self::Change { held, settling, again: false, slow: None } => {
                let is_end = matches!(settling.kind, ChangeKind::End(_));
                is_end && !held.was_taken && settling.children.is_empty()
            }
            _ => false,
        }
    }

    /// Has it tried alone, with a longer delay each time.
    pub(super) fn slower(self) -> Self {
        match self {
            Self::Change { held, settling, again, slow } => {
                let slow = Some(slow.map_or(SLOW.0, |slow| (slow * 2).min(SLOW.1)));
                Self::Change { held, settling, again, slow }
            }
            op => op,
        }
    }
}

/// The pending writes.
#[derive(Default)]
pub(super) struct Ops {
    waiting: Mutex<Waiting>,
    added: Notify,
    /// Wakes tasks that wait until nothing is pending.
    written: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Jobs to be held and changes, in order.
    writes: VecDeque<Op>,
    pushes: VecDeque<Op>,
    /// Jobs whose progress is to be written, and the earliest time for it.
    progress: Vec<(Instant, Arc<Held>)>,
    /// Ops that are tried alone, and the time for each.
    slow: Vec<(Instant, Op)>,
    /// The number of writes that store held jobs, and of those that may gather.
    holds: usize,
    gathering: usize,
    /// The time since which all writes may gather.
    since: Option<Instant>,
    /// The number of ops that were taken and have not landed.
    in_flight: usize,
    last: Last,
    /// The number of transactions that failed in a row, and the time of the last failure.
    failures: u32,
    failed_at: Option<Instant>,
    /// The number of tasks that wait until everything is written.
    waiters: usize,
    is_closed: bool,
}

/// The kind of the last transaction. The kinds take turns.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Pushes,
    Writes,
    Slow,
}

/// The next action of the writer.
pub(super) enum Next {
    /// Write these in one transaction: only pushes, or no pushes.
    Write(Vec<Op>),
    /// Wait until something is added, or until this moment.
    Wait(Option<Instant>),
}

impl Ops {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, op: Op) {
        self.add_all(vec![op]);
    }

    /// Adds ops, in one commit if they fit.
    pub(super) fn add_all(&self, ops: Vec<Op>) {
        let mut waiting = self.lock();
        if waiting.is_closed {
            drop(waiting);
            // Dropping them tells the waiting tasks that no answer will come.
            return drop(ops);
        }
        ops.into_iter().for_each(|op| waiting.add(op));
        // The writer already knows how long to wait for writes that gather.
        let gathers = waiting.gathers() && waiting.writes.len() > 1;
        drop(waiting);
        if !gathers {
            self.added.notify_one();
        }
    }

    /// Writes a job's progress with other writes, at this moment at the earliest.
    pub(super) fn add_progress(&self, at: Instant, held: &Arc<Held>) {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return;
        }
        waiting.progress.push((at, held.clone()));
        drop(waiting);
        self.added.notify_one();
    }

    /// Waits until something is added.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    pub(super) fn next(&self, now: Instant) -> Next {
        self.lock().next(now)
    }

    /// Notes that the taken ops were written, except for those that are left.
    pub(super) fn landed(&self, left: Vec<Op>, has_failed: bool, now: Instant) {
        let mut waiting = self.lock();
        waiting.in_flight = 0;
        if waiting.is_closed {
            drop(waiting);
            // No task writes them any more.
            return drop(left);
        }
        waiting.failures = if has_failed { waiting.failures.saturating_add(1) } else { 0 };
        waiting.failed_at = has_failed.then_some(now);
        left.into_iter().rev().for_each(|op| waiting.put_back(op, now));
        let is_written = waiting.is_written();
        drop(waiting);
        if is_written {
            self.written.notify_waiters();
        }
    }

    /// Stops writing: drops pending ops, and all that are added later.
    pub(super) fn close(&self) {
        let left = std::mem::replace(&mut *self.lock(), Waiting { is_closed: true, ..Waiting::default() });
        drop(left);
        self.written.notify_waiters();
    }

    /// Waits until nothing is left to write.
    pub(super) async fn written(&self) {
        /// Nothing gathers while a task waits.
        struct Waits<'a>(&'a Ops);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                let mut waiting = self.0.lock();
                waiting.waiters = waiting.waiters.saturating_sub(1);
            }
        }
        self.lock().waiters += 1;
        let _waits = Waits(self);
        self.added.notify_one();
        loop {
            let written = self.written.notified();
            if self.lock().is_written() {
                return;
            }
            written.await;
        }
    }
}

impl Waiting {
    fn add(&mut self, op: Op) {
        if op.is_push() {
            self.pushes.push_back(op);
        } else {
            self.count(&op);
            self.writes.push_back(op);
        }
    }

    fn put_back(&mut self, op: Op, now: Instant) {
        match op {
            Op::Change { slow: Some(slow), .. } => self.slow.push((now + slow, op)),
            Op::Push { .. } => self.pushes.push_front(op),
            Op::Progress { held } => self.progress.push((now, held)),
            op => {
                self.count(&op);
                self.writes.push_front(op);
            }
        }
    }

    fn count(&mut self, op: &Op) {
        self.holds += usize::from(op.is_hold());
        self.gathering += usize::from(op.may_gather());
    }

    fn is_written(&self) -> bool {
        self.writes.is_empty() && self.pushes.is_empty() && self.slow.is_empty() && self.in_flight == 0
    }

    /// Returns whether the writes wait for others to share their commit.
    fn gathers(&self) -> bool {
        self.gathering == self.writes.len() && self.gathering < GATHERED && self.waiters == 0
    }

    fn next(&mut self, now: Instant) -> Next {
        let failed_at = self.failed_at;
        let after = |pause: Duration| failed_at.map_or(now, |at| at + pause);
        let (short, long) = (after(SHORT_PAUSE), after(self.pause()));
        let pushes = (!self.pushes.is_empty()).then_some(short);
        let writes = (!self.writes.is_empty()).then(|| self.writes_at(now, short, long));
        let progress = self.progress.iter().map(|(at, _)| *at).min().map(|at| at.max(long));
        let writes = writes.into_iter().chain(progress).min();
        let slow = self.slow.iter().map(|(at, _)| *at).min().map(|at| at.max(long));
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let ops = match self.last {
            Last::Pushes if is_due(writes) => self.take_writes(now),
            Last::Writes if is_due(slow) => self.take_slow(),
            _ if is_due(pushes) => self.take_pushes(),
            _ if is_due(writes) => self.take_writes(now),
            _ if is_due(slow) => self.take_slow(),
            _ => return Next::Wait([pushes, writes, slow].into_iter().flatten().min()),
        };
        self.in_flight = ops.len();
        Next::Write(ops)
    }

    /// Returns when to try the writes.
    fn writes_at(&mut self, now: Instant, short: Instant, long: Instant) -> Instant {
        if self.holds > 0 {
            return short;
        }
        if !self.gathers() {
            return long;
        }
        let since = *self.since.get_or_insert(now);
        long.max(since + GATHER)
    }

    fn pause(&self) -> Duration {
        (PAUSE.0 * (1 << self.failures.saturating_sub(1).min(6))).min(PAUSE.1)
    }

    fn take_writes(&mut self, now: Instant) -> Vec<Op> {
        self.last = Last::Writes;
        self.since = None;
        if self.failures > 0 && self.holds > 0 {
            self.put_jobs_first();
        }
        let mut ops = if self.writes.is_empty() { Vec::new() } else { take(&mut self.writes) };
        for op in &ops {
            self.holds -= usize::from(op.is_hold());
            self.gathering -= usize::from(op.may_gather());
        }
        let more = MOST_JOBS.saturating_sub(ops.len());
        let progress = self.progress.extract_if(.., |(at, _)| *at <= now).take(more);
        ops.extend(progress.map(|(_, held)| Op::Progress { held }));
        ops
    }

    /// Puts jobs to be held before failed ends, because no response waits for those. A job only has to precede its own changes.
    fn put_jobs_first(&mut self) {
        let (mut writes, changes): (VecDeque<Op>, VecDeque<Op>) =
            self.writes.drain(..).partition(Op::is_hold);
        writes.extend(changes);
        self.writes = writes;
    }

    fn take_pushes(&mut self) -> Vec<Op> {
        self.last = Last::Pushes;
        take(&mut self.pushes)
    }

    fn take_slow(&mut self) -> Vec<Op> {
        self.last = Last::Slow;
        let first = self.slow.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(at, _)| at);
        first.map(|at| self.slow.swap_remove(at).1).into_iter().collect()
    }
}

/// Takes as many ops as fit into one transaction.
fn take(waiting: &mut VecDeque<Op>) -> Vec<Op> {
    let (mut jobs, mut bytes) = (0, 0);
    let mut fits = |op: &Op| {
        let (more_jobs, more_bytes) = op.size();
        jobs += more_jobs;
        bytes += more_bytes;
        jobs <= MOST_JOBS && bytes <= MOST_BYTES
    };
    let count = waiting.iter().take_while(|op| fits(op)).count().max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

#[cfg(test)]
mod tests;

//! What waits to be written, and when it is tried.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use defer_core::JobId;
use tokio::sync::{Notify, oneshot};

use super::held::{Held, Settling};
use crate::store::{ChangeKind, NewJob};

/// How many jobs are written in one transaction.
const MOST_JOBS: usize = 1_000;
/// How many bytes of payloads are written in one transaction, unless one job has more.
const MOST_BYTES: usize = 4 << 20;
/// How long ends wait after a database that did not answer, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long what a response waits for waits then.
const SHORT_PAUSE: Duration = Duration::from_millis(10);
/// How long an op that others would have to wait for waits, at first and at most.
const SLOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long ends of jobs that ran here wait for something to share a commit with. Otherwise their client's next request would wait
/// until they are committed, and then for a commit of its own.
const GATHER: Duration = Duration::from_millis(4);
/// How many of them are worth a commit of their own.
const GATHERED: usize = 64;

/// One job to be stored, or one change, with who waits for it.
pub(super) enum Op {
    /// A job to be stored, held by this process.
    Hold { job: Box<NewJob>, held: Arc<Held>, done: oneshot::Sender<Result<(), String>> },
    /// A change of a job that this process has.
    Change {
        held: Arc<Held>,
        settling: Settling,
        /// An earlier try may have been stored.
        again: bool,
        /// Others would have to wait for it: it is tried alone, after this long.
        slow: Option<Duration>,
    },
    /// A job to be stored for anyone.
    Push { job: Box<NewJob>, done: oneshot::Sender<Result<Option<JobId>, String>> },
}

impl Op {
    pub(super) fn change(held: &Arc<Held>, settling: Settling) -> Self {
        Self::Change { held: held.clone(), settling, again: false, slow: None }
    }

    fn size(&self) -> (usize, usize) {
        match self {
            Self::Hold { job, .. } | Self::Push { job, .. } => (1, job.payload.len()),
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

    /// Whether it may gather with others: the end of a job that ran here, which nothing waits for.
    fn may_gather(&self) -> bool {
        match self {
            Self::Change { held, settling, again: false, slow: None } => {
                let is_end = matches!(settling.kind, ChangeKind::End(_));
                is_end && !held.was_taken && settling.children.is_empty()
            }
            _ => false,
        }
    }

    /// Lets it be tried alone, and ever more seldom.
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

/// What waits to be written.
#[derive(Default)]
pub(super) struct Ops {
    waiting: Mutex<Waiting>,
    added: Notify,
    /// Tasks that wait until nothing waits.
    written: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Jobs to be held and changes, in their order.
    writes: VecDeque<Op>,
    pushes: VecDeque<Op>,
    /// Ops that are tried alone, and when.
    slow: Vec<(Instant, Op)>,
    /// How many of the writes are jobs to be held, and how many may gather.
    holds: usize,
    gathering: usize,
    /// Since when all of the writes may gather.
    since: Option<Instant>,
    /// How much was taken and has not landed.
    in_flight: usize,
    last: Last,
    /// How many transactions have failed in a row, and when the last did.
    failures: u32,
    failed_at: Option<Instant>,
    /// How many tasks wait until all is written.
    waiters: usize,
}

/// What the last transaction was: each kind has its turn.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Pushes,
    Writes,
    Slow,
}

/// What the writer is to do next.
pub(super) enum Next {
    /// Write these in one transaction: pushes alone, or none.
    Write(Vec<Op>),
    /// Wait until something is added, or until then.
    Wait(Option<Instant>),
}

impl Ops {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, op: Op) {
        let mut waiting = self.lock();
        waiting.add(op);
        // The writer knows until when it waits for those that gather.
        let gathers = waiting.gathers() && waiting.writes.len() > 1;
        drop(waiting);
        if !gathers {
            self.added.notify_one();
        }
    }

    /// Waits until something is added.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    pub(super) fn next(&self, now: Instant) -> Next {
        self.lock().next(now)
    }

    /// What was taken is written, but for what is left.
    pub(super) fn landed(&self, left: Vec<Op>, has_failed: bool, now: Instant) {
        let mut waiting = self.lock();
        waiting.in_flight = 0;
        waiting.failures = if has_failed { waiting.failures.saturating_add(1) } else { 0 };
        waiting.failed_at = has_failed.then_some(now);
        left.into_iter().rev().for_each(|op| waiting.put_back(op, now));
        let is_written = waiting.is_written();
        drop(waiting);
        if is_written {
            self.written.notify_waiters();
        }
    }

    /// Waits until nothing is left to be written.
    pub(super) async fn written(&self) {
        /// While somebody waits, nothing gathers.
        struct Waits<'a>(&'a Ops);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.lock().waiters -= 1;
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

    /// Whether the writes wait for others to share their commit.
    fn gathers(&self) -> bool {
        self.gathering == self.writes.len() && self.gathering < GATHERED && self.waiters == 0
    }

    fn next(&mut self, now: Instant) -> Next {
        let failed_at = self.failed_at;
        let after = |pause: Duration| failed_at.map_or(now, |at| at + pause);
        let (short, long) = (after(SHORT_PAUSE), after(self.pause()));
        let pushes = (!self.pushes.is_empty()).then_some(short);
        let writes = (!self.writes.is_empty()).then(|| self.writes_at(now, short, long));
        let slow = self.slow.iter().map(|(at, _)| *at).min().map(|at| at.max(long));
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let ops = match self.last {
            Last::Pushes if is_due(writes) => self.take_writes(),
            Last::Writes if is_due(slow) => self.take_slow(),
            _ if is_due(pushes) => self.take_pushes(),
            _ if is_due(writes) => self.take_writes(),
            _ if is_due(slow) => self.take_slow(),
            _ => return Next::Wait([pushes, writes, slow].into_iter().flatten().min()),
        };
        self.in_flight = ops.len();
        Next::Write(ops)
    }

    /// Returns when the writes are to be tried.
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

    fn take_writes(&mut self) -> Vec<Op> {
        self.last = Last::Writes;
        self.since = None;
        let ops = take(&mut self.writes);
        for op in &ops {
            self.holds -= usize::from(op.is_hold());
            self.gathering -= usize::from(op.may_gather());
        }
        ops
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

/// Takes as much as goes into one transaction.
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
mod tests {
    use super::*;
    use crate::{engine::held::Stored, store::StoredEnd};

    fn job(id: u128) -> NewJob {
        NewJob {
            id: JobId::from(id),
            name: "one".to_owned(),
            payload: "{}".to_owned(),
            metadata: "{}".to_owned(),
            priority: 0,
            condition: 0,
            status: None,
            delay: 0,
            serial: None,
            unique: None,
        }
    }

    fn held(id: u128, now: Instant) -> Arc<Held> {
        Arc::new(Held::new(JobId::from(id), 1, "h".to_owned(), 0, Stored::Yes(now)))
    }

    fn hold(id: u128, now: Instant) -> Op {
        Op::Hold { job: Box::new(job(id)), held: held(id, now), done: oneshot::channel().0 }
    }

    fn push(id: u128) -> Op {
        Op::Push { job: Box::new(job(id)), done: oneshot::channel().0 }
    }

    fn change(id: u128, kind: ChangeKind, now: Instant) -> Op {
        let settling = Settling { kind, children: Vec::new(), done: oneshot::channel().0 };
        Op::change(&held(id, now), settling)
    }

    fn end(id: u128, now: Instant) -> Op {
        change(id, ChangeKind::End(StoredEnd::Done { attempts: 1 }), now)
    }

    fn written(ops: &Ops, now: Instant) -> Vec<Op> {
        match ops.next(now) {
            Next::Write(ops) => ops,
            Next::Wait(until) => panic!("waits {:?}", until.map(|until| until - now)),
        }
    }

    fn wait(ops: &Ops, now: Instant) -> Duration {
        match ops.next(now) {
            Next::Wait(Some(until)) => until - now,
            Next::Wait(None) => panic!("waits for ever"),
            Next::Write(ops) => panic!("writes {}", ops.len()),
        }
    }

    #[test]
    fn pushes_among_other_writes_do_not_part_these() {
        let (ops, now) = (Ops::default(), Instant::now());
        for id in 0..20 {
            ops.add(if id % 2 == 0 { push(id) } else { hold(id, now) });
        }
        let counts = [written(&ops, now).len(), written(&ops, now).len()];
        assert_eq!(counts, [10, 10]);
    }

    #[test]
    fn an_end_waits_a_little_for_a_job_to_share_its_commit_with() {
        let (ops, now) = (Ops::default(), Instant::now());
        ops.add(end(1, now));
        assert_eq!(wait(&ops, now), GATHER);
        ops.add(end(2, now));
        assert_eq!(wait(&ops, now + GATHER / 2), GATHER / 2, "no longer than the first");
        ops.add(hold(3, now));
        assert_eq!(written(&ops, now + GATHER / 2).len(), 3);
        ops.landed(Vec::new(), false, now);
        ops.add(end(4, now));
        assert_eq!(wait(&ops, now), GATHER);
        assert_eq!(written(&ops, now + GATHER).len(), 1);
    }

    #[test]
    fn what_others_wait_for_and_many_ends_do_not_wait() {
        let (ops, now) = (Ops::default(), Instant::now());
        let ready = ChangeKind::Ready { delay: 0, serial: None, unique: None, outcome: None };
        ops.add(change(1, ready, now));
        assert_eq!(written(&ops, now).len(), 1);
        (0..GATHERED as u128).for_each(|id| ops.add(end(id, now)));
        assert_eq!(written(&ops, now).len(), GATHERED);
    }

    #[tokio::test]
    async fn an_end_does_not_wait_once_somebody_waits_for_all_to_be_written() {
        let (ops, now) = (Arc::new(Ops::default()), Instant::now());
        ops.add(end(1, now));
        let of_task = ops.clone();
        let waits = tokio::spawn(async move { of_task.written().await });
        tokio::task::yield_now().await;
        assert_eq!(written(&ops, now).len(), 1);
        ops.landed(Vec::new(), false, now);
        waits.await.unwrap();
    }

    #[test]
    fn after_a_failure_ends_wait_longer_and_what_a_response_waits_for_does_not() {
        let (ops, now) = (Ops::default(), Instant::now());
        ops.add(end(1, now));
        wait(&ops, now);
        let mut left = written(&ops, now + GATHER);
        for pause in [50, 100, 200, 400, 800, 1_000, 1_000] {
            ops.landed(left, true, now);
            assert_eq!(wait(&ops, now), Duration::from_millis(pause));
            left = written(&ops, now + Duration::from_millis(pause));
        }
        ops.landed(left, true, now);
        ops.add(hold(2, now));
        assert_eq!(wait(&ops, now), SHORT_PAUSE);
        assert_eq!(written(&ops, now + SHORT_PAUSE).len(), 2, "and takes the end with it");
    }

    #[test]
    fn what_is_in_the_way_of_others_is_tried_alone_and_ever_more_seldom() {
        let (ops, mut now) = (Ops::default(), Instant::now());
        let mut slow = end(1, now);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            ops.landed(vec![slow.slower()], false, now);
            ops.add(hold(2, now));
            assert_eq!(written(&ops, now).len(), 1, "another does not wait for it");
            ops.landed(Vec::new(), false, now);
            assert_eq!(wait(&ops, now), Duration::from_secs(seconds));
            now += Duration::from_secs(seconds);
            slow = written(&ops, now).pop().unwrap();
        }
    }
}

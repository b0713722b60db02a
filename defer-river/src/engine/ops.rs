//! What the requests of this process have for the database, in the order and the portions in which it is written.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use defer_core::JobId;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use crate::store::{Change, Changed, Row};

/// How many writes share a transaction.
const AT_ONCE: usize = 256;
/// How many bytes share a transaction, unless one write alone has more.
const BYTES_AT_ONCE: usize = 4 << 20;
/// How long a write is put aside for the first time, and for the last.
const ASIDE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3)];

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

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Self::Insert { size, .. } => *size,
            Self::Settle { children, .. } => children.iter().map(Row::size).sum(),
            Self::Flush { .. } => 0,
        }
    }

    /// Returns the jobs that it inserts or changes. Every write but a flush has one.
    fn jobs(&self) -> impl Iterator<Item = JobId> {
        let (rows, change) = match self {
            Self::Insert { rows, .. } => (&**rows, None),
            Self::Settle { change, children, .. } => (&**children, Some(change.job())),
            Self::Flush { .. } => (&[][..], None),
        };
        rows.iter().map(|row| row.id).chain(change)
    }

    /// Returns whether it may only be written after others, which come before it and are about these jobs.
    fn follows(&self, jobs: &HashSet<JobId>) -> bool {
        match self {
            Self::Flush { .. } => !jobs.is_empty(),
            op => op.jobs().any(|id| jobs.contains(&id)),
        }
    }
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

    pub(super) fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }
}

/// A write, and how often it was put aside.
pub(super) struct Write {
    pub(super) op: Op,
    pub(super) tries: u32,
}

/// A write that another transaction keeps from being made. The others do not wait for it.
struct Aside {
    write: Write,
    again: Instant,
}

/// The writes that are to be made.
pub(super) struct Ops {
    receiver: mpsc::UnboundedReceiver<Op>,
    is_closed: bool,
    waiting: VecDeque<Op>,
    aside: VecDeque<Aside>,
    /// Whether it is the turn of those that were put aside.
    is_turn_of_aside: bool,
}

impl Ops {
    pub(super) fn new(receiver: mpsc::UnboundedReceiver<Op>) -> Self {
        let (waiting, aside) = (VecDeque::new(), VecDeque::new());
        Self { receiver, is_closed: false, waiting, aside, is_turn_of_aside: false }
    }

    /// Waits for what the next transaction writes. `None` if nothing is left, and nobody sends anymore.
    pub(super) async fn next(&mut self) -> Option<Vec<Write>> {
        loop {
            while self.waiting.len() < AT_ONCE
                && let Ok(op) = self.receiver.try_recv()
            {
                self.waiting.push_back(op);
            }
            self.is_turn_of_aside = !self.is_turn_of_aside;
            let (due, again) = if self.is_turn_of_aside { self.due() } else { (Vec::new(), None) };
            let writes = if due.is_empty() { self.portion() } else { due };
            if !writes.is_empty() {
                return Some(writes);
            }
            if self.is_closed && self.aside.is_empty() {
                return None;
            }
            if !self.is_turn_of_aside && !self.aside.is_empty() {
                continue;
            }
            let reached = async {
                match again {
                    Some(again) => sleep_until(again).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                op = self.receiver.recv(), if !self.is_closed => match op {
                    Some(op) => self.waiting.push_back(op),
                    None => self.is_closed = true,
                },
                () = reached => {}
            }
            // What was reached comes first.
            self.is_turn_of_aside = false;
        }
    }

    /// Takes what one transaction writes of those that wait.
    fn portion(&mut self) -> Vec<Write> {
        let (mut writes, mut bytes, mut children) = (Vec::new(), 0, HashSet::new());
        let mut aside = self.jobs_aside();
        while let Some(op) = self.waiting.pop_front() {
            let Some(op) = self.unless_aside(op, &mut aside) else { continue };
            bytes += op.bytes();
            // Changes are made before children are inserted. A child's change is made in a later transaction.
            let is_of_child = || op.jobs().any(|id| children.contains(&id));
            if !writes.is_empty() && (writes.len() == AT_ONCE || bytes > BYTES_AT_ONCE || is_of_child()) {
                self.waiting.push_front(op);
                break;
            }
            if let Op::Settle { children: of_op, .. } = &op {
                children.extend(of_op.iter().map(|row| row.id));
            }
            writes.push(Write { op, tries: 0 });
        }
        writes
    }

    /// Takes those that were put aside, may be tried again, and follow none that stays there. Otherwise returns when one may.
    fn due(&mut self) -> (Vec<Write>, Option<Instant>) {
        let (now, mut before, mut bytes) = (Instant::now(), HashSet::new(), 0);
        let (mut due, mut again, mut left) = (Vec::new(), None, VecDeque::with_capacity(self.aside.len()));
        for aside in self.aside.drain(..) {
            let op = &aside.write.op;
            let is_free = !op.follows(&before);
            // Also those that are taken: a later transaction writes those that follow them.
            before.extend(op.jobs());
            let size = op.bytes();
            let has_room = due.is_empty() || (due.len() < AT_ONCE && bytes + size <= BYTES_AT_ONCE);
            if is_free && aside.again <= now && has_room {
                bytes += size;
                due.push(aside.write);
                continue;
            }
            if is_free {
                again = Some(again.map_or(aside.again, |again: Instant| again.min(aside.again)));
            }
            left.push_back(aside);
        }
        self.aside = left;
        (due, again)
    }

    fn jobs_aside(&self) -> HashSet<JobId> {
        self.aside.iter().flat_map(|aside| aside.write.op.jobs()).collect()
    }

    /// Returns a write, or puts it aside if it follows those that are there.
    fn unless_aside(&mut self, op: Op, aside: &mut HashSet<JobId>) -> Option<Op> {
        if !op.follows(aside) {
            return Some(op);
        }
        aside.extend(op.jobs());
        self.aside.push_back(Aside { write: Write { op, tries: 1 }, again: Instant::now() });
        None
    }

    /// Returns those that follow none that was put aside, and puts the others there.
    pub(super) fn without_aside(&mut self, writes: Vec<Write>) -> Vec<Write> {
        let mut aside = self.jobs_aside();
        let mut kept = Vec::with_capacity(writes.len());
        for Write { op, tries } in writes {
            // What was there is free of the others, which may follow it.
            let op = if tries > 0 { Some(op) } else { self.unless_aside(op, &mut aside) };
            kept.extend(op.map(|op| Write { op, tries }));
        }
        kept
    }

    /// Puts a write aside that another transaction keeps from being made.
    pub(super) fn put_aside(&mut self, Write { op, tries }: Write) {
        let [first, last] = ASIDE;
        let again = Instant::now() + first.saturating_mul(1 << tries.min(16)).min(last);
        let aside = Aside { write: Write { op, tries: tries.saturating_add(1) }, again };
        // Those that follow it are there already, if it was there.
        if tries > 0 { self.aside.push_front(aside) } else { self.aside.push_back(aside) }
    }
}

#[cfg(test)]
mod tests {
    use defer_core::{Policy, queue::Envelope};

    use super::*;
    use crate::{
        error::Error,
        store::{From, To},
    };

    fn row(bytes: usize) -> Result<Row, Error> {
        let payload = format!("\"{}\"", "x".repeat(bytes)).into_bytes();
        Row::new(Envelope::new(JobId::unique(), "Mail", Policy::new(), payload), "default", usize::MAX)
    }

    fn insert(row: &Row) -> Op {
        let (rows, size) = (vec![row.clone()], row.size());
        Op::Insert { rows, is_held: true, size, reply: oneshot::channel().0 }
    }

    fn settle(id: JobId, children: Vec<Row>) -> Op {
        let from = From::Held { id, holder: "me".to_owned() };
        let change = Box::new(Change::new(from, To::Succeeded));
        Op::Settle { change, children, reply: oneshot::channel().0 }
    }

    fn of(ops: Vec<Op>) -> Ops {
        let (sender, receiver) = mpsc::unbounded_channel();
        ops.into_iter().for_each(|op| drop(sender.send(op)));
        Ops::new(receiver)
    }

    async fn next(ops: &mut Ops) -> Option<usize> {
        Some(ops.next().await?.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_has_no_more_than_four_mebibytes_unless_one_write_has() -> Result<(), Error> {
        let rows = [row(3 << 19)?, row(3 << 19)?, row(3 << 19)?, row(5 << 20)?];
        let mut ops = of(rows.iter().map(insert).collect());
        assert_eq!([next(&mut ops).await, next(&mut ops).await], [Some(2), Some(1)]);
        assert_eq!([next(&mut ops).await, next(&mut ops).await], [Some(1), None]);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_is_changed_in_a_later_transaction_than_it_is_stored_in() -> Result<(), Error> {
        let child = row(1)?;
        let of_child = settle(child.id, Vec::new());
        let mut ops = of(vec![settle(JobId::unique(), vec![child]), of_child]);
        assert_eq!(
            [next(&mut ops).await, next(&mut ops).await, next(&mut ops).await],
            [Some(1), Some(1), None]
        );
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_put_aside_holds_up_those_that_follow_it_and_no_others() -> Result<(), Error> {
        let (first, other) = (row(1)?, row(1)?);
        let flush = Op::Flush { reply: oneshot::channel().0 };
        let mut ops = of(vec![settle(first.id, Vec::new()), insert(&other), flush]);
        ops.put_aside(Write { op: insert(&first), tries: 0 });
        let writes = ops.next().await.unwrap_or_default();
        assert!(writes.len() == 1 && writes[0].op.jobs().eq([other.id]), "the other is written meanwhile");
        for tries in 1..3 {
            let mut writes = ops.next().await.unwrap_or_default();
            let [Write { op: Op::Insert { .. }, tries: of_write }] = writes[..] else { panic!("it is lost") };
            assert_eq!(of_write, tries, "it is tried again, and nothing that follows it");
            if tries == 1 {
                writes.drain(..).for_each(|write| ops.put_aside(write));
            }
        }
        let mut followed = Vec::new();
        while let Some(writes) = ops.next().await {
            followed.extend(writes.into_iter().map(|write| write.op));
        }
        assert!(matches!(followed[..], [Op::Settle { .. }, Op::Flush { .. }]), "in their order");
        Ok(())
    }
}

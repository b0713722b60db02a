//! Counts pending and running jobs, and the outcomes of the others.

use crate::primitives::sync::{
    Notify,
    atomic::{AtomicU64, Ordering},
};

/// Counts of a runner's jobs: those that it has now, and the outcomes of the others.
///
/// A runner counts a job each time it arrives: when it is deferred, and when a worker takes it from a queue. Each time, it ends
/// in exactly one of `succeeded`, `failed`, `skipped`, `cancelled`, `shed`, `queued` and `abandoned`, so these add up to
/// `deferred + taken` once the runner is idle. The numbers are read one after another: while jobs run, one may be a step ahead
/// of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Jobs that are neither running nor ended: collected by a request, waiting to start, or between two attempts.
    pub pending: u64,
    /// Running jobs.
    pub running: u64,
    /// All jobs deferred so far.
    pub deferred: u64,
    /// All jobs taken from a queue by workers so far. A job that is retried is taken again.
    pub taken: u64,
    /// Attempts that are followed by another one.
    pub retried: u64,
    /// Returned `Ok`.
    pub succeeded: u64,
    /// Returned an error, panicked or timed out, with no attempts left.
    pub failed: u64,
    /// Their condition was false.
    pub skipped: u64,
    /// Cancelled, replaced by a later job with the same key, or a duplicate of another job.
    pub cancelled: u64,
    /// Dropped because too many were pending.
    pub shed: u64,
    /// Went to the queue, to run elsewhere or later, or because the queue refused their end.
    pub queued: u64,
    /// Stopped, or left without anything to run them.
    pub abandoned: u64,
}

/// The counter for the end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Final {
    Succeeded,
    Failed,
    Skipped,
    Cancelled,
    Shed,
    Queued,
    /// Stopped, at the end of a shutdown or with its `Resumed`, and left to the queue. Counts as `queued`.
    HandedOver,
    Abandoned,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Jobs that are here and have not ended. Together with the final counts, this adds up to all jobs that were deferred or
    /// taken.
    live: AtomicU64,
    running: AtomicU64,
    retried: AtomicU64,
    taken: AtomicU64,
    finals: [AtomicU64; 8],
    idle: Notify,
    /// How many tasks wait in [`idle`](Self::idle). Notifying them takes a lock, and mostly there are none.
    idlers: AtomicU64,
}

/// A task that waits until no job is live.
struct Idler<'a>(&'a AtomicU64);

impl<'a> Idler<'a> {
    fn new(idlers: &'a AtomicU64) -> Self {
        idlers.fetch_add(1, Ordering::AcqRel);
        Self(idlers)
    }
}

impl Drop for Idler<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Counters {
    pub(crate) fn deferred(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// Updates the count of running jobs after the number of a list's running jobs has changed.
    pub(crate) fn running_changed(&self, before: usize, after: usize) {
        let change = (after as u64).wrapping_sub(before as u64);
        if change != 0 {
            self.running.fetch_add(change, Ordering::Relaxed);
        }
    }

    pub(crate) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, how: Final) {
        self.finals[how as usize].fetch_add(1, Ordering::Relaxed);
        // Release here and acquire in `idle`: a reader that sees none live sees all the counts. The second change, which changes
        // nothing, comes either after that of an idler, which is notified, or before it, and then the idler sees that none is live.
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 && self.idlers.fetch_add(0, Ordering::AcqRel) > 0 {
            self.idle.notify_waiters();
        }
    }

    fn ended_so_far(&self) -> u64 {
        self.finals.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Returns the number of jobs that ended other than by being stopped. It never decreases, because it is a sum of counts that
    /// only grow.
    pub(crate) fn completed_so_far(&self) -> u64 {
        use Final::{Cancelled, Failed, Queued, Shed, Skipped, Succeeded};
        [Succeeded, Failed, Skipped, Cancelled, Shed, Queued].into_iter().map(|how| self.ended_as(how)).sum()
    }

    fn ended_as(&self, how: Final) -> u64 {
        self.finals[how as usize].load(Ordering::Relaxed)
    }

    pub(crate) async fn idle(&self) {
        let _idler = Idler::new(&self.idlers);
        loop {
            let idle = self.idle.notified();
            if self.live.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let live = self.live.load(Ordering::Acquire);
        let running = self.running.load(Ordering::Relaxed);
        let taken = self.taken.load(Ordering::Relaxed);
        Stats {
            pending: live.saturating_sub(running),
            running,
            deferred: (live + self.ended_so_far()).saturating_sub(taken),
            taken,
            retried: self.retried.load(Ordering::Relaxed),
            succeeded: self.ended_as(Final::Succeeded),
            failed: self.ended_as(Final::Failed),
            skipped: self.ended_as(Final::Skipped),
            cancelled: self.ended_as(Final::Cancelled),
            shed: self.ended_as(Final::Shed),
            queued: self.ended_as(Final::Queued) + self.ended_as(Final::HandedOver),
            abandoned: self.ended_as(Final::Abandoned),
        }
    }
}

//! What a list knows of each of its jobs beside the job itself.

use smallvec::SmallVec;
use tokio::task::AbortHandle;

use crate::{
    event::JobRef,
    id::JobId,
    policy::{On, Policy},
    queue::Envelope,
    response::ResponseInfo,
};

/// What is known of one job.
pub(crate) struct Entry {
    pub(crate) id: JobId,
    pub(crate) name: &'static str,
    pub(crate) policy: &'static Policy,
    pub(super) attempts: u32,
    pub(super) state: JobState,
    on: On,
    /// Rarely used fields, boxed to keep `Entry` small.
    extras: Option<Box<Extras>>,
}

/// Where a job is on its way. The [module](super) has the table of transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JobState {
    /// Not started.
    Waiting,
    /// In an attempt.
    Running,
    /// Between two attempts.
    Backoff,
    /// Stopped at the end of a shutdown, while the queue is asked to take it.
    HandedOver,
    /// Ended and counted.
    Ended,
}

/// Holds user code: drop it only after releasing the lock.
#[derive(Default)]
pub(crate) struct Extras {
    when: Option<Predicate>,
    key: Option<Box<str>>,
    payload: Option<Vec<u8>>,
    retry: Option<AbortHandle>,
}

/// A user's condition for a job to run.
pub(crate) type Predicate = Box<dyn FnOnce(&ResponseInfo) -> bool + Send>;

/// What to ask before a job starts.
pub(crate) enum Condition {
    None,
    Success,
    When(Predicate),
}

impl Entry {
    pub(crate) fn new(id: JobId, name: &'static str, policy: &'static Policy) -> Self {
        Self { id, name, policy, attempts: 0, state: JobState::Waiting, on: policy.on(), extras: None }
    }

    pub(crate) fn job(&self) -> JobRef {
        JobRef::new(self.name, self.id, self.attempts)
    }

    /// Returns the predicate that this replaces.
    pub(crate) fn set_on(&mut self, on: On) -> Option<Predicate> {
        self.on = on;
        self.extras.as_mut()?.when.take()
    }

    /// Returns the predicate that this replaces.
    pub(crate) fn set_when(&mut self, when: Predicate) -> Option<Predicate> {
        self.extras().when.replace(when)
    }

    pub(crate) fn set_key(&mut self, key: &str) {
        self.extras().key = Some(key.into());
    }

    pub(super) fn has_key(&self, key: &str) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.key.as_deref() == Some(key))
    }

    pub(super) fn take_condition(&mut self) -> Condition {
        let when = self.extras.as_mut().and_then(|extras| extras.when.take());
        match (when, self.on) {
            (Some(when), _) => Condition::When(when),
            (None, On::Success) => Condition::Success,
            (None, On::Always) => Condition::None,
        }
    }

    /// Returns whether the job runs after any response.
    pub(super) fn is_unconditional(&self) -> bool {
        self.on == On::Always && self.extras.as_ref().is_none_or(|extras| extras.when.is_none())
    }

    /// Keeps the job as a queue stores it.
    pub(crate) fn set_payload(&mut self, payload: Vec<u8>) {
        self.extras().payload = Some(payload);
    }

    /// Returns the job as a queue stores it; `None` for one that is not for a queue.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let payload = self.extras.as_ref()?.payload.as_ref()?;
        Some(Envelope {
            id: self.id,
            name: self.name.to_owned(),
            policy: *self.policy,
            payload: payload.clone(),
        })
    }

    /// Keeps the task that runs the later attempts.
    pub(super) fn set_retry(&mut self, retry: AbortHandle) {
        self.extras().retry = Some(retry);
    }

    pub(super) fn take_retry(&mut self) -> Option<AbortHandle> {
        self.extras.as_mut()?.retry.take()
    }

    pub(super) fn take_extras(&mut self) -> Option<Box<Extras>> {
        self.extras.take()
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }
}

/// The entries of a list by their index. An index is never used twice: a handle to a job that ended long ago finds
/// nothing, rather than another job.
#[derive(Default)]
pub(super) struct Entries {
    /// The index of `entries[0]`.
    base: usize,
    entries: SmallVec<[Entry; 1]>,
    /// So many entries at the front are known to have ended.
    ended: usize,
}

impl Entries {
    /// Adds an entry and returns its index.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: Entry) -> usize {
        if self.entries.len() == self.entries.capacity() {
            self.grow();
        }
        let index = self.base + self.entries.len();
        self.entries.push(entry);
        index
    }

    /// Grows faster than by doubling from one, so that a request with ten jobs allocates once for them.
    #[cold]
    fn grow(&mut self) {
        self.entries.reserve(self.entries.len().max(3) * 3);
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index.checked_sub(self.base)?)
    }

    /// Iterates over the jobs that have not ended, with their indices.
    pub(super) fn open(&mut self) -> impl Iterator<Item = (usize, &mut Entry)> {
        let base = self.base;
        let entries = self.entries[self.ended..].iter_mut().zip(base + self.ended..);
        entries.filter(|(entry, _)| entry.state != JobState::Ended).map(|(entry, index)| (index, entry))
    }

    /// Removes ended entries, when `open` have not ended, so that jobs which defer jobs for ever need bounded memory.
    #[inline]
    pub(super) fn forget_ended(&mut self, open: usize) {
        if open == 0 {
            self.base += self.entries.len();
            self.entries.clear();
            self.ended = 0;
        } else if self.entries.len() >= 64 && self.entries.len() >= open * 2 {
            self.drain_ended();
        }
    }

    /// Removes the ended entries at the front, if they are more than those behind, which are moved.
    #[cold]
    fn drain_ended(&mut self) {
        let behind = self.entries[self.ended..].iter();
        self.ended += behind.take_while(|entry| entry.state == JobState::Ended).count();
        if self.ended * 2 >= self.entries.len() {
            self.entries.drain(..self.ended);
            self.base += self.ended;
            self.ended = 0;
        }
    }
}

//! What a list knows of each of its jobs beside the job itself.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use crate::{
    event::JobRef,
    id::JobId,
    policy::{On, Policy},
    queue::{Envelope, Ran},
    response::ResponseInfo,
};

/// What is known of one job.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Entry {
    pub(crate) id: JobId,
    pub(crate) name: &'static str,
    pub(crate) policy: &'static Policy,
    pub(super) attempts: u32,
    pub(super) state: JobState,
    on: On,
    pub(super) queue: InQueue,
    /// A task of its own runs it, or waits to run it, rather than the worker.
    pub(super) has_task: bool,
    /// Rarely used fields, boxed to keep `Entry` small.
    extras: Option<Box<Extras>>,
}

/// Where a job is on its way. The [module](super) has the table of transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JobState {
    /// Not started.
    Waiting,
    /// Waits for its push to the queue.
    Pushing,
    /// In an attempt.
    Running,
    /// Between two attempts.
    Backoff,
    /// Stopped at the end of a shutdown, while the queue is asked to take it.
    HandedOver,
    /// Ended and counted.
    Ended,
}

/// What a queue has to do with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum InQueue {
    /// Nothing.
    No,
    /// The job is to be pushed.
    Due,
    /// It was not pushed, so it runs here.
    Failed,
    /// It may have been pushed all the same, and runs here.
    Unsure,
    /// It comes from the queue, which gets it back unless it ends here.
    Source,
}

/// Holds user code: drop it only after releasing the lock.
#[derive(Default)]
pub(crate) struct Extras {
    when: Option<Predicate>,
    key: Option<Box<str>>,
    delay: Option<Delay>,
    payload: Option<Vec<u8>>,
    retry: Option<AbortHandle>,
    observer: Option<oneshot::Sender<Ran>>,
}

#[cfg(test)]
impl Clone for Extras {
    /// # Panics
    ///
    /// With a predicate or an observer, of which there is one.
    fn clone(&self) -> Self {
        assert!(self.when.is_none() && self.observer.is_none(), "there is one");
        Self {
            when: None,
            key: self.key.clone(),
            delay: self.delay.clone(),
            payload: self.payload.clone(),
            retry: self.retry.clone(),
            observer: None,
        }
    }
}

/// How long a job waits after its response.
#[cfg_attr(test, derive(Clone))]
enum Delay {
    /// The response is not over.
    After(Duration),
    Until(Instant),
}

impl Delay {
    fn left(&self) -> Duration {
        match self {
            Self::After(delay) => *delay,
            Self::Until(at) => at.saturating_duration_since(Instant::now()),
        }
    }
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
        Self {
            id,
            name,
            policy,
            attempts: 0,
            state: JobState::Waiting,
            on: policy.on(),
            queue: InQueue::No,
            has_task: false,
            extras: None,
        }
    }

    /// A job from a queue, which is told how it ends. It has one attempt here, and had so many before.
    pub(crate) fn from_queue(
        id: JobId,
        name: &'static str,
        policy: &'static Policy,
        attempts: u32,
        observer: oneshot::Sender<Ran>,
    ) -> Self {
        let mut entry =
            Self { attempts, on: On::Always, queue: InQueue::Source, ..Self::new(id, name, policy) };
        entry.extras().observer = Some(observer);
        entry
    }

    /// Returns whether the job comes from a queue.
    pub(super) fn is_from_queue(&self) -> bool {
        self.queue == InQueue::Source
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

    /// Sets how long after its response the job starts at the earliest.
    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.extras().delay = Some(Delay::After(delay));
    }

    /// The response is over: the delay counts from here.
    pub(super) fn begin_delay(&mut self, now: Instant) {
        let Some(extras) = &mut self.extras else { return };
        if let Some(Delay::After(delay)) = extras.delay {
            // One that is too long for the clock counts from when the job's turn comes.
            if let Some(at) = now.checked_add(delay) {
                extras.delay = Some(Delay::Until(at));
            }
        }
    }

    /// Takes what is left of the delay.
    pub(super) fn take_delay(&mut self) -> Option<Duration> {
        let delay = self.extras.as_mut()?.delay.take()?.left();
        (!delay.is_zero()).then_some(delay)
    }

    pub(super) fn has_key(&self, key: &str) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.key.as_deref() == Some(key))
    }

    /// Takes the condition, to be asked. Until [`pass`](Self::pass) the job counts as conditional.
    pub(super) fn take_condition(&mut self) -> Condition {
        let when = self.extras.as_mut().and_then(|extras| extras.when.take());
        match (when, self.on) {
            (Some(when), _) => {
                self.on = On::Success;
                Condition::When(when)
            }
            (None, On::Success) => Condition::Success,
            (None, On::Always) => Condition::None,
        }
    }

    /// The condition was asked, and lets the job run.
    pub(super) fn pass(&mut self) {
        self.on = On::Always;
    }

    /// Returns whether the job runs after any response.
    pub(super) fn is_unconditional(&self) -> bool {
        self.on == On::Always && !self.has_predicate()
    }

    /// Returns whether the job runs after every response with a status that is a success.
    pub(super) fn runs_after_success(&self) -> bool {
        !self.has_predicate()
    }

    fn has_predicate(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.when.is_some())
    }

    /// Makes the job one for the queue, which stores it like this.
    pub(crate) fn set_payload(&mut self, payload: Vec<u8>) {
        self.extras().payload = Some(payload);
        self.queue = InQueue::Due;
    }

    /// Returns the job as a queue stores it; `None` for one that is not for a queue.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let payload = self.extras.as_ref()?.payload.as_ref()?;
        let mut envelope = Envelope::new(self.id, self.name, *self.policy, payload.clone());
        envelope.delay = self.extras.as_ref()?.delay.as_ref().map(Delay::left).unwrap_or_default();
        Some(envelope)
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

impl Extras {
    pub(super) fn take_observer(&mut self) -> Option<oneshot::Sender<Ran>> {
        self.observer.take()
    }
}

/// The entries of a list by their index. An index is never used twice: a handle to a job that ended long ago finds
/// nothing, rather than another job.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
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

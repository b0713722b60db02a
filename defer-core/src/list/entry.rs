//! What a list knows about each of its jobs, besides the job itself.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use crate::{
    event::JobRef,
    id::JobId,
    policy::{On, Policy},
    queue::{Envelope, Ran},
    response::ResponseInfo,
    stamp::Stamp,
};

/// What is known about one job.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Entry {
    pub(crate) id: JobId,
    pub(crate) name: &'static str,
    pub(crate) policy: &'static Policy,
    pub(super) attempts: u32,
    pub(super) state: JobState,
    on: On,
    pub(super) queue: InQueue,
    /// The job has a task of its own, which runs it or waits to run it, instead of the worker.
    pub(super) has_task: bool,
    /// Rarely used fields, boxed to keep `Entry` small.
    extras: Option<Box<Extras>>,
}

/// How far a job has got. The [module](super) has the table of transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JobState {
    /// Not started.
    Waiting,
    /// Waits for its push to the queue.
    Pushing,
    /// In an attempt.
    Running,
    /// Between two attempts, or delayed before its first.
    Backoff,
    /// Stopped, at the end of a shutdown or with its `Resumed`. The queue is being asked to take it, or already has it.
    HandedOver,
    /// Ended and counted.
    Ended,
}

/// How a job relates to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum InQueue {
    /// Not at all.
    No,
    /// The job waits to be pushed.
    Due,
    /// It was not pushed, so it runs here.
    Failed,
    /// Its push was not confirmed. The queue may have it; it runs here too.
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
    /// When it could have started, if that is not when its list was released.
    ready: Option<Stamp>,
    /// When its attempt started, if it runs in a task of its own.
    started: Option<Stamp>,
    payload: Option<Vec<u8>>,
    task: Option<AbortHandle>,
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
            ready: self.ready,
            started: self.started,
            payload: self.payload.clone(),
            task: self.task.clone(),
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

    /// A job from a queue, which is told how it ends. It gets one attempt here, after `attempts` earlier ones.
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

    /// Sets the delay: the job starts no sooner than this long after its response.
    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.extras().delay = Some(Delay::After(delay));
    }

    /// Sets when the job could start.
    pub(super) fn set_ready(&mut self, ready: Stamp) {
        self.extras().ready = Some(ready);
    }

    pub(super) fn ready(&self) -> Option<Stamp> {
        self.extras.as_ref()?.ready
    }

    pub(super) fn set_started(&mut self, started: Stamp) {
        self.extras().started = Some(started);
    }

    pub(super) fn started(&self) -> Option<Stamp> {
        self.extras.as_ref()?.started
    }

    /// The response is over: the delay counts from here.
    pub(super) fn begin_delay(&mut self, now: Instant) {
        let Some(extras) = &mut self.extras else { return };
        if let Some(Delay::After(delay)) = extras.delay {
            // A delay too long for the clock starts when the job's turn comes.
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

    /// Takes the condition for the caller to ask. The job counts as conditional until [`pass`](Self::pass).
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

    /// Marks the job for the queue, which stores this payload.
    pub(crate) fn set_payload(&mut self, payload: Vec<u8>) {
        self.extras().payload = Some(payload);
        self.queue = InQueue::Due;
    }

    /// Returns the job as a queue stores it. `None` if it is not for a queue.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let payload = self.extras.as_ref()?.payload.as_ref()?;
        let mut envelope = Envelope::new(self.id, self.name, *self.policy, payload.clone());
        envelope.delay = self.extras.as_ref()?.delay.as_ref().map(Delay::left).unwrap_or_default();
        Some(envelope)
    }

    /// Keeps what aborts the job's own task.
    pub(super) fn set_task(&mut self, task: AbortHandle) {
        self.extras().task = Some(task);
    }

    pub(super) fn take_task(&mut self) -> Option<AbortHandle> {
        self.extras.as_mut()?.task.take()
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
    /// How many entries at the front are known to have ended.
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

    /// Removes ended entries. `open` is how many have not ended. Bounds the memory of jobs that keep deferring jobs.
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

    /// Removes the ended entries at the front, if they outnumber the rest, which has to be moved.
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

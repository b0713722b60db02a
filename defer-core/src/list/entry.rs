//! What a list knows about each of its jobs, besides the job itself.

use std::{sync::Arc, task::Waker, time::Duration};

use smallvec::SmallVec;
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use crate::{
    attempt::{Outcome, Sequel},
    event::{JobEventKind, JobRef},
    id::JobId,
    policy::{Gates, JobType, On, Policy},
    queue::{Envelope, SERIAL, UNIQUE},
    response::ResponseInfo,
    runner::{
        lanes::{Key, Place},
        uniques::Claim,
    },
    span::JobSpan,
    stamp::Stamp,
};

/// What is known about one job.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Entry {
    pub(crate) id: JobId,
    pub(crate) kind: &'static JobType,
    pub(super) attempts: u32,
    pub(super) state: JobState,
    /// What it has to pass before it starts, and what is to be done at its release.
    pub(super) gates: Gates,
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
    observer: Option<oneshot::Sender<JobEventKind>>,
    failure: Option<Failure>,
    is_told: bool,
    serial: Option<Serial>,
    /// Its place among the jobs of its type.
    limit: Option<Place>,
    /// It has, or takes, a place in a lane.
    has_entered: bool,
    /// Of what waits for its turn.
    waker: Option<Waker>,
    unique: Option<Unique>,
    is_relied_on: bool,
}

/// The lane of jobs with this key.
pub(super) struct Serial {
    key: Arc<str>,
    place: Option<Place>,
}

struct Unique {
    key: Arc<str>,
    claim: Option<Claim>,
}

/// What a job has to pass before it starts.
pub(super) enum Gate {
    /// Ask this condition, after unlocking. If it is true, the job [passes](Entry::pass).
    Ask(Condition),
    /// Take a place in this lane. So many of its jobs may run at once.
    Enter(Key, usize),
    /// Wait until it has its turn in a lane.
    Wait,
}

/// How the last attempt of a job failed.
pub(crate) struct Failure {
    pub(crate) job: JobRef,
    pub(crate) outcome: Outcome,
    pub(crate) started: Option<Stamp>,
    pub(crate) span: JobSpan,
}

#[cfg(test)]
impl Clone for Extras {
    /// # Panics
    ///
    /// With a predicate, an observer, a failure, a place or a claim, of which there is one.
    fn clone(&self) -> Self {
        let has_place = self.serial.is_some() || self.limit.is_some() || self.unique.is_some();
        let is_plain = self.when.is_none() && self.observer.is_none() && self.failure.is_none() && !has_place;
        assert!(is_plain, "there is one");
        Self {
            when: None,
            key: self.key.clone(),
            delay: self.delay.clone(),
            ready: self.ready,
            started: self.started,
            payload: self.payload.clone(),
            task: self.task.clone(),
            observer: None,
            failure: None,
            is_told: self.is_told,
            serial: None,
            limit: None,
            has_entered: self.has_entered,
            waker: None,
            unique: None,
            is_relied_on: self.is_relied_on,
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
    pub(crate) fn new(id: JobId, kind: &'static JobType) -> Self {
        Self {
            id,
            kind,
            attempts: 0,
            state: JobState::Waiting,
            gates: kind.policy().gates(),
            queue: InQueue::No,
            has_task: false,
            extras: None,
        }
    }

    /// A job from a queue, which is told how it ends. It gets one attempt here, after `attempts` earlier ones.
    pub(crate) fn from_queue(
        id: JobId,
        kind: &'static JobType,
        attempts: u32,
        observer: oneshot::Sender<JobEventKind>,
    ) -> Self {
        let mut entry = Self::new(id, kind);
        entry.gates = entry.gates.without(Gates::CONDITION.with(Gates::BESIDE));
        entry.limit_to_one_attempt(attempts, observer);
        entry
    }

    /// Gives the job one attempt here, after `attempts` earlier ones, as if it came from a queue. The observer is told how that
    /// ends.
    pub(super) fn limit_to_one_attempt(&mut self, attempts: u32, observer: oneshot::Sender<JobEventKind>) {
        self.attempts = attempts;
        self.queue = InQueue::Source;
        self.extras().observer = Some(observer);
    }

    /// Returns whether another attempt follows one that left the job like this.
    pub(super) fn goes_on(&self, sequel: Sequel) -> bool {
        match sequel {
            Sequel::Nothing => false,
            Sequel::Retry => self.attempts < self.policy().tries(),
            Sequel::Snooze => true,
        }
    }

    /// The attempt does not count.
    pub(super) fn unspend(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
        // It is no longer known by its attempts that its condition was asked.
        self.pass();
    }

    /// Keeps how the job's last attempt failed, until it has been told.
    pub(super) fn set_failure(&mut self, outcome: Outcome, started: Option<Stamp>, span: JobSpan) {
        let failure = Failure { job: self.job(), outcome, started, span };
        self.extras().failure = Some(failure);
    }

    pub(super) fn take_failure(&mut self) -> Option<Failure> {
        let extras = self.extras.as_mut()?;
        extras.is_told = true;
        extras.failure.take()
    }

    /// Returns whether the job has been told that it is given up, or is being told.
    pub(super) fn is_told(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.is_told)
    }

    /// Returns whether the job comes from a queue.
    pub(super) fn is_from_queue(&self) -> bool {
        self.queue == InQueue::Source
    }

    pub(crate) fn job(&self) -> JobRef {
        JobRef::new(self.kind, self.id, self.attempts)
    }

    pub(crate) fn policy(&self) -> &'static Policy {
        self.kind.policy()
    }

    /// Returns the predicate that this replaces.
    pub(crate) fn set_on(&mut self, on: On) -> Option<Predicate> {
        if self.is_relied_on() {
            return None;
        }
        self.pass();
        if on == On::Success {
            self.gates = self.gates.with(Gates::SUCCESS);
        }
        self.extras.as_mut()?.when.take()
    }

    /// Returns the predicate that this replaces, or this one, if the job must run.
    pub(crate) fn set_when(&mut self, when: Predicate) -> Option<Predicate> {
        if self.is_relied_on() {
            return Some(when);
        }
        self.pass();
        self.gates = self.gates.with(Gates::WHEN);
        self.extras().when.replace(when)
    }

    pub(crate) fn set_key(&mut self, key: &str) {
        self.extras().key = Some(key.into());
    }

    /// Sets the delay: the job starts no sooner than this long after its response.
    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.extras().delay = Some(Delay::After(delay));
        self.gates = self.gates.with(Gates::DELAY);
    }

    /// Returns what is left of the delay; all of it, until the response is over.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.extras.as_ref()?.delay.as_ref().map(Delay::left)
    }

    /// Returns whether it is not due.
    pub(super) fn has_delay(&self) -> bool {
        self.delay().is_some_and(|left| !left.is_zero())
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

    /// Returns the key within its request.
    pub(super) fn key(&self) -> Option<&str> {
        self.extras.as_ref()?.key.as_deref()
    }

    /// Takes the condition for the caller to ask. The job counts as conditional until [`pass`](Self::pass).
    pub(super) fn take_condition(&mut self) -> Condition {
        let when = self.extras.as_mut().and_then(|extras| extras.when.take());
        if let Some(when) = when {
            self.pass();
            self.gates = self.gates.with(Gates::SUCCESS);
            return Condition::When(when);
        }
        if self.is_unconditional() { Condition::None } else { Condition::Success }
    }

    /// The condition was asked, and lets the job run.
    pub(super) fn pass(&mut self) {
        self.gates = self.gates.without(Gates::CONDITION);
    }

    /// Returns whether the job runs after any response.
    pub(super) fn is_unconditional(&self) -> bool {
        !self.gates.has(Gates::CONDITION)
    }

    /// Returns whether the job runs after every response with a status that is a success.
    pub(super) fn runs_after_success(&self) -> bool {
        !self.gates.has(Gates::WHEN)
    }

    /// Returns whether the job waits to be pushed to the queue.
    pub(super) fn is_for_queue(&self) -> bool {
        self.queue == InQueue::Due
    }

    /// Returns whether the job leaves its request's line.
    pub(super) fn leaves_line(&self) -> bool {
        self.gates.has(Gates::BESIDE)
    }

    /// Gives the job a lane. Once the response is over it keeps the one that it has, and is given none if it waits in that of
    /// its type: that comes after. Returns what was replaced.
    pub(super) fn set_serial(&mut self, key: Arc<str>, is_released: bool) -> Option<Serial> {
        let serial = Serial { key, place: None };
        let extras = self.extras();
        if is_released && (extras.serial.is_some() || extras.has_entered) {
            return Some(serial);
        }
        self.gates = self.gates.with(Gates::SERIAL);
        self.extras().serial.replace(serial)
    }

    /// Gives the job a unique key, unless it has one.
    pub(super) fn set_unique(&mut self, key: Arc<str>) {
        self.extras().unique.get_or_insert(Unique { key, claim: None });
        self.gates = self.gates.with(Gates::UNIQUE);
    }

    pub(super) fn unique_key(&self) -> Option<&Arc<str>> {
        Some(&self.extras.as_ref()?.unique.as_ref()?.key)
    }

    pub(super) fn serial_key(&self) -> Option<&Arc<str>> {
        Some(&self.extras.as_ref()?.serial.as_ref()?.key)
    }

    /// Keeps the claim. Returns it if the job has none to keep.
    pub(super) fn keep_claim(&mut self, claim: Claim) -> Option<Claim> {
        match self.extras().unique.as_mut() {
            Some(unique) => unique.claim.replace(claim),
            None => Some(claim),
        }
    }

    /// Returns whether other jobs were left out because this one will run.
    pub(super) fn is_relied_on(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.is_relied_on)
    }

    /// Makes sure that the job runs. Returns whether that can be.
    pub(super) fn rely_on(&mut self) -> bool {
        let will_run = self.may_start() && self.attempts == 0 && self.is_unconditional();
        if will_run {
            self.extras().is_relied_on = true;
        }
        will_run
    }

    /// Returns whether the job is in no attempt, and may start one.
    pub(super) fn may_start(&self) -> bool {
        matches!(self.state, JobState::Waiting | JobState::Backoff)
    }

    /// Returns what the job has to pass next. It takes its places when it is due.
    pub(super) fn next_gate(&mut self) -> Option<Gate> {
        if !self.is_unconditional() {
            return Some(Gate::Ask(self.take_condition()));
        }
        if self.has_delay() { None } else { self.next_lane() }
    }

    /// Returns the lane in which it waits for its next place, or in which it has yet to take one. `None` if it has all of its
    /// places.
    fn next_lane(&mut self) -> Option<Gate> {
        let at_once = self.policy().max_running();
        if at_once.is_none() && self.serial_key().is_none() {
            return None;
        }
        self.extras().has_entered = true;
        let extras = self.extras.as_ref();
        if let Some(serial) = extras.and_then(|extras| extras.serial.as_ref()) {
            match &serial.place {
                None => return Some(Gate::Enter(Key::Serial(serial.key.clone()), 1)),
                Some(place) if !place.has_turn() => return Some(Gate::Wait),
                Some(_) => {}
            }
        }
        let at_once = at_once?;
        match extras.and_then(|extras| extras.limit.as_ref()) {
            None => {
                let at_once = usize::try_from(at_once.get()).unwrap_or(usize::MAX);
                Some(Gate::Enter(Key::Type(self.kind.name()), at_once))
            }
            Some(place) => (!place.has_turn()).then_some(Gate::Wait),
        }
    }

    /// Returns its lane among the jobs with its key, in which it is to take a place now.
    pub(super) fn enter_serial(&mut self) -> Option<Key> {
        let extras = self.extras.as_mut()?;
        let serial = extras.serial.as_ref()?;
        extras.has_entered = true;
        Some(Key::Serial(serial.key.clone()))
    }

    /// Returns whether it has taken a place in a lane, or takes one.
    pub(super) fn has_entered(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.has_entered)
    }

    /// Keeps a place. Returns the one that is to be given up: this one, if it is another lane's by now.
    pub(super) fn keep_place(&mut self, place: Place) -> Option<Place> {
        let extras = self.extras();
        match place.key() {
            Key::Type(_) => extras.limit.replace(place),
            Key::Serial(key) => match &mut extras.serial {
                Some(serial) if serial.key == *key => serial.place.replace(place),
                _ => Some(place),
            },
        }
    }

    /// Takes the place that it waits in.
    pub(super) fn take_waiting_place(&mut self) -> Option<Place> {
        let extras = self.extras.as_mut()?;
        let serial = extras.serial.as_mut().map(|serial| &mut serial.place);
        let mut places = serial.into_iter().chain([&mut extras.limit]);
        let waiting = places.find(|place| place.as_ref().is_some_and(|place| !place.has_turn()))?;
        waiting.take()
    }

    /// Keeps the waker of what waits for its turn. Returns the one that this replaces.
    pub(super) fn keep_waker(&mut self, waker: Waker) -> Option<Waker> {
        self.extras().waker.replace(waker)
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.extras.as_mut()?.take_waker()
    }

    /// Takes its place among the jobs of its type.
    pub(super) fn take_limit(&mut self) -> Option<Place> {
        self.extras.as_mut()?.limit.take()
    }

    /// Marks the job for the queue, which stores this payload.
    pub(crate) fn set_payload(&mut self, payload: Vec<u8>) {
        self.extras().payload = Some(payload);
        self.queue = InQueue::Due;
    }

    /// Returns the job as a queue stores it. `None` if it is not for a queue.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let payload = self.extras.as_ref()?.payload.as_ref()?;
        let keys = [(SERIAL, self.serial_key()), (UNIQUE, self.unique_key())];
        let mut envelope = Envelope::new(self.id, self.kind.name(), *self.policy(), payload.clone());
        envelope.delay = self.delay().unwrap_or_default();
        for (name, key) in keys {
            envelope.metadata.extend(key.map(|key| (name.to_owned(), key.to_string())));
        }
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
    pub(super) fn take_observer(&mut self) -> Option<oneshot::Sender<JobEventKind>> {
        self.observer.take()
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
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

//! The state of one job of a list, besides the job itself. `keys` has its keys.

use std::{sync::Arc, task::Waker, time::Duration};

use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use super::extras::{Cancellation, Delay, Extras, Leased, Predicate, Question};
use crate::{
    limits::throttle::AtMost,
    model::{
        id::JobId,
        job_type::{JobRef, JobType},
        policy::{Condition, Flags, Policy},
    },
    observe::event::JobEventKind,
    primitives::timestamp::Timestamp,
    store::{AtMostEvery, Envelope, Lease, Replace},
};

mod keys;

/// Receives how the attempt of a job from a queue ends.
pub(crate) enum Told {
    Observer(oneshot::Sender<JobEventKind>),
    Lease(Arc<dyn Lease>),
}

/// The options and state of one job, besides the job itself.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Entry {
    pub(crate) id: JobId,
    pub(crate) kind: &'static JobType,
    pub(super) attempts: u32,
    pub(super) flags: Flags,
    pub(super) state: JobState,
    pub(super) queue: InQueue,
    /// Rarely used fields, boxed to keep `Entry` small.
    extras: Option<Box<Extras>>,
}

/// How far a job has got. The [module](super) has the table of transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JobState {
    /// In its request's line, not started.
    Waiting,
    /// On its way to the queue.
    Pushing,
    /// In an attempt.
    Running,
    /// In a task of its own, before an attempt.
    Detached,
    /// Stopped, at the end of a shutdown or with its `Resumed`. The queue is being asked to take it, or already has it.
    HandedOver,
    /// Ended and counted.
    Ended,
}

/// The queue's share in a job that is not on its way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum InQueue {
    /// Nothing, so far.
    No,
    /// Its push failed, so it runs here.
    Failed,
    /// Its push was not confirmed. The queue may have it; it runs here too.
    Unsure,
    /// The queue has stored the job, and holds it for this process. It gets it back unless it ends here.
    Held,
    /// The job comes from the queue, which gets it back unless it ends here.
    Source,
}

/// A job's options and state.
impl Entry {
    pub(crate) fn new(id: JobId, kind: &'static JobType) -> Self {
        Self {
            id,
            kind,
            attempts: 0,
            flags: kind.policy().flags(),
            state: JobState::Waiting,
            queue: InQueue::No,
            extras: None,
        }
    }

    /// Creates the entry of a job from a queue. It gets one attempt here, after `attempts` earlier ones.
    pub(crate) fn from_queue(id: JobId, kind: &'static JobType, attempts: u32, told: Told) -> Self {
        let mut entry = Self::new(id, kind);
        entry.flags = entry.flags.without(Flags::CONDITION.with(Flags::CONCURRENT));
        match told {
            Told::Observer(observer) => entry.limit_to_one_attempt(attempts, observer),
            Told::Lease(lease) => {
                entry.attempts = attempts;
                entry.lease(lease, InQueue::Source);
            }
        }
        entry
    }

    /// The queue has stored the job, and gives this lease of it. From here on it runs once.
    pub(super) fn lease(&mut self, lease: Arc<dyn Lease>, queue: InQueue) {
        self.queue = queue;
        self.flags = self.flags.without(Flags::PUSH.with(Flags::CHILD)).with(Flags::LEASED);
        let progress = &mut self.extras().progress;
        progress.payload = None;
        progress.parent = None;
        progress.leased = Some(Leased { lease, is_stored: true });
    }

    /// The queue may have stored the job, but it still runs here, and its end is reported to the queue.
    pub(super) fn keep_unsure(&mut self, lease: Arc<dyn Lease>) {
        self.extras().progress.leased = Some(Leased { lease, is_stored: false });
    }

    /// Returns the lease of a job that the queue has stored.
    pub(crate) fn leased(&self) -> Option<&Arc<dyn Lease>> {
        let leased = self.extras.as_ref()?.progress.leased.as_ref()?;
        leased.is_stored.then_some(&leased.lease)
    }

    /// Returns whether anything of the queue is told the job's end.
    pub(super) fn has_lease(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.progress.leased.is_some())
    }

    /// A job with a lease deferred this one.
    pub(crate) fn set_parent(&mut self, parent: usize) {
        self.set(Flags::CHILD);
        self.extras().progress.parent = Some(parent);
    }

    pub(super) fn is_child_of(&self, parent: usize) -> bool {
        self.has(Flags::CHILD)
            && self.extras.as_ref().is_some_and(|extras| extras.progress.parent == Some(parent))
    }

    /// Gives the job one attempt here, after `attempts` earlier ones, as if it came from a queue. The observer is told how that
    /// ends.
    pub(super) fn limit_to_one_attempt(&mut self, attempts: u32, observer: oneshot::Sender<JobEventKind>) {
        self.attempts = attempts;
        self.queue = InQueue::Source;
        self.flags = self.flags.without(Flags::PUSH);
        self.extras().progress.observer = Some(observer);
    }

    pub(crate) fn job(&self) -> JobRef {
        JobRef::new(self.kind, self.id, self.attempts)
    }

    pub(crate) fn policy(&self) -> &'static Policy {
        self.kind.policy()
    }

    #[inline]
    pub(crate) fn has(&self, any: Flags) -> bool {
        self.flags.has(any)
    }

    pub(crate) fn set(&mut self, flags: Flags) {
        self.flags = self.flags.with(flags);
    }

    pub(super) fn unset(&mut self, flags: Flags) {
        self.flags = self.flags.without(flags);
    }

    pub(crate) fn is_from_queue(&self) -> bool {
        matches!(self.queue, InQueue::Source | InQueue::Held)
    }

    /// Returns whether the queue has stored the job for this process, which has yet to decide whether it runs here.
    pub(crate) fn is_held(&self) -> bool {
        self.queue == InQueue::Held
    }

    /// Returns whether the job is in no attempt, and may start one.
    pub(crate) fn may_start(&self) -> bool {
        matches!(self.state, JobState::Waiting | JobState::Detached)
    }

    /// Returns whether the job may be dropped: the queue does not have it, and no duplicate was left out for it.
    pub(super) fn may_be_dropped(&self) -> bool {
        self.queue != InQueue::Unsure && !self.has(Flags::PINNED)
    }

    /// Returns whether another may take the job's place: it is pending, will certainly run, and the queue does not have it.
    pub(super) fn may_be_replaced(&self) -> bool {
        self.will_run() && matches!(self.queue, InQueue::No | InQueue::Failed)
    }

    fn will_run(&self) -> bool {
        self.may_start() && self.attempts == 0 && !self.has(Flags::CONDITION)
    }

    /// Makes sure that the job runs. Returns whether it is pending and that can be.
    pub(super) fn pin(&mut self) -> bool {
        let will_run = self.will_run();
        if will_run {
            self.set(Flags::PINNED);
        }
        will_run
    }
}

/// Its condition.
impl Entry {
    pub(crate) fn condition(&self) -> Condition {
        match () {
            () if self.has(Flags::WHEN) => Condition::When,
            () if self.has(Flags::SUCCESS) => Condition::Success,
            () => Condition::Always,
        }
    }

    /// Sets whether the job runs only after a success. Returns the predicate that this replaces.
    pub(crate) fn set_on_success(&mut self, on_success: bool) -> Option<Predicate> {
        if self.has(Flags::PINNED) {
            return None;
        }
        self.unset(Flags::CONDITION);
        if on_success {
            self.set(Flags::SUCCESS);
        }
        self.extras.as_mut()?.options.when.take()
    }

    /// Returns the predicate that this replaces, or this one, if the job must run.
    pub(crate) fn set_when(&mut self, when: Predicate) -> Option<Predicate> {
        if self.has(Flags::PINNED) {
            return Some(when);
        }
        self.unset(Flags::CONDITION);
        self.set(Flags::WHEN);
        self.extras().options.when.replace(when)
    }

    /// Takes the condition for the caller to ask, if there is one. The job has it until [`pass`](Self::pass).
    pub(super) fn take_question(&mut self) -> Option<Question> {
        match self.extras.as_mut().and_then(|extras| extras.options.when.take()) {
            Some(when) => Some(Question::When(when)),
            None => self.has(Flags::CONDITION).then_some(Question::IsSuccess),
        }
    }

    /// The condition was asked, and lets the job run.
    pub(super) fn pass(&mut self) {
        self.unset(Flags::CONDITION);
    }
}

/// Its times.
impl Entry {
    /// Sets the delay: the job starts no sooner than this long after its response. Has no effect on a job that has to run, unless its
    /// place ends at some time, nor on one that has queued for its turn.
    pub(super) fn set_delay(&mut self, delay: Duration) {
        let is_bounded = matches!(self.replace(), Some(Replace::Within(_)));
        if self.has(Flags::IN_TURN) || self.has(Flags::PINNED) && !is_bounded {
            return;
        }
        let options = &mut self.extras().options;
        options.delay = Some(Delay::After(delay));
        #[cfg(feature = "testing")]
        {
            options.asked_delay = Some(delay);
        }
        self.set(Flags::DELAY);
        self.keep_within();
    }

    /// Returns what is left of the delay; all of it, until the response is over.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.extras.as_ref()?.options.delay.as_ref().map(Delay::left)
    }

    /// Returns the delay as it was set.
    #[cfg(feature = "testing")]
    pub(crate) fn asked_delay(&self) -> Option<Duration> {
        self.extras.as_ref()?.options.asked_delay
    }

    /// Returns whether nothing is left of the delay.
    pub(crate) fn is_due(&self) -> bool {
        self.delay().is_none_or(|left| left.is_zero())
    }

    /// The response is over: the delay counts from here.
    pub(super) fn begin_delay(&mut self, now: Instant) {
        let Some(extras) = &mut self.extras else { return };
        if let Some(Delay::After(delay)) = extras.options.delay {
            // A delay too long for the clock starts when the job's turn comes.
            if let Some(at) = now.checked_add(delay) {
                extras.options.delay = Some(Delay::Until(at));
            }
        }
    }

    /// Takes what is left of the delay, if anything is.
    pub(super) fn take_delay(&mut self) -> Option<Duration> {
        self.unset(Flags::DELAY);
        let delay = self.extras.as_mut()?.options.delay.take()?.left();
        if self.has(Flags::UNIQUE) {
            self.set_due(delay);
        }
        (!delay.is_zero()).then_some(delay)
    }

    /// Sets when the job could start.
    pub(crate) fn set_ready(&mut self, ready: Timestamp) {
        self.extras().progress.ready = Some(ready);
    }

    pub(super) fn ready(&self) -> Option<Timestamp> {
        self.extras.as_ref()?.progress.ready
    }

    pub(super) fn set_started(&mut self, started: Timestamp) {
        self.extras().progress.started = Some(started);
    }

    pub(super) fn started(&self) -> Option<Timestamp> {
        self.extras.as_ref()?.progress.started
    }
}

/// Its way to the queue, and its own task.
impl Entry {
    /// Marks the job for the queue, which stores this payload.
    pub(crate) fn set_payload(&mut self, payload: Vec<u8>) {
        self.extras().progress.payload = Some(payload);
        self.set(Flags::PUSH);
    }

    /// Returns the job as a queue stores it. `None` if it is not for a queue.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let payload = self.extras.as_ref()?.progress.payload.as_ref()?;
        let mut envelope = Envelope::new(self.id, self.kind.name(), *self.policy(), payload.clone());
        envelope.delay = self.delay().unwrap_or_default();
        envelope.serial = self.serial_key().map(ToString::to_string);
        envelope.unique = self.unique_key().map(ToString::to_string);
        envelope.replace = self.replace();
        envelope.at_most = self.at_most().map(stored_at_most);
        envelope.condition = self.condition();
        Some(envelope)
    }

    /// Keeps what aborts the job's own task.
    pub(super) fn set_task(&mut self, task: AbortHandle) {
        self.extras().progress.task = Some(task);
    }

    pub(super) fn take_task(&mut self) -> Option<AbortHandle> {
        self.extras.as_mut()?.progress.task.take()
    }

    /// Keeps what wakes the job's own task, of which it has one.
    pub(super) fn keep_task_waker(&mut self, waker: &Waker) {
        self.extras().progress.waker.get_or_insert_with(|| waker.clone());
    }

    pub(super) fn task_waker(&self) -> Option<&Waker> {
        self.extras.as_ref()?.progress.waker.as_ref()
    }

    /// Returns what the job is told with that it is cancelled.
    pub(super) fn cancellation(&mut self) -> Arc<Cancellation> {
        let is_cancelled = self.has(Flags::CANCELLED);
        let cancellation = &mut self.extras().progress.cancellation;
        cancellation.get_or_insert_with(|| Arc::new(Cancellation::new(is_cancelled))).clone()
    }

    /// Tells the job that it is cancelled. Returns the wakers to wake after unlocking.
    pub(super) fn tell_cancelled(&self) -> Option<Arc<Cancellation>> {
        let cancellation = self.extras.as_ref()?.progress.cancellation.clone()?;
        cancellation.set();
        Some(cancellation)
    }

    pub(super) fn take_extras(&mut self) -> Option<Box<Extras>> {
        self.extras.take()
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }
}

/// Returns how a queue stores how often jobs may start.
pub(super) fn stored_at_most(at_most: &AtMost) -> AtMostEvery {
    AtMostEvery::new(&*at_most.key, at_most.every)
}

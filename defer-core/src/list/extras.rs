//! Rarely used fields of jobs, boxed to keep an entry small.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use crate::{
    limits::{dedup::Claim, keyed_semaphore::Slot, throttle::AtMost},
    model::{id::JobId, response::ResponseInfo},
    observe::event::JobEventKind,
    primitives::{
        sync::{
            Notify,
            atomic::{AtomicBool, Ordering},
            lock,
        },
        timestamp::Timestamp,
    },
    store::{Lease, Replace},
};

/// Holds user code: drop it only after releasing the lock.
#[derive(Default)]
pub(crate) struct Extras {
    pub(super) options: Options,
    pub(super) progress: Progress,
}

/// The options of one job, set by the user.
#[derive(Default)]
pub(super) struct Options {
    pub(super) when: Option<Predicate>,
    pub(super) key: Option<Box<str>>,
    pub(super) delay: Option<Delay>,
    /// As it was set.
    #[cfg(feature = "testing")]
    pub(super) asked_delay: Option<Duration>,
    pub(super) serial: Option<Arc<str>>,
    pub(super) unique: Option<Unique>,
    pub(super) replace: Option<Replace>,
    pub(super) at_most: Option<AtMost>,
    pub(super) duplicate_of: Option<DuplicateOf>,
}

/// The job's unique key.
#[derive(Clone)]
pub(super) struct Unique {
    pub(super) key: Arc<str>,
    /// The job is to be left out, unless it replaces: this one was pending when its key was set.
    pub(super) twin: Option<JobId>,
    /// When the first of those that have replaced each other was added, if this one has their place.
    pub(super) since: Option<Instant>,
    /// When its delay is over, once a timer waits for that.
    pub(super) due: Option<Instant>,
}

/// The job that another is a duplicate of, once that is known. Shared with handles.
#[derive(Clone, Default)]
pub(crate) struct DuplicateOf(Arc<Mutex<Option<JobId>>>);

impl DuplicateOf {
    pub(crate) fn get(&self) -> Option<JobId> {
        *lock(&self.0)
    }

    pub(super) fn set(&self, other: Option<JobId>) {
        *lock(&self.0) = other;
    }
}

/// The progress of one job, in rarely used fields.
#[derive(Default)]
pub(super) struct Progress {
    /// When it could have started, if that is not when its list was released.
    pub(super) ready: Option<Timestamp>,
    /// When its attempt started, if it has a task of its own.
    pub(super) started: Option<Timestamp>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) task: Option<AbortHandle>,
    pub(super) observer: Option<oneshot::Sender<JobEventKind>>,
    /// Its turn among those with its serial key, until the task that runs the job takes it.
    pub(super) slot: Option<Slot>,
    pub(super) claim: Option<Claim>,
    /// How its start was counted, if it was.
    pub(super) counted: Option<AtMost>,
    pub(super) leased: Option<Leased>,
    /// The index of the job with a lease that deferred it.
    pub(super) parent: Option<usize>,
    /// Tells the job that it is cancelled, if it waits for that.
    pub(super) cancellation: Option<Arc<Cancellation>>,
    /// Wakes the task of its own in which it runs.
    pub(super) waker: Option<Waker>,
}

/// Tells a job that it is cancelled. Outlives the job, because the job may have passed its context on.
#[derive(Default)]
pub(crate) struct Cancellation {
    is_cancelled: AtomicBool,
    changed: Notify,
}

impl Cancellation {
    pub(super) fn new(is_cancelled: bool) -> Self {
        Self { is_cancelled: AtomicBool::new(is_cancelled), changed: Notify::new() }
    }

    /// Sets it, under the list's lock. [Wake](Self::wake) after unlocking.
    pub(super) fn set(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until the job is cancelled. Completes when it is polled after that, woken or not.
    pub(crate) async fn cancelled(&self) {
        let mut changed = pin!(self.changed.notified());
        poll_fn(|cx| {
            if self.is_cancelled.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            changed.as_mut().poll(cx)
        })
        .await;
    }
}

/// A job's lease of the queue that has stored it, or may have.
#[derive(Clone)]
pub(crate) struct Leased {
    pub(crate) lease: Arc<dyn Lease>,
    /// Whether the queue has the job for sure. Otherwise it runs here whatever comes of the lease, which is only told its end.
    pub(crate) is_stored: bool,
}

#[cfg(test)]
impl Clone for Extras {
    /// # Panics
    ///
    /// With a predicate, a slot or a claim, of which there is only one. An observer stays where it is.
    fn clone(&self) -> Self {
        let Self { options, progress } = self;
        let has_one = options.when.is_some() || progress.slot.is_some() || progress.claim.is_some();
        assert!(!has_one, "there is only one");
        Self {
            options: Options {
                when: None,
                key: options.key.clone(),
                delay: options.delay.clone(),
                #[cfg(feature = "testing")]
                asked_delay: options.asked_delay,
                serial: options.serial.clone(),
                unique: options.unique.clone(),
                replace: options.replace,
                at_most: options.at_most.clone(),
                duplicate_of: options.duplicate_of.clone(),
            },
            progress: Progress {
                ready: progress.ready,
                started: progress.started,
                payload: progress.payload.clone(),
                task: progress.task.clone(),
                observer: None,
                slot: None,
                claim: None,
                counted: progress.counted.clone(),
                leased: progress.leased.clone(),
                parent: progress.parent,
                cancellation: progress.cancellation.clone(),
                waker: progress.waker.clone(),
            },
        }
    }
}

/// How long a job waits after its response.
#[cfg_attr(test, derive(Clone))]
pub(super) enum Delay {
    /// The response is not over.
    After(Duration),
    Until(Instant),
}

impl Delay {
    /// Returns when it is over. `None` if the clock has no such time.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::After(delay) => now.checked_add(*delay),
            Self::Until(at) => Some(*at),
        }
    }

    pub(super) fn left(&self) -> Duration {
        match self {
            Self::After(delay) => *delay,
            Self::Until(at) => at.saturating_duration_since(Instant::now()),
        }
    }
}

/// A user's condition for a job to run.
pub(crate) type Predicate = Box<dyn FnOnce(&ResponseInfo) -> bool + Send>;

/// The question about the response that is asked before a job starts.
pub(crate) enum Question {
    IsSuccess,
    When(Predicate),
}

impl Extras {
    pub(crate) fn take_leased(&mut self) -> Option<Leased> {
        self.progress.leased.take()
    }

    pub(crate) fn take_observer(&mut self) -> Option<oneshot::Sender<JobEventKind>> {
        self.progress.observer.take()
    }
}

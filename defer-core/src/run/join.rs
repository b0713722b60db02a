//! A job joins a list.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{detached::Detached, push};
use crate::{
    limits::semaphore::Semaphore,
    list::{
        current::{after_poll, is_in_job, parent_in},
        entry::Entry,
        list::{JobList, Locked, Segment},
    },
    model::{
        error::{BoxError, caught},
        policy::Flags,
    },
    observe::{event::JobEventKind, hooks::Times, stats::Final},
    primitives::{panic::quietly, sync::lock},
};

/// A job that is to join a list, of a type that its list need not know.
pub(crate) trait Incoming {
    /// Returns the job as a queue stores it; `None` for one that is not for a queue.
    fn encode(&self) -> Option<Result<Vec<u8>, BoxError>>;

    /// Adds the job to the last segment, if that is of its type. Otherwise returns a new segment.
    fn join(&mut self, index: usize, last: Option<&mut dyn Segment>) -> Option<Box<dyn Segment>>;

    /// Joins as [`join`](Self::join) does, as a job that something else may own too.
    #[cfg(feature = "testing")]
    fn join_shared(&mut self, index: usize, last: Option<&mut dyn Segment>) -> Option<Box<dyn Segment>>;

    /// Encodes and decodes a job of a queued type, as a queue would, so that a test fails if the job does not survive.
    #[cfg(feature = "testing")]
    fn through_queue(&mut self);

    /// Drops the job.
    fn clear(&mut self);
}

/// Adds a job. Returns its index, or `None` if it was shed. After the release it starts as soon as its turn comes.
pub(crate) fn add(list: &Arc<JobList>, mut entry: Entry, job: &mut dyn Incoming) -> Option<usize> {
    let engine = &list.engine;
    #[cfg(feature = "testing")]
    if engine.config.is_recording && !entry.is_from_queue() {
        job.through_queue();
    }
    if entry.is_from_queue() {
        engine.counters.taken();
        list.report(entry.job(), &JobEventKind::Taken, Times::default());
    } else {
        engine.counters.deferred();
        if engine.config.hooks.has_users() {
            list.tell(entry.job(), &JobEventKind::Deferred, || None);
        }
    }
    if engine.config.wraps_attempts {
        entry.set(Flags::WRAPPED);
    }
    if entry.policy().is_queued() && !entry.is_from_queue() {
        if engine.queue().is_some() {
            encode(list, &mut entry, job);
        } else if !engine.config.is_recording {
            warn_once(entry.kind.name());
        }
    }
    let mut locked = list.lock();
    if !locked.state.makes_room(list.bounds()) {
        drop(locked);
        shed(list, entry, job);
        return None;
    }
    if entry.has(Flags::PUSH) {
        adopt(list, &mut locked, &mut entry);
    }
    let is_released = locked.state.is_released();
    let leaves_line = is_released && entry.has(Flags::CONCURRENT);
    let index = locked.state.add(entry);
    let mut join = |last: Option<&mut dyn Segment>| {
        #[cfg(feature = "testing")]
        if engine.config.is_recording {
            return job.join_shared(index, last);
        }
        job.join(index, last)
    };
    if !is_released {
        locked.push(join);
    } else if leaves_line {
        // Beside the line from the beginning: nothing of it may stay there.
        let detached = join(None).and_then(|job| Detached::of(&mut locked, list, index, job));
        join_released(list, locked, index, detached);
    } else {
        locked.push(join);
        join_released(list, locked, index, None);
    }
    Some(index)
}

/// Says that jobs of a type are not durable, though they should be: once for the type.
#[cold]
fn warn_once(name: &'static str) {
    static WARNED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    if lock(&WARNED).insert(name) {
        tracing::warn!(
            target: "defer",
            job = name,
            "a job for a queue runs in memory, and is not durable: give the runner a queue with `RunnerBuilder::queue`"
        );
    }
}

/// Lets a job that a stored one defers be stored with the end of that.
#[cold]
fn adopt(list: &Arc<JobList>, locked: &mut Locked, entry: &mut Entry) {
    // Only while that runs: later nothing would store it.
    if let Some(parent) = parent_in(list).filter(|parent| locked.state.is_leased_attempt(*parent)) {
        entry.set_parent(parent);
    }
}

/// Drops a job that finds no room.
#[cold]
fn shed(list: &JobList, entry: Entry, job: &mut dyn Incoming) {
    quietly(&mut || job.clear());
    list.count(entry.job(), &JobEventKind::Shed, Final::Shed, Times::default());
}

/// Lets a job go on that joined a list whose response is over.
#[cold]
fn join_released(
    list: &Arc<JobList>,
    mut locked: MutexGuard<'_, Locked>,
    index: usize,
    detached: Option<Detached>,
) {
    if let Some(now) = list.now() {
        locked.state.set_ready(index, now);
    }
    let starts = locked.state.activate();
    drop(locked);
    if let Some(detached) = detached {
        detached.start();
    }
    if starts {
        Semaphore::request(list.clone());
    }
    // A handle may change it until the thread leaves the scope. In a job, what is not held is pushed after the attempt.
    if !is_in_job() || list.engine.queue().is_some_and(|queue| queue.hold().is_some()) {
        after_poll(list, push::push_due);
    }
}

/// Encodes a job for the queue at `defer`, because a running job can no longer be borrowed, yet the queue may have to take it
/// at the end of a shutdown.
#[cold]
fn encode(list: &JobList, entry: &mut Entry, job: &dyn Incoming) {
    let error = match caught(|| job.encode()) {
        Ok(None) => return,
        Ok(Some(Ok(payload))) => return entry.set_payload(payload),
        Ok(Some(Err(error))) => error.into(),
        Err(panic) => panic,
    };
    list.report(entry.job(), &JobEventKind::QueueFailed { error }, Times::default());
}

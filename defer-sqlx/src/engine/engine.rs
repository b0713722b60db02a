//! The state that all clones, leases and workers of a queue share.

use std::{
    collections::{BTreeMap, HashMap},
    future::{Future, pending},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use defer_core::{JobId, queue::Stop};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, oneshot},
};

use super::{
    clock::Clock,
    due::Due,
    held::{Held, Settling, Stored},
    identity::Identity,
    ops::{Op, Ops},
    others::Others,
    rows,
    workers::Workers,
};
use crate::{
    error::Error,
    store::{Cancelling, ChangeKind, Holder, HolderId, HolderRow, NewJob, Own, Store, StoreError, Taken},
};

/// The settings of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    /// The largest payload, in bytes.
    pub(crate) max_payload: usize,
    /// How long jobs that succeeded are kept.
    pub(crate) keep_done: Duration,
    /// How long jobs that failed are kept.
    pub(crate) keep_failed: Duration,
}

/// The state that all clones, leases and workers of a queue share.
pub(crate) struct Engine {
    pub(super) store: Arc<dyn Store>,
    settings: Settings,
    pub(super) clock: Clock,
    /// The runtime of all transactions except those of beats.
    pub(super) runtime: Handle,
    pub(super) ops: Ops,
    pub(super) identity: Identity,
    pub(super) others: Others,
    /// The jobs that this process has or is about to have.
    held: Mutex<BTreeMap<JobId, Arc<Held>>>,
    pub(crate) workers: Arc<Workers>,
    /// Set while jobs wait for a beat to be answered.
    beat_is_awaited: AtomicBool,
    /// The number of takes that have not been answered.
    takes: AtomicUsize,
    /// Notified when jobs were made ready in this process.
    ready: Notify,
    due: Due,
    /// Set while the beats have a request of this kind in progress: at most one of each.
    pub(super) registering: AtomicBool,
    pub(super) recovering: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub(super) fn new(store: Arc<dyn Store>, settings: Settings, clock: Clock, runtime: Handle) -> Self {
        Self {
            store,
            settings,
            clock,
            runtime,
            ops: Ops::default(),
            identity: Identity::new(),
            others: Others::default(),
            held: Mutex::default(),
            workers: Arc::default(),
            beat_is_awaited: AtomicBool::new(false),
            takes: AtomicUsize::new(0),
            ready: Notify::new(),
            due: Due::default(),
            registering: AtomicBool::new(false),
            recovering: AtomicBool::new(false),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// The holder.
impl Engine {
    /// Returns the id under which the database knows this process now.
    pub(crate) fn holder(&self) -> HolderId {
        self.identity.id()
    }

    /// Returns the description of this process for the database.
    pub(super) fn described(&self) -> Holder {
        self.identity.described(self.workers.names())
    }

    /// Returns a holder as callers that inspect the queue see it.
    pub(crate) fn told(&self, holder: HolderRow) -> defer_core::queue::Holder {
        let now = self.clock.now();
        let last_seen = match self.identity.fresh_as(&holder.id) {
            Some(fresh) => now.saturating_duration_since(fresh),
            None => self.others.silent_for(now, &holder.id, holder.count),
        };
        rows::holder(holder, last_seen)
    }

    /// Records that a beat sent at this moment was answered. No process takes over the jobs of this one until
    /// [`DEAD_AFTER`](super::identity::DEAD_AFTER) has passed since then.
    pub(super) fn beaten(&self, sent: Instant) {
        self.identity.beaten(sent);
        if self.beat_is_awaited.swap(false, Ordering::AcqRel) {
            let wakers: Vec<Waker> =
                lock(&self.held).values().filter_map(|held| held.start_waker()).collect();
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Takes a new name, because others have judged this holder dead and taken over its jobs.
    pub(super) fn died(&self) {
        let jobs = self.lose_all();
        tracing::warn!(
            target: "defer", jobs,
            "this process was silent for too long: other processes have taken over its durable jobs"
        );
    }

    /// Stops writing, and leaves this process's jobs to others. Returns the holder that it was.
    pub(super) fn leave(&self) -> HolderId {
        let holder = self.holder();
        self.ops.close();
        self.lose_all();
        holder
    }

    /// Stops all jobs of this process, and takes a new name. Returns the number of jobs.
    fn lose_all(&self) -> usize {
        self.identity.renew();
        let lost: Vec<Arc<Held>> = std::mem::take(&mut *lock(&self.held)).into_values().collect();
        for held in &lost {
            held.lose();
        }
        lost.len()
    }

    /// Notes that a job waits for the next answered beat.
    pub(super) fn waits_for_beat(&self) {
        self.beat_is_awaited.store(true, Ordering::Release);
    }
}

/// Jobs.
impl Engine {
    /// Registers a job that is about to be stored.
    pub(super) fn hold(&self, job: NewJob) -> Arc<Held> {
        let id = job.id;
        let held = Arc::new(Held::new(id, 1, self.holder(), 0, Stored::Asked(Box::new(job))));
        lock(&self.held).insert(id, held.clone());
        held
    }

    /// Registers a job that is about to be stored with the end of its parent.
    pub(super) fn hold_child(&self, id: JobId) -> Arc<Held> {
        let held = Arc::new(Held::new(id, 1, self.holder(), 0, Stored::WithParent));
        lock(&self.held).insert(id, held.clone());
        held
    }

    /// Returns the state of a job that cannot be stored.
    pub(super) fn hold_nothing(&self, id: JobId) -> Arc<Held> {
        Arc::new(Held::new(id, 0, self.holder(), 0, Stored::No))
    }

    /// Registers a job that a worker took.
    pub(super) fn took(&self, id: JobId, taken: &Taken, holder: HolderId) -> Arc<Held> {
        let held = Arc::new(Held::taken(id, taken, holder, self.clock.now()));
        lock(&self.held).insert(id, held.clone());
        held
    }

    /// Cancels a job, wherever it is.
    pub(crate) async fn cancel(&self, id: JobId) -> Result<Cancelling, StoreError> {
        let (held, holder) = (self.known(id), self.holder());
        // Cancel the row only of a job that will not start. An unknown job may belong to a take whose answer has not arrived yet:
        // the row then asks it to stop, and the next beat learns of that.
        let will_not_start = held.as_ref().is_some_and(|held| held.cancel());
        let cancelling = self.store.cancel(id, &holder, !will_not_start).await?;
        Ok(match (cancelling, held) {
            (Cancelling::Cancelled, held) => {
                if let Some(held) = held.filter(|_| will_not_start) {
                    held.set_cancelled();
                }
                // Another job may have waited for this one's key.
                self.made_ready();
                Cancelling::Cancelled
            }
            // Its end was about to be written.
            (Cancelling::Ended, Some(_)) if will_not_start => Cancelling::Cancelled,
            // It has not been stored yet.
            (Cancelling::Unknown, Some(_)) => Cancelling::Asked,
            (cancelling, _) => cancelling,
        })
    }

    /// Stops the jobs that occupy these places, so that others can run them.
    pub(crate) fn stop_in_places(&self, places: &Arc<Semaphore>) {
        let held: Vec<Arc<Held>> =
            lock(&self.held).values().filter(|held| held.is_in(places)).cloned().collect();
        for held in held {
            held.stop(Stop::Lost);
        }
    }

    /// Removes a job that this process no longer has.
    pub(super) fn forget(&self, held: &Arc<Held>) {
        held.give_up_place();
        let mut known = lock(&self.held);
        if known.get(&held.id).is_some_and(|known| Arc::ptr_eq(known, held)) {
            known.remove(&held.id);
        }
    }

    pub(super) fn enqueue(&self, op: Op) {
        self.ops.add(op);
    }

    pub(super) fn enqueue_all(&self, ops: Vec<Op>) {
        self.ops.add_all(ops);
    }

    /// Stores jobs that any process may take: all of them or none. For each, returns the job that it duplicates, if any.
    pub(crate) async fn push(&self, jobs: Vec<NewJob>) -> Result<Vec<Option<JobId>>, Error> {
        let (done, answer) = oneshot::channel();
        self.enqueue(Op::Push { jobs, done });
        let answer = answer.await.unwrap_or_else(|_| Err("the queue was closed".to_owned()));
        answer.map_err(|error| Error::Store(error.into()))
    }

    /// Takes up to `limit` due jobs with these names, and registers them. Skips jobs whose id is invalid.
    pub(crate) async fn take(&self, names: &[String], limit: usize) -> Result<Vec<Taken>, StoreError> {
        /// If this future is dropped, its answer may still arrive with nobody to read it. The next beat then gives those jobs
        /// back.
        struct InFlight<'a>(&'a AtomicUsize);
        impl Drop for InFlight<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.takes.fetch_add(1, Ordering::AcqRel);
        let _in_flight = InFlight(&self.takes);
        let Some(holder) = self.identity.registered() else { return Ok(Vec::new()) };
        let taken = self.store.take(holder.clone(), names.to_vec(), limit).await?;
        if self.holder() != holder {
            // This holder was judged dead meanwhile, so other processes have these jobs.
            return Ok(Vec::new());
        }
        for job in &taken {
            if let Ok(id) = job.id.parse() {
                self.took(id, job, holder.clone());
            }
        }
        Ok(taken)
    }

    pub(super) fn known(&self, id: JobId) -> Option<Arc<Held>> {
        lock(&self.held).get(&id).cloned()
    }

    /// Compares the jobs that this process knows with those that it had according to the database when the beat was sent.
    pub(super) fn compare(&self, sent: Instant, own: Vec<Own>) {
        // The answer of a take in flight may contain these jobs. Checked only now, to include a take that began after the beat.
        let gives_back = self.takes.load(Ordering::Acquire) == 0;
        let mut listed = HashMap::with_capacity(own.len());
        for row in own {
            let Ok(id) = row.id.parse::<JobId>() else { continue };
            match self.known(id) {
                Some(held) if row.cancel && held.claim == row.claim => held.stop(Stop::Cancelled),
                None if gives_back => self.give_back(id, row.claim),
                _ => {}
            }
            listed.insert(id, row.claim);
        }
        let missing: Vec<Arc<Held>> = lock(&self.held)
            .values()
            .filter(|held| listed.get(&held.id) != Some(&held.claim) && held.should_be_there(sent))
            .cloned()
            .collect();
        for held in missing {
            tracing::warn!(target: "defer", id = %held.id, "another process has taken over a durable job of this process");
            held.lose();
            self.forget(&held);
        }
    }

    /// Gives back a job that the table says this process has but that it does not know, because an answer was lost.
    fn give_back(&self, id: JobId, claim: i64) {
        let held = Arc::new(Held::new(id, claim, self.holder(), 0, Stored::Yes(self.clock.now())));
        held.settles();
        // It may have ended since the beat was sent. Nothing changes then.
        held.stop(Stop::Lost);
        // Register it, so that the next beat does not give it back again.
        lock(&self.held).insert(id, held.clone());
        let ready = ChangeKind::Ready {
            delay: 0,
            serial: None,
            unique: None,
            replace: None,
            throttle: None,
            outcome: None,
        };
        let (done, _) = oneshot::channel();
        self.enqueue(Op::change(&held, Settling::new(ready, Vec::new(), done)));
    }
}

/// Workers.
impl Engine {
    /// Wakes the workers of this process.
    pub(crate) fn made_ready(&self) {
        self.ready.notify_waiters();
    }

    /// Notes that a job was delayed by this many milliseconds. Wake the workers with [`made_ready`](Self::made_ready).
    pub(super) fn put_off(&self, delay: i64) {
        self.due.add(self.clock.now(), Duration::from_millis(u64::try_from(delay).unwrap_or_default()));
    }

    /// Waits until a worker should look again for a job that this process delayed.
    pub(crate) fn due(&self) -> impl Future<Output = ()> + use<'_> {
        let looked = self.clock.now();
        async move {
            match self.due.next_after(looked) {
                Some(due) => tokio::time::sleep(due.saturating_duration_since(self.clock.now())).await,
                None => pending().await,
            }
        }
    }

    /// Waits until jobs are made ready in this process.
    pub(crate) fn ready(&self) -> tokio::sync::futures::Notified<'_> {
        self.ready.notified()
    }
}

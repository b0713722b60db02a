//! Shared by a recorder and the lists of its runner. Only with the feature `testing`.

use std::{
    any::TypeId,
    collections::{HashMap, HashSet},
    mem,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{entry::Entry, list::JobList, shared::SharedJob};
use crate::{
    model::{
        id::JobId,
        policy::{Condition, Policy},
        request::RequestInfo,
        response::ResponseInfo,
    },
    primitives::sync::lock,
    store::Replace,
};

/// The jobs that a recorder keeps. Its runner knows it by a weak pointer, because lists hold their runner.
#[derive(Default)]
pub(crate) struct Recording {
    lists: Mutex<Vec<Arc<JobList>>>,
    /// Delays, backoffs and snoozes elapse at once.
    skips_waits: AtomicBool,
    fakes: Mutex<HashSet<TypeId>>,
    /// The jobs of these types whose turn has come.
    faked: Mutex<Vec<Snapshot>>,
    snoozes: Mutex<HashMap<JobId, usize>>,
    /// The name of a job that has snoozed too often.
    endless: Mutex<Option<&'static str>>,
    found_endless: Notify,
}

/// After this many snoozes, a job is assumed to snooze forever.
pub(crate) const MAX_SNOOZES: usize = 1_000;

/// A recorded job that has not run.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) id: JobId,
    pub(crate) name: &'static str,
    pub(crate) policy: &'static Policy,
    pub(crate) key: Option<Box<str>>,
    pub(crate) serial_key: Option<Arc<str>>,
    pub(crate) unique_key: Option<Arc<str>>,
    pub(crate) replace: Option<Replace>,
    pub(crate) at_most: Option<(Arc<str>, Duration)>,
    pub(crate) delay: Option<Duration>,
    pub(crate) condition: Condition,
    pub(crate) request: Option<RequestInfo>,
    pub(crate) job: Option<SharedJob>,
}

impl Snapshot {
    fn of(entry: &Entry, request: Option<&RequestInfo>) -> Self {
        Self {
            id: entry.id,
            name: entry.kind.name(),
            policy: entry.policy(),
            key: entry.key().map(Box::from),
            serial_key: entry.serial_key().cloned(),
            unique_key: entry.unique_key().cloned(),
            replace: entry.replace(),
            at_most: entry.at_most().map(|at_most| (at_most.key.clone(), at_most.every)),
            delay: entry.asked_delay(),
            condition: entry.condition(),
            request: request.cloned(),
            job: None,
        }
    }
}

impl Recording {
    pub(crate) fn keep(&self, list: Arc<JobList>) {
        lock(&self.lists).push(list);
    }

    /// Returns a copy, because a user's predicate may use the recorder.
    pub(crate) fn lists(&self) -> Vec<Arc<JobList>> {
        lock(&self.lists).clone()
    }

    pub(crate) fn skip_waits(&self) {
        self.skips_waits.store(true, Ordering::Relaxed);
    }

    pub(crate) fn fake(&self, job: TypeId) {
        lock(&self.fakes).insert(job);
    }

    /// Returns the jobs that have not run, in the order of their ids.
    pub(crate) fn jobs(&self) -> Vec<Snapshot> {
        let mut jobs: Vec<_> = self.lists().iter().flat_map(|list| list.snapshots()).collect();
        jobs.extend(lock(&self.faked).iter().cloned());
        jobs.sort_by_key(|job| job.id);
        jobs
    }

    /// A job snoozes.
    pub(crate) fn snoozed(&self, name: &'static str, id: JobId) {
        let mut snoozes = lock(&self.snoozes);
        let times = snoozes.entry(id).or_default();
        *times += 1;
        if *times == MAX_SNOOZES {
            *lock(&self.endless) = Some(name);
            self.found_endless.notify_waiters();
        }
    }

    /// Waits until a job has snoozed too often. Returns its name.
    pub(crate) async fn endless(&self) -> &'static str {
        loop {
            let found = self.found_endless.notified();
            if let Some(name) = mem::take(&mut *lock(&self.endless)) {
                return name;
            }
            found.await;
        }
    }
}

impl JobList {
    pub(super) fn keep_if_recorded(self: &Arc<Self>) {
        if let Some(recording) = self.recording() {
            recording.keep(self.clone());
        }
    }

    fn recording(&self) -> Option<Arc<Recording>> {
        self.engine.config.parts.get::<Weak<Recording>>()?.upgrade()
    }

    /// Returns the jobs that have not started, in their order.
    fn snapshots(&self) -> Vec<Snapshot> {
        self.leave_out_marked();
        let mut locked = self.lock();
        let request = self.request();
        let mut jobs: Vec<_> = locked
            .state
            .waiting_entries()
            .map(|(index, entry)| (index, Snapshot::of(entry, request)))
            .collect();
        for (index, job) in &mut jobs {
            job.job = locked.shared_job(*index);
        }
        jobs.into_iter().map(|(_, job)| job).collect()
    }

    /// Records the handler's answer. A recorder runs the jobs as after this response, if the response itself is not over.
    /// Requires the feature `testing`.
    pub fn answered(&self, response: impl FnOnce() -> ResponseInfo) {
        if self.engine.config.is_recording {
            self.lock().answer = Some(response());
        }
    }

    /// Lets the jobs see the response as the handler has answered it, unless that is over.
    pub(crate) fn see_answer(&self) {
        let answer = self.lock().answer.clone();
        if let Some(answer) = answer {
            self.set_response(answer);
        }
    }

    /// Returns whether a recorder keeps the jobs of this type when their turn comes.
    pub(crate) fn fakes(&self, job: TypeId) -> bool {
        self.recording().is_some_and(|recording| lock(&recording.fakes).contains(&job))
    }

    /// The turn of a job has come. Returns whether a recorder keeps it instead.
    pub(crate) fn is_faked(&self, id: JobId, job: SharedJob) -> bool {
        let Some(recording) = self.recording() else { return false };
        if !lock(&recording.fakes).contains(&(*job.job).type_id()) {
            return false;
        }
        let mut snapshot = self.lock().state.entry_of(id).map(|entry| Snapshot::of(entry, self.request()));
        if let Some(snapshot) = &mut snapshot {
            snapshot.job = Some(job);
        }
        lock(&recording.faked).extend(snapshot);
        true
    }

    /// Returns how long a job waits that is to wait so long: not at all if the recorder skips that, and for ever if it has snoozed
    /// too often.
    pub(crate) fn wait_of(&self, index: usize, wait: Duration) -> Duration {
        let Some(recording) = self.recording() else { return wait };
        let id = self.lock().state.open_entry(index).map(|entry| entry.id);
        let snoozes = id.and_then(|id| lock(&recording.snoozes).get(&id).copied());
        match () {
            () if snoozes.is_some_and(|times| times >= MAX_SNOOZES) => Duration::MAX,
            () if recording.skips_waits.load(Ordering::Relaxed) => Duration::ZERO,
            () => wait,
        }
    }
}

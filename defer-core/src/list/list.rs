//! The list of one request's jobs: a lock around its [`State`], and what follows from each transition.

use std::{
    any::TypeId,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::Waker,
    time::Duration,
};

use http::Method;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{AbortHandle, JoinHandle},
};

use super::{
    effects::{Ended, Freed, Halted},
    entry::Extras,
    segment::Slots,
    state::{Bounds, State},
};
use crate::{
    carried::Shared,
    context::{Around, Drain, Surroundings},
    error::DeferError,
    event::{About, Facts, JobEventKind, JobRef, Times},
    future::BoxFuture,
    panic::drop_quietly,
    queue::{Metadata, ROUTE},
    request::RequestInfo,
    response::ResponseInfo,
    runner::{
        Overflow, Runner,
        jobs::{Jobs, Permit, Stopped},
        semaphore::Semaphore,
    },
    state::TypeMap,
    stats::Final,
    sync::lock,
    trace::Source,
};

/// The list of one request's jobs, from the first deferral to the last end.
///
/// Use it to build your own middleware: [`Scope::list`](crate::Scope::list) returns it, and the jobs wait on it until you
/// [release](Self::release) them.
pub struct JobList {
    runner: Runner,
    /// Unregisters the list.
    key: usize,
    pub(super) origin: Origin,
    request: OnceLock<RequestInfo>,
    response: OnceLock<ResponseInfo>,
    state: Mutex<State<Box<dyn RunSegment>>>,
}

/// Where a list comes from.
pub(crate) struct Origin {
    /// Where its jobs run.
    pub(crate) runtime: Handle,
    /// The span of the request.
    pub(crate) source: Source,
    /// What a queued job carries over from its request.
    pub(crate) queued: Option<Box<Metadata>>,
}

/// A segment that can be run. `worker` implements it, where the type of the jobs is known.
pub(crate) trait RunSegment: Slots {
    /// Spawns a worker that begins with this segment.
    fn spawn(self: Box<Self>, guard: WorkerGuard) -> JoinHandle<()>;

    /// Runs the jobs, from the first to the last, after others had their turn.
    fn run(self: Box<Self>, guard: &mut WorkerGuard) -> BoxFuture<'_, ()>;

    /// Takes one job out, as a segment of its own.
    fn split(&mut self, index: usize) -> Option<Box<dyn RunSegment>>;

    /// Runs the job, which has been [split](Self::split) off, in a task of its own.
    fn run_beside(self: Box<Self>, list: &Arc<JobList>, index: usize, has_room: bool);
}

/// A worker keeps this while it has jobs left. If dropped before [`finish`](Self::finish), it ends the jobs that the worker
/// would have run. It is created before the worker's task, because a runtime that was shut down drops the task without a
/// poll.
pub(crate) struct WorkerGuard {
    pub(crate) list: Arc<JobList>,
    /// `None` while it waits for its turn.
    pub(crate) permit: Option<Permit>,
    done: bool,
}

impl WorkerGuard {
    pub(super) fn new(list: Arc<JobList>, permit: Permit) -> Self {
        Self { list, permit: Some(permit), done: false }
    }

    /// No job is left.
    pub(crate) fn finish(&mut self) {
        self.done = true;
    }
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        if !self.done {
            self.list.lose_worker();
        }
    }
}

/// Drops a job or what belongs to it, if there is anything.
pub(super) fn drop_some<T>(value: Option<T>) {
    if value.is_some() {
        drop_quietly(value);
    }
}

/// Drops what belongs to a job. Returns the observer to tell how the job ended, if it has one.
#[inline]
pub(super) fn observer(extras: Option<Box<Extras>>) -> Option<oneshot::Sender<JobEventKind>> {
    #[cold]
    fn taken(mut extras: Box<Extras>) -> Option<oneshot::Sender<JobEventKind>> {
        let observer = extras.take_observer();
        drop_quietly(extras);
        observer
    }
    taken(extras?)
}

/// Returns the method and the route of the request that a queued job comes from.
fn queued_route(metadata: &Metadata) -> (Option<Method>, Option<Arc<str>>) {
    let Some(route) = metadata.get(ROUTE) else { return (None, None) };
    let (method, path) =
        route.split_once(' ').map_or((&**route, None), |(method, path)| (method, Some(path)));
    (method.parse().ok(), path.map(Arc::from))
}

/// The lists that a recorder keeps.
#[cfg(feature = "testing")]
pub(crate) type RecordedLists = Mutex<Vec<Arc<JobList>>>;

impl Origin {
    pub(crate) fn current() -> Result<Self, DeferError> {
        let runtime = Handle::try_current().map_err(|_| DeferError::NoRuntime)?;
        Ok(Self { runtime, source: Source::current(), queued: None })
    }

    /// The origin of a job that a queue's worker runs.
    pub(crate) fn of_queued(metadata: Metadata) -> Result<Self, DeferError> {
        let runtime = Handle::try_current().map_err(|_| DeferError::NoRuntime)?;
        Ok(Self { runtime, source: Source::of_queued(&metadata), queued: Some(Box::new(metadata)) })
    }
}

impl JobList {
    pub(crate) fn new(runner: Runner, origin: Origin) -> Arc<Self> {
        let list = Arc::new_cyclic(|list: &Weak<Self>| Self {
            key: runner.register(list.clone()),
            runner,
            origin,
            request: OnceLock::new(),
            response: OnceLock::new(),
            state: Mutex::new(State::new()),
        });
        #[cfg(feature = "testing")]
        if let Some(recorded) = list.runner.recorded::<RecordedLists>() {
            lock(&recorded).push(list.clone());
        }
        list
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.origin.runtime
    }

    /// Lets the jobs see the request that they come from. Only the first call has an effect.
    #[inline]
    pub fn set_request(&self, request: RequestInfo) {
        let _ = self.request.set(request);
    }

    /// Lets the jobs see how the response ended. Only the first call has an effect.
    #[inline]
    pub(crate) fn set_response(&self, response: ResponseInfo) {
        let _ = self.response.set(response);
    }

    /// Ends a job that has not ended. Returns whether this call did.
    pub(crate) fn end(&self, index: usize, event: &JobEventKind) -> bool {
        let ended = self.transition(|state| state.end(index));
        ended.map(|ended| self.ended(ended, event)).is_some()
    }

    /// The worker is gone: ends what it would have run.
    pub(crate) fn lose_worker(&self) {
        let halted = self.transition(State::lose_worker);
        self.halted(halted);
    }

    pub(crate) fn give_back_room(&self, jobs: usize) {
        if jobs > 0 {
            self.runner.give_back_room(jobs, self.runtime());
        }
    }

    /// Locks the state, for transitions that do not change how many jobs run.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<Box<dyn RunSegment>>> {
        lock(&self.state)
    }

    /// Runs a transition under the lock.
    pub(super) fn transition<T>(&self, transition: impl FnOnce(&mut State<Box<dyn RunSegment>>) -> T) -> T {
        let mut state = self.lock();
        let before = state.running();
        let result = transition(&mut state);
        // Counted under the lock, because another thread may end the job at once.
        self.runner.counters().running_changed(before, state.running());
        result
    }

    pub(super) fn bounds(&self) -> Bounds<'_> {
        // Do not shed a job from a queue: the queue would only bring it again.
        let overflow = if self.origin.queued.is_some() { Overflow::Wait } else { self.runner.overflow() };
        Bounds { capacity: self.runner.capacity(), lanes: self.runner.lanes(), overflow }
    }

    pub(super) fn request_permit(self: &Arc<Self>) {
        Semaphore::request(self.clone() as Arc<dyn Jobs>);
    }

    /// Follows up on the end of a job.
    pub(super) fn ended(&self, mut ended: Ended, event: &JobEventKind) {
        let observer = observer(ended.extras.take());
        let job = self.clean_up(ended);
        self.count(job, event);
        if let Some(observer) = observer {
            let _ = observer.send(event.clone());
        }
    }

    pub(super) fn clean_up(&self, ended: Ended) -> JobRef {
        let Ended { job, freed, extras, work, wakes } = ended;
        self.freed(freed);
        wakes.into_iter().for_each(Waker::wake);
        drop_some(extras);
        drop_some(work);
        job
    }

    pub(super) fn freed(&self, freed: Freed) {
        self.give_back_room(freed.room);
        if let Some(held) = freed.held {
            held.wake();
        }
    }

    /// Reports the end of a job and counts it.
    #[inline]
    pub(super) fn count(&self, job: JobRef, event: &JobEventKind) {
        let how = event.final_count().expect("a job ends with a final event");
        self.count_as(job, event, how);
    }

    /// Reports the end of a job and then counts it: once the runner is idle, everything has been reported.
    #[inline]
    pub(super) fn count_as(&self, job: JobRef, event: &JobEventKind, how: Final) {
        self.report(job, event);
        self.runner.counters().ended(how);
    }

    pub(super) fn report(&self, job: JobRef, event: &JobEventKind) {
        self.report_attempt(job, event, &Times::default());
    }

    /// Reports the end of an attempt that ends the job, and counts the job.
    #[inline]
    pub(super) fn count_attempt(&self, job: JobRef, event: &JobEventKind, times: &Times) {
        let how = event.final_count().expect("a job ends with a final event");
        self.report_attempt(job, event, times);
        self.runner.counters().ended(how);
    }

    /// Reports the end of an attempt.
    #[inline]
    pub(super) fn report_attempt(&self, job: JobRef, event: &JobEventKind, times: &Times) {
        job.report(self.runner.hooks(), event, times, self);
    }

    /// Returns the method and the route of the request, such as `POST /signup`, if it is known.
    pub(super) fn route(&self) -> Option<String> {
        let queued = self.origin.queued.as_ref().and_then(|metadata| metadata.get(ROUTE)).cloned();
        queued.or_else(|| self.request().map(RequestInfo::route))
    }

    /// Follows up on jobs that were stopped. Returns them.
    pub(super) fn halted(&self, halted: Halted<Box<dyn RunSegment>>) -> Stopped {
        let Halted { abandoned, mut handed_over, freed, worker, tasks, segments, pushed } = halted;
        self.freed(freed);
        if let Some(worker) = worker {
            worker.abort();
        }
        tasks.iter().for_each(AbortHandle::abort);
        segments.into_iter().for_each(drop_quietly);
        pushed.into_iter().for_each(Waker::wake);
        for (_, job, envelope) in &mut handed_over {
            let Some(Err(error)) = envelope.as_mut().map(|envelope| self.add_metadata(envelope)) else {
                continue;
            };
            // On the queue it asks in vain for what it takes over from its request, and says so.
            self.report(*job, &JobEventKind::QueueFailed { error });
        }
        let abandoned = abandoned.into_iter().map(|ended| {
            let job = ended.job;
            self.ended(ended, &JobEventKind::Abandoned);
            job
        });
        Stopped { abandoned: abandoned.collect(), handed_over }
    }
}

impl Facts for JobList {
    #[cold]
    fn about(&self, wait: Option<Duration>) -> About {
        let (request, response) = (self.request(), self.response());
        let (method, matched_path) = match &self.origin.queued {
            Some(metadata) => queued_route(metadata),
            None => {
                (request.map(|request| request.method().clone()), request.and_then(RequestInfo::shared_path))
            }
        };
        About {
            wait,
            method,
            matched_path,
            status: response.and_then(ResponseInfo::status),
            delivery: response.map(ResponseInfo::delivery),
        }
    }
}

impl Surroundings for JobList {
    fn state(&self) -> &TypeMap {
        self.runner.state()
    }

    fn request(&self) -> Option<&RequestInfo> {
        self.request.get()
    }

    fn response(&self) -> Option<&ResponseInfo> {
        self.response.get()
    }

    fn drain(&self) -> &Drain {
        self.runner.drain()
    }

    fn arounds(&self) -> &[Around] {
        self.runner.arounds()
    }

    fn carried(&self, type_id: TypeId) -> Option<Shared> {
        // What a handler said is later, and so comes first.
        let from_handler = self.lock().carried(type_id);
        from_handler.or_else(|| self.request()?.carried()?.get(type_id))
    }

    fn stored(&self, name: &str) -> Option<&str> {
        self.origin.queued.as_ref()?.get(name).map(String::as_str)
    }

    fn report_stuck(&self, job: JobRef, elapsed: Duration) {
        self.report(job, &JobEventKind::Stuck { elapsed });
    }
}

impl Drop for JobList {
    /// No handle is left, so nothing of the list can run.
    fn drop(&mut self) {
        self.runner.unregister(self.key);
        if self.state.get_mut().unwrap_or_else(PoisonError::into_inner).open() > 0 {
            self.lose_worker();
        }
    }
}

impl std::fmt::Debug for JobList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobList").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

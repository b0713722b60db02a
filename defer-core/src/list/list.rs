//! The list of one request's jobs: a lock around its [`State`], and what follows from each transition.

use std::{
    any::Any,
    fmt, mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::Waker,
};

use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
};

#[cfg(feature = "testing")]
use super::shared::SharedJob;
use super::{
    engine::{Engine, Overflow},
    entry::JobState,
    extras::Extras,
    segments::Segments,
    state::{Bounds, Effects, Ended, Report, State},
};
use crate::{
    limits::{keyed_semaphore::Slot, semaphore},
    model::{
        error::{DeferError, JobError, JobResult},
        extensions::Extensions,
        job_type::JobRef,
        metadata::Metadata,
        request::RequestInfo,
        response::ResponseInfo,
    },
    observe::{event::JobEventKind, hooks::Times, span::ParentSpan, stats::Final},
    primitives::{
        BoxFuture,
        panic::drop_quietly,
        sync::{atomic::AtomicBool, lock},
    },
};

/// The list of one request's jobs, from the first deferral to the last end.
///
/// Use it to write your own middleware: [`Scope::list`](crate::Scope::list) returns it, and it keeps the jobs until you
/// [release](Self::release) them.
pub struct JobList {
    pub(crate) engine: Arc<Engine<JobList>>,
    /// Unregisters the list.
    key: u32,
    pub(crate) origin: Origin,
    request: OnceLock<RequestInfo>,
    response: OnceLock<ResponseInfo>,
    /// Whether an attempt was ever to be stopped: each that waits asks. Set under the lock.
    pub(super) stops_attempts: AtomicBool,
    locked: Mutex<Locked>,
}

/// The state behind the list's lock.
pub(crate) struct Locked {
    pub(crate) state: State,
    /// The jobs that no worker has taken.
    segments: Segments<Box<dyn Segment>>,
    /// Values that the handler passes to its jobs, besides those that the layer has captured.
    pub(crate) extensions: Option<Box<Extensions>>,
    /// Its durable jobs could not be stored, and its response is to say so.
    pub(crate) is_refused: bool,
    /// How the handler has answered.
    #[cfg(feature = "testing")]
    pub(super) answer: Option<ResponseInfo>,
}

/// The origin of a list.
pub(crate) struct Origin {
    /// The runtime of its jobs.
    pub(crate) runtime: Handle,
    /// The span of the request.
    pub(crate) parent: ParentSpan,
    /// The part of the request that is stored with a queued job.
    pub(crate) queued: Option<Box<Metadata>>,
}

/// Jobs of one type that were deferred one after another, side by side in one allocation.
pub(crate) trait Segment: Any + Send {
    /// Returns the indices of its jobs, including those that were taken out.
    fn indices(&self) -> Range<usize>;

    /// Returns whether a job is here: it was not taken out, and not dropped.
    fn has(&self, index: usize) -> bool;

    /// Takes one job out, as a segment of its own.
    fn take(&mut self, index: usize) -> Option<Box<dyn Segment>>;

    /// Drops one job, quietly.
    fn clear(&mut self, index: usize);

    /// Spawns a worker that begins with this segment.
    fn spawn(self: Box<Self>, guard: WorkerGuard, runtime: &Handle) -> JoinHandle<()>;

    /// Calls a job. Does nothing until it is polled.
    fn call<'a>(
        &'a mut self,
        index: usize,
        list: &Arc<JobList>,
        job: JobRef,
        call: Call<'a>,
    ) -> BoxFuture<'a, JobResult>;

    /// Returns what a job waits for in place of a permit, if it is of such a type.
    fn gate(&mut self, index: usize) -> Option<&mut dyn Gate>;

    /// Returns a job, if it is shared.
    #[cfg(feature = "testing")]
    fn shared(&self, index: usize) -> Option<SharedJob>;

    /// Returns the segment itself, so that another job of its type can join.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Opens when a job may start together with others, on their permit.
pub(crate) trait Gate: Send {
    /// Returns whether the attempt after so many runs together with others. Otherwise it needs a permit of its own.
    fn is_for(&mut self, list: &JobList, attempts: u32) -> bool;

    /// Takes a place among those that wait, unless the job has one.
    fn join(&mut self, list: &Arc<JobList>);

    /// Waits until the job may start. The others wait for it from then on: it starts at once, or leaves.
    fn opened<'a>(&'a mut self, list: &'a Arc<JobList>) -> BoxFuture<'a, ()>;

    /// Returns whether the job may start.
    fn is_open(&self) -> bool;

    /// Gives the place back: the attempt has ended, or does not start.
    fn leave(&mut self);
}

/// The method of a job to call. One method serves both, because each job type has a copy of it.
pub(crate) enum Call<'a> {
    /// [`Job::run`](crate::Job::run). Its thread, if it has one, keeps these turns until it returns.
    Run(Vec<Slot>),
    /// [`Job::failed`](crate::Job::failed), whose result is `Ok`.
    Failed(&'a JobError),
}

/// The right to run one job at a time.
pub(crate) type Permit = semaphore::Permit<Arc<JobList>>;

/// A worker keeps this while it has jobs left. If dropped before [`finish`](Self::finish), it ends the jobs that the worker
/// would have run. Create it before the worker's task, because a runtime that was shut down drops the task without a poll.
pub(crate) struct WorkerGuard {
    pub(crate) list: Arc<JobList>,
    /// `None` while the worker waits for something.
    pub(crate) permit: Option<Permit>,
    done: bool,
}

impl WorkerGuard {
    pub(crate) fn new(list: Arc<JobList>, permit: Permit) -> Self {
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

impl Origin {
    pub(crate) fn current() -> Result<Self, DeferError> {
        let runtime = Handle::try_current().map_err(|_| DeferError::NoRuntime)?;
        Ok(Self { runtime, parent: ParentSpan::current(), queued: None })
    }

    /// Returns the origin of a job from a queue.
    pub(crate) fn of_queued(metadata: Metadata) -> Result<Self, DeferError> {
        let runtime = Handle::try_current().map_err(|_| DeferError::NoRuntime)?;
        let parent = ParentSpan::of_queued(&metadata);
        Ok(Self { runtime, parent, queued: Some(Box::new(metadata)) })
    }
}

impl JobList {
    pub(crate) fn new(engine: Arc<Engine<Self>>, origin: Origin) -> Arc<Self> {
        let list = Arc::new_cyclic(|list: &Weak<Self>| Self {
            key: u32::try_from(engine.register(list.clone())).expect("fewer than 4,294,967,296 lists"),
            engine,
            origin,
            request: OnceLock::new(),
            response: OnceLock::new(),
            stops_attempts: AtomicBool::new(false),
            locked: Mutex::new(Locked {
                state: State::new(),
                segments: Segments::default(),
                extensions: None,
                is_refused: false,
                #[cfg(feature = "testing")]
                answer: None,
            }),
        });
        #[cfg(feature = "testing")]
        list.keep_if_recorded();
        list
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

    pub(super) fn key(&self) -> usize {
        self.key as usize
    }

    pub(crate) fn request(&self) -> Option<&RequestInfo> {
        self.request.get()
    }

    pub(crate) fn response(&self) -> Option<&ResponseInfo> {
        self.response.get()
    }

    pub(crate) fn bounds(&self) -> Bounds<'_> {
        // A job from a queue is not shed: the queue would only bring it again.
        let sheds = self.engine.config.overflow == Overflow::Shed && self.origin.queued.is_none();
        Bounds { capacity: &self.engine.capacity, sheds }
    }

    pub(crate) fn give_back_room(&self, jobs: usize) {
        self.engine.give_back_room(jobs, &self.origin.runtime);
    }

    /// Locks the list, for transitions that do not change how many jobs run.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Locked> {
        lock(&self.locked)
    }

    /// Runs a transition under the lock.
    #[inline]
    pub(crate) fn transition<T>(&self, transition: impl FnOnce(&mut State) -> T) -> T {
        let mut locked = self.lock();
        let before = locked.state.running();
        let result = transition(&mut locked.state);
        // Counted under the lock, because another thread may end the job at once.
        self.engine.counters.running_changed(before, locked.state.running());
        result
    }

    /// Runs a transition under the lock that may end jobs, which then end with this event. Returns how many did.
    #[inline]
    pub(crate) fn end_with(
        &self,
        event: &JobEventKind,
        transition: impl FnOnce(&mut Locked, &mut Effects),
    ) -> usize {
        let mut effects = Effects::default();
        let mut locked = self.lock();
        let before = locked.state.running();
        transition(&mut locked, &mut effects);
        self.engine.counters.running_changed(before, locked.state.running());
        if effects.has_nothing() {
            // Nothing is in it to be dropped, and the release of each request comes here.
            mem::forget(effects);
            return 0;
        }
        let jobs = locked.take_ended(&effects);
        drop(locked);
        self.follow_up(effects, jobs, event)
    }

    /// Ends a job that has not ended and is not handed over, and that the caller has taken out of the line.
    pub(crate) fn end(&self, index: usize, event: &JobEventKind) {
        let mut effects = Effects::default();
        self.transition(|state| state.end(index, |state| state != JobState::HandedOver, &mut effects));
        self.follow_up(effects, Vec::new(), event);
    }

    /// Runs a transition under the lock that ends or hands over all jobs in line. Those that end do so with
    /// [`Abandoned`](JobEventKind::Abandoned).
    pub(crate) fn abandon_with(&self, transition: impl FnOnce(&mut State, &mut Effects)) {
        let mut effects = Effects::default();
        let segments = {
            let mut locked = self.lock();
            let before = locked.state.running();
            transition(&mut locked.state, &mut effects);
            self.engine.counters.running_changed(before, locked.state.running());
            locked.segments.take_all()
        };
        self.follow_up(effects, segments, &JobEventKind::Abandoned);
    }

    /// The worker is gone: ends what it would have run.
    pub(crate) fn lose_worker(&self) {
        self.abandon_with(State::lose_worker);
    }

    /// Does what a transition has left to do. Returns how many jobs ended.
    #[cold]
    pub(crate) fn follow_up(
        &self,
        effects: Effects,
        jobs: Vec<Box<dyn Segment>>,
        event: &JobEventKind,
    ) -> usize {
        let Effects { ended, room, wakers, worker, tasks } = effects;
        self.give_back_room(room);
        if let Some(worker) = worker {
            worker.abort();
        }
        tasks.iter().for_each(AbortHandle::abort);
        wakers.into_iter().for_each(Waker::wake);
        jobs.into_iter().for_each(drop_quietly);
        let count = ended.len();
        for ended in ended {
            let how = event.final_count().expect("a job ends with a final event");
            self.ended(ended, event, how, Times::default());
        }
        count
    }

    /// Follows up on the end of a job.
    #[inline]
    pub(crate) fn ended(&self, ended: Ended, event: &JobEventKind, how: Final, times: Times) {
        let Ended { index, job, extras } = ended;
        match extras {
            None => self.count(job, event, how, times),
            Some(extras) => self.ended_with_extras(index, job, extras, event, how, times),
        }
    }

    #[cold]
    fn ended_with_extras(
        &self,
        index: usize,
        job: JobRef,
        mut extras: Box<Extras>,
        event: &JobEventKind,
        how: Final,
        times: Times,
    ) {
        let observer = extras.take_observer();
        let leased = extras.take_leased();
        drop_quietly(extras);
        if let Some(leased) = leased {
            return self.ended_with_lease(leased, index, Report { job, event: event.clone(), how, times });
        }
        self.count(job, event, how, times);
        if let Some(observer) = observer {
            let _ = observer.send(event.clone());
        }
    }

    /// Reports the end of a job and then counts it: once the runner is idle, everything has been reported.
    #[inline]
    pub(crate) fn count(&self, job: JobRef, event: &JobEventKind, how: Final, times: Times) {
        self.report(job, event, times);
        self.engine.counters.ended(how);
    }
}

impl Locked {
    /// Adds a job, which joins the last segment if that is of its type. Otherwise `join` returns a new one.
    #[inline]
    pub(crate) fn push(&mut self, join: impl FnOnce(Option<&mut dyn Segment>) -> Option<Box<dyn Segment>>) {
        let last = self.segments.last_mut().map(|last| &mut **last);
        if let Some(segment) = join(last) {
            self.segments.push(segment);
        }
    }

    /// Takes the next segment for the worker. If there is none, the worker is forgotten: the next job gets a new one.
    pub(crate) fn take_segment(&mut self) -> Option<Box<dyn Segment>> {
        let segment = self.segments.take_next();
        if segment.is_none() {
            self.state.forget_worker();
        }
        segment
    }

    /// Takes a job out that no worker has taken.
    pub(crate) fn take_job(&mut self, index: usize) -> Option<Box<dyn Segment>> {
        self.segments.iter_mut().find_map(|segment| segment.take(index))
    }

    #[cold]
    pub(super) fn take_ended(&mut self, effects: &Effects) -> Vec<Box<dyn Segment>> {
        effects.ended.iter().filter_map(|ended| self.take_job(ended.index)).collect()
    }

    /// Returns a job that no worker has taken, if it is shared.
    #[cfg(feature = "testing")]
    pub(crate) fn shared_job(&mut self, index: usize) -> Option<SharedJob> {
        self.segments.iter_mut().find_map(|segment| segment.shared(index))
    }
}

impl Drop for JobList {
    /// No handle is left, so nothing of the list can run.
    fn drop(&mut self) {
        self.engine.unregister(self.key as usize);
        if self.locked.get_mut().unwrap_or_else(PoisonError::into_inner).state.open() > 0 {
            self.lose_worker();
        }
    }
}

impl fmt::Debug for JobList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobList").field("waiting", &self.lock().state.waiting()).finish_non_exhaustive()
    }
}

//! A batch: jobs of one type that run together, from the first that joins to the end of the attempt.
//!
//! A task of its own gathers it, and takes its permit. A member has a place: two ends of channels, which it drops when it leaves. So the
//! batch knows when all have arrived, and when nobody waits for it any more.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    slice,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::attempt::{Attempt, AttemptEnd};
use crate::{
    job::{
        batch::Batching,
        context::JobContext,
        job::{Deferrable, job_type},
        middleware::wrap,
    },
    limits::{
        keyed_semaphore::{Key, Slot},
        semaphore::Semaphore,
    },
    list::{
        current::InList,
        engine::Engine,
        list::{JobList, Origin},
    },
    model::{
        error::{JobError, JobResult},
        id::JobId,
        job_type::JobRef,
    },
    observe::{log::log_batch, span::ParentSpan},
    primitives::{panic::drop_quietly, sync::lock, timer::timer},
};

/// A runner's batches that form.
pub(crate) struct Batches {
    /// At most one of each type on each runtime: its jobs run where they were deferred.
    forming: Mutex<HashMap<(TypeId, runtime::Id), Box<dyn Any + Send>>>,
    /// How many callers wait for the jobs that are here, so that a batch does not wait for more.
    hurries: watch::Sender<usize>,
}

/// A batch that others may join, until this is dropped.
struct Forming<J> {
    // Weak: a batch that all have left ends.
    arrive: mpsc::WeakUnboundedSender<Arrival<J>>,
    open: watch::Receiver<bool>,
    /// When its first member has waited for long enough. `None` if the clock has no such time.
    until: Option<Instant>,
    joined: usize,
    _full: oneshot::Sender<Infallible>,
}

/// A member's place in a batch.
pub(super) struct Place<J> {
    number: usize,
    /// `None` once it has arrived.
    arrive: Option<mpsc::UnboundedSender<Arrival<J>>>,
    /// As long as a member has this, the batch runs for it.
    open: watch::Receiver<bool>,
}

/// A member whose attempt has started.
struct Arrival<J> {
    number: usize,
    attempt: u32,
    job: J,
    end: oneshot::Sender<Ended<J>>,
}

/// A member's job, back from its batch.
pub(super) struct Ended<J> {
    pub(super) job: J,
    pub(super) result: JobResult,
}

/// Somebody waits for what is there, until this is dropped.
#[derive(Debug)]
pub struct Hurry(Arc<Engine<JobList>>);

impl Default for Batches {
    fn default() -> Self {
        Self { forming: Mutex::default(), hurries: watch::Sender::new(0) }
    }
}

impl Batches {
    fn of(engine: &Engine<JobList>) -> &Self {
        engine.config.parts.get().expect("a runner is built with it")
    }

    async fn hurried(&self) {
        // An error means that the sender is gone, and it is borrowed here.
        let _ = self.hurries.subscribe().wait_for(|hurries| *hurries > 0).await;
    }
}

impl Hurry {
    pub(crate) fn new(engine: &Arc<Engine<JobList>>) -> Self {
        // Only the first changes anything for those that wait.
        Batches::of(engine).hurries.send_if_modified(|hurries| {
            *hurries += 1;
            *hurries == 1
        });
        Self(engine.clone())
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        Batches::of(&self.0).hurries.send_if_modified(|hurries| {
            *hurries -= 1;
            false
        });
    }
}

impl<J: Deferrable> Place<J> {
    /// Joins the batch that forms, or begins one.
    pub(super) fn join(list: &Arc<JobList>, batching: Batching<J>) -> Self {
        let size = batching.size;
        let key = key::<J>(list);
        let mut forming = lock(&Batches::of(&list.engine).forming);
        let known = forming.get_mut(&key).and_then(|batch| batch.downcast_mut::<Forming<J>>());
        // If all have left, the next goes on with their time: jobs that replace one another would otherwise never start.
        let left = known.as_ref().and_then(|batch| batch.left());
        let (place, begun) = match known.and_then(Forming::join) {
            Some(place) => (place, None),
            None => {
                let batching = Batching { within: left.unwrap_or(batching.within), ..batching };
                let (batch, place, begun) = Batch::begin(list, batching);
                forming.insert(key, Box::new(begun));
                (place, Some(batch))
            }
        };
        // Without room for another job, none may come.
        let is_full = place.number >= size || !list.engine.capacity.has(1);
        let full = if is_full { forming.remove(&key) } else { None };
        drop(forming);
        drop(full);
        if let Some(batch) = begun {
            // Not under the lock: a runtime that was shut down drops the task here.
            let list_of_batch = batch.list.clone();
            drop(list.origin.runtime.spawn(InList::new(list_of_batch, batch.run())));
        }
        place
    }

    pub(super) async fn opened(&mut self) {
        // An error means that the batch is gone, with its runtime.
        let _ = self.open.wait_for(|is_open| *is_open).await;
    }

    pub(super) fn is_open(&self) -> bool {
        *self.open.borrow() || self.open.has_changed().is_err()
    }

    /// Gives the batch a job whose attempt has started. Returns who has it back, or the job if the batch is gone. Only the first call
    /// has an effect.
    pub(super) fn arrive(&mut self, job: J, attempt: u32) -> Result<oneshot::Receiver<Ended<J>>, J> {
        let Some(arrive) = self.arrive.take() else { return Err(job) };
        let (end, ended) = oneshot::channel();
        match arrive.send(Arrival { number: self.number, attempt, job, end }) {
            Ok(()) => Ok(ended),
            Err(mpsc::error::SendError(arrival)) => Err(arrival.job),
        }
    }
}

impl<J> Forming<J> {
    /// Returns a place in it, unless all have left.
    fn join(&mut self) -> Option<Place<J>> {
        let arrive = self.arrive.upgrade()?;
        self.joined += 1;
        Some(Place { number: self.joined, arrive: Some(arrive), open: self.open.clone() })
    }

    /// Returns how much longer it waits for more. `None` if it does no more.
    fn left(&self) -> Option<Duration> {
        self.until?.checked_duration_since(Instant::now())
    }
}

/// A batch, in its task.
struct Batch<J> {
    /// The list of what it defers.
    list: Arc<JobList>,
    batching: Batching<J>,
    arrivals: mpsc::UnboundedReceiver<Arrival<J>>,
    open: watch::Sender<bool>,
    full: oneshot::Receiver<Infallible>,
}

impl<J: Deferrable> Batch<J> {
    /// Returns a batch, its first place, and what others join by.
    fn begin(list: &Arc<JobList>, batching: Batching<J>) -> (Self, Place<J>, Forming<J>) {
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let (open, opened) = watch::channel(false);
        let (is_full, full) = oneshot::channel();
        let forming = Forming {
            arrive: arrive.downgrade(),
            open: opened.clone(),
            until: Instant::now().checked_add(batching.within),
            joined: 1,
            _full: is_full,
        };
        let place = Place { number: 1, arrive: Some(arrive), open: opened };
        (Self { list: apart(list), batching, arrivals, open, full }, place, forming)
    }

    async fn run(mut self) {
        if !self.form().await {
            return;
        }
        // It grows while it waits for these.
        let _turn = self.turn().await;
        let _permit = Semaphore::acquire(&self.list).await;
        self.close();
        self.open.send_replace(true);
        let mut arrivals = Vec::new();
        // Until all have arrived or left.
        while let Some(arrival) = self.arrivals.recv().await {
            arrivals.push(arrival);
        }
        arrivals.sort_by_key(|arrival| arrival.number);
        let attempt = arrivals.iter().map(|arrival| arrival.attempt).max();
        let (jobs, ends): (Vec<J>, Vec<_>) =
            arrivals.into_iter().map(|Arrival { job, end, .. }| (job, end)).unzip();
        let Some(attempt) = attempt else { return };
        let result = self.attempt(&jobs, attempt).await;
        for (job, end) in jobs.into_iter().zip(ends) {
            if let Err(unwanted) = end.send(Ended { job, result: result.clone() }) {
                drop_quietly(unwanted);
            }
        }
        self.list.release_now();
    }

    /// Waits until the batch is full, or its first member has waited for long enough. Returns whether it has any left.
    async fn form(&mut self) -> bool {
        // Without a timer it does not wait.
        let mut elapsed = timer(self.batching.within).ok();
        let mut hurried = pin!(Batches::of(&self.list.engine).hurried());
        poll_fn(|cx| {
            // None arrives before it is open: all have left.
            if self.arrivals.poll_recv(cx).is_ready() {
                return Poll::Ready(false);
            }
            let is_formed = Pin::new(&mut self.full).poll(cx).is_ready()
                || hurried.as_mut().poll(cx).is_ready()
                || elapsed.as_mut().is_none_or(|elapsed| elapsed.as_mut().poll(cx).is_ready());
            if is_formed { Poll::Ready(true) } else { Poll::Pending }
        })
        .await
    }

    /// Waits for its turn among the batches of its type.
    async fn turn(&self) -> Option<Slot> {
        let at_once = usize::try_from(J::POLICY.max_running()?.get()).unwrap_or(usize::MAX);
        let mut slot = self.list.engine.slots.queue_for(Key::Type(J::NAME), at_once);
        poll_fn(|cx| slot.poll_granted(cx)).await;
        Some(slot)
    }

    /// Lets nobody else join.
    fn close(&self) {
        let key = key::<J>(&self.list);
        let mut forming = lock(&Batches::of(&self.list.engine).forming);
        let is_this = |batch: &Box<dyn Any + Send>| {
            let batch = batch.downcast_ref::<Forming<J>>();
            batch.is_some_and(|batch| batch.open.same_channel(&self.open.subscribe()))
        };
        let closed = if forming.get(&key).is_some_and(is_this) { forming.remove(&key) } else { None };
        drop(forming);
        drop(closed);
    }

    /// Runs the jobs, unless none of their attempts is left to wait for that.
    async fn attempt(&self, jobs: &[J], attempt: u32) -> JobResult {
        let job = JobRef::new(job_type::<J>(), JobId::next(), attempt);
        let cx = JobContext::new(self.list.clone(), job);
        log_batch(job, jobs.len());
        let run = wrap(&self.list, job, (self.batching.run)(jobs, &cx));
        let mut attempt = pin!(Attempt::unstopped(run, self.list.span(job), None));
        let mut unwanted = pin!(self.open.closed());
        let end = poll_fn(|cx| match attempt.as_mut().poll(cx) {
            Poll::Ready(AttemptEnd::Succeeded(_)) => Poll::Ready(Ok(())),
            Poll::Ready(AttemptEnd::Failed(failed)) => Poll::Ready(Err(failed.0.into_error())),
            Poll::Pending => unwanted.as_mut().poll(cx).map(|()| Err(JobError::msg("its jobs do not wait"))),
        });
        // An error of several jobs does not say which of them it is about.
        end.await.map_err(|error| if jobs.len() > 1 { error.not_fatal() } else { error })
    }
}

/// Returns what tells a type's batch on a runtime.
fn key<J: 'static>(list: &JobList) -> (TypeId, runtime::Id) {
    (TypeId::of::<J>(), list.origin.runtime.id())
}

/// Returns a list of the same runner that belongs to no request.
fn apart(list: &JobList) -> Arc<JobList> {
    let origin = Origin { runtime: list.origin.runtime.clone(), parent: ParentSpan::default(), queued: None };
    JobList::new(list.engine.clone(), origin)
}

/// Runs a job by itself, with the context that it has in a batch. Used by the derive.
///
/// # Errors
///
/// Returns the error of the job.
pub async fn run_alone<J: Deferrable>(job: &J, cx: &JobContext) -> JobResult {
    let Some(batching) = J::BATCH else { return Ok(()) };
    let of_batch = JobRef::new(job_type::<J>(), JobId::next(), cx.attempt());
    let list = Released(apart(cx.list()));
    (batching.run)(slice::from_ref(job), &JobContext::new(list.0.clone(), of_batch)).await
}

/// The list of what a job defers, which starts when this is dropped.
struct Released(Arc<JobList>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.release_now();
    }
}

/// Tells a job that it is given up. Used by the derive.
pub async fn failed_alone<J: Deferrable>(job: &J, cx: &JobContext, error: &JobError) {
    if let Some(batching) = J::BATCH {
        (batching.failed)(job, cx, error).await;
    }
}

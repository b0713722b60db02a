//! The context a job runs in, and what a user puts around its attempts.

use std::{
    any::{TypeId, type_name},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{
    carried::{self, Shared, stored_name},
    error::{CarriedError, JobResult, MissingState},
    event::JobRef,
    future::BoxFuture,
    id::JobId,
    request::RequestInfo,
    response::ResponseInfo,
    state::TypeMap,
};

/// The context a job runs in: its id and attempt, its runner's state, and the request and response it comes from.
///
/// Cloning is cheap: a clone is the same context.
///
/// ```
/// use defer_core::{Job, JobContext, JobResult};
/// use std::{sync::Mutex, time::Duration};
///
/// /// Records what became of each request.
/// struct Visit;
///
/// impl Job for Visit {
///     async fn run(&self, cx: &JobContext) -> JobResult {
///         let (Some(request), Some(response)) = (cx.request(), cx.response()) else {
///             return Ok(()); // deferred outside of a request
///         };
///         let route = request.matched_path().unwrap_or("none");
///         let line = format!("{} {route}: {} after {:?}", request.method(), response.delivery(), response.elapsed());
///         // An error that names the type, if the runner was not given one.
///         let visits = cx.state::<Mutex<Vec<String>>>()?;
///         visits.lock().map_err(|_| defer_core::JobError::msg("a visit panicked"))?.push(line);
///         Ok(())
///     }
/// }
///
/// /// Stops early when the process shuts down.
/// struct Tidy;
///
/// impl Job for Tidy {
///     async fn run(&self, cx: &JobContext) -> JobResult {
///         for _ in 0..1_000 {
///             tokio::select! {
///                 () = cx.shutting_down() => break,
///                 () = tokio::time::sleep(Duration::from_millis(10)) => {} // tidies up one more
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone)]
pub struct JobContext {
    surroundings: Arc<dyn Surroundings>,
    job: JobRef,
}

/// What all jobs of one list see. Hides the list and its runner from the context.
pub(crate) trait Surroundings: Send + Sync {
    fn state(&self) -> &TypeMap;
    fn request(&self) -> Option<&RequestInfo>;
    fn response(&self) -> Option<&ResponseInfo>;
    fn drain(&self) -> &Drain;
    fn arounds(&self) -> &[Around];
    /// Returns a value that the job takes over from its request.
    fn carried(&self, type_id: TypeId) -> Option<Shared>;
    /// Returns what a queue has stored with the job under this name.
    fn stored(&self, name: &str) -> Option<&str>;
    /// Reports that the job has held its thread for this long.
    fn report_stuck(&self, job: JobRef, elapsed: Duration);
}

impl JobContext {
    pub(crate) fn new(surroundings: Arc<dyn Surroundings>, job: JobRef) -> Self {
        Self { surroundings, job }
    }

    /// Returns what runs around the attempt.
    #[inline]
    pub(crate) fn arounds(&self) -> &[Around] {
        self.surroundings.arounds()
    }

    /// Returns the runner's state of this type.
    ///
    /// # Errors
    ///
    /// Returns [`MissingState`], which names the type, if the runner was built without it. `?` converts it into the
    /// job's error.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<&T, MissingState> {
        self.surroundings.state().get()
    }

    /// Returns the request that deferred the job, or `None` for a job deferred outside of a request, and for one that a
    /// queue's worker runs.
    pub fn request(&self) -> Option<&RequestInfo> {
        self.surroundings.request()
    }

    /// Returns how the response to that request ended, or `None` for a job deferred outside of a request, and for one
    /// that a queue's worker runs.
    pub fn response(&self) -> Option<&ResponseInfo> {
        self.surroundings.response()
    }

    /// Returns the job's name.
    pub fn name(&self) -> &'static str {
        self.job.name()
    }

    /// Returns the value of this type that the job takes over from its request: the one that
    /// [`DeferLayer::carry`] names, or that [`Defer::carry`](crate::Defer::carry) was given. A job that comes from a queue has
    /// it too, as it was when the job was stored.
    ///
    /// # Errors
    ///
    /// [`CarriedError::Missing`] if there is none, with the type and what may have been forgotten, and
    /// [`CarriedError::Unreadable`] if the queue has stored it before the type was changed. `?` converts both into the job's
    /// error, so that a job never runs as nobody, or as somebody else.
    ///
    /// [`DeferLayer::carry`]: https://docs.rs/defer-axum/latest/defer_axum/middleware/struct.DeferLayer.html#method.carry
    pub fn carried<T>(&self) -> Result<T, CarriedError>
    where
        T: Clone + DeserializeOwned + Send + Sync + 'static,
    {
        let stored = self.surroundings.stored(&stored_name(type_name::<T>()));
        carried::find(self.surroundings.carried(TypeId::of::<T>()), stored)
    }

    pub(crate) fn report_stuck(&self, elapsed: Duration) {
        self.surroundings.report_stuck(self.job, elapsed);
    }

    /// Returns the job's id, which is the same in each attempt.
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// Returns the number of this attempt, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.job.attempt
    }

    /// Waits until the runner begins to shut down. Completes at once if it has begun.
    ///
    /// Use it in a long job, with `select!`, to stop at a good place before the deadline stops the job anywhere.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped, it loses nothing.
    pub async fn shutting_down(&self) {
        self.surroundings.drain().begun().await;
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("name", &self.job.name())
            .field("id", &self.job.id)
            .field("attempt", &self.job.attempt)
            .finish_non_exhaustive()
    }
}

/// What a user puts around each attempt.
pub(crate) type Around =
    Box<dyn for<'a> Fn(&'a JobContext, Next<'a>) -> BoxFuture<'a, JobResult> + Send + Sync>;

/// The rest of an attempt: the job, or what else is [around](crate::RunnerBuilder::around) it. Await it, to run it.
#[must_use = "the job runs when this is awaited"]
pub struct Next<'a>(pub(crate) BoxFuture<'a, JobResult>);

impl Future for Next<'_> {
    type Output = JobResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobResult> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

/// Whether a runner is shut down, or soon will be.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
}

/// Each follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// A shutdown was announced.
    Closing,
    /// It has begun.
    Draining,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Open) }
    }

    pub(crate) fn announce(&self) {
        self.enter(Phase::Closing);
    }

    pub(crate) fn begin(&self) {
        self.enter(Phase::Draining);
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.phase.borrow() >= Phase::Closing
    }

    pub(crate) async fn closing(&self) {
        self.reached(Phase::Closing).await;
    }

    async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let is_later = phase > *now;
            *now = phase.max(*now);
            is_later
        });
    }

    async fn reached(&self, phase: Phase) {
        // An error means that the sender is gone, and it is borrowed here.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

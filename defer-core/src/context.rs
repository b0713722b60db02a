//! What a job is told when it runs.

use std::{fmt, sync::Arc};

use crate::{
    error::MissingState,
    exchange::{RequestInfo, ResponseInfo},
    job::JobId,
    state::State,
};

/// What a job is told when it runs: its id and attempt, the state its runner holds, and the request and response
/// it comes from.
///
/// A clone is the same context and costs a reference count.
///
/// ```
/// use defer_core::{Job, JobContext, JobResult};
/// use std::{sync::Mutex, time::Duration};
///
/// /// Notes what became of each request.
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
/// /// Stops early when the process is to end.
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
    id: JobId,
    attempt: u32,
}

/// Where a job's context finds what is not its own. Hides from jobs who runs them.
pub(crate) trait Surroundings: Send + Sync {
    fn state(&self) -> &State;
    fn request(&self) -> Option<&RequestInfo>;
    fn response(&self) -> Option<&ResponseInfo>;
    fn drain(&self) -> &Drain;
}

impl JobContext {
    pub(crate) fn new(surroundings: Arc<dyn Surroundings>, id: JobId, attempt: u32) -> Self {
        Self { surroundings, id, attempt }
    }

    /// The state of this type.
    ///
    /// # Errors
    ///
    /// [`MissingState`], which names the type, if the runner was built without it. `?` turns it into the job's
    /// error.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<&T, MissingState> {
        self.surroundings.state().get()
    }

    /// The request that deferred the job; `None` for a job deferred outside of a request.
    pub fn request(&self) -> Option<&RequestInfo> {
        self.surroundings.request()
    }

    /// How the response to that request ended; `None` for a job deferred outside of a request.
    pub fn response(&self) -> Option<&ResponseInfo> {
        self.surroundings.response()
    }

    /// The job's id, the same in each attempt.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Completes when the runner begins to shut down, at once if it has begun. A long job can `select!` on it and
    /// stop at a good place, before it is stopped at any.
    ///
    /// Cancel safe.
    pub async fn shutting_down(&self) {
        self.surroundings.drain().begun().await;
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// Whether a runner has begun to shut down.
#[derive(Debug)]
pub(crate) struct Drain {
    begun: tokio::sync::watch::Sender<bool>,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self { begun: tokio::sync::watch::Sender::new(false) }
    }

    pub(crate) fn begin(&self) {
        self.begun.send_replace(true);
    }

    async fn begun(&self) {
        // The sender is borrowed here, so that it cannot be gone.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }
}

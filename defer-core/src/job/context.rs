//! The context of a job.

use std::{
    any::{TypeId, type_name},
    fmt,
    future::pending,
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    list::list::JobList,
    model::{
        error::{ExtensionError, MissingState},
        extensions::{self, stored_name},
        id::JobId,
        job_type::JobRef,
        progress::{Progress, ProgressError},
        request::RequestInfo,
        response::ResponseInfo,
    },
};

/// The context of a job: its id and attempt, its runner's state, and the request and response that it comes from.
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
    list: Arc<JobList>,
    job: JobRef,
}

impl JobContext {
    #[inline]
    pub(crate) fn new(list: Arc<JobList>, job: JobRef) -> Self {
        Self { list, job }
    }

    pub(crate) fn list(&self) -> &JobList {
        &self.list
    }

    pub(crate) fn job(&self) -> JobRef {
        self.job
    }

    /// Returns the runner's state of this type.
    ///
    /// # Errors
    ///
    /// Returns [`MissingState`] if the runner was built without it. The error names the missing type and the types that the
    /// runner has. `?` converts it into the job's error.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<&T, MissingState> {
        self.list.engine.config.state.require()
    }

    /// Returns the request that deferred the job, or `None` if the job was deferred outside a request. If the job comes from a
    /// queue, the request has only the method and the matched path, which also replaces the URI; it has no headers and no
    /// query.
    pub fn request(&self) -> Option<&RequestInfo> {
        self.list.request()
    }

    /// Returns how the response to that request ended, or `None` if the job was deferred outside a request or stored without a
    /// response. After a crash of the process that answered, the delivery is [`Unknown`](crate::Delivery::Unknown).
    pub fn response(&self) -> Option<&ResponseInfo> {
        self.list.response()
    }

    /// Returns the job's name.
    pub fn name(&self) -> &'static str {
        self.job.name()
    }

    /// Returns the extension of this type that the job takes from its request. [`DeferLayer::capture_extension`] captures
    /// extensions, and [`Defer::insert_extension`](crate::Defer::insert_extension) sets them. A job that comes from a queue has
    /// them too, as they were when the job was stored.
    ///
    /// # Errors
    ///
    /// [`ExtensionError::Missing`] if there is none; the error names the type and the step that may have been forgotten.
    /// [`ExtensionError::Unreadable`] if the type has changed since the queue stored it. `?` converts both into the job's
    /// error, so a job never runs without its user or tenant, or for another one.
    ///
    /// [`DeferLayer::capture_extension`]: https://docs.rs/defer-axum/latest/defer_axum/middleware/struct.DeferLayer.html#method.capture_extension
    pub fn extension<T>(&self) -> Result<T, ExtensionError>
    where
        T: Clone + DeserializeOwned + Send + Sync + 'static,
    {
        let type_id = TypeId::of::<T>();
        // The handler's values are newer than the layer's, so they come first.
        let from_handler =
            self.list.lock().extensions.as_ref().and_then(|extensions| extensions.get(type_id));
        let captured = || self.list.request()?.extensions()?.get(type_id);
        let queued = self.list.origin.queued.as_ref();
        let stored = queued.and_then(|metadata| metadata.get(&stored_name(type_name::<T>())));
        extensions::find(from_handler.or_else(captured), stored.map(String::as_str))
    }

    /// Returns the job's id. It is the same in every attempt.
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// Returns the number of this attempt, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.job.attempt
    }

    /// Waits until cancellation is requested, with [`Runner::cancel`](crate::Runner::cancel) or through the queue. Completes
    /// immediately if it was requested already.
    ///
    /// A job does not have to call this: it is dropped at its next `.await` in any case. If it waits here, it is woken and
    /// polled once more before that, and can do anything that needs no `.await`. A [blocking](crate::Policy::with_blocking) job
    /// cannot be dropped, and stops only if it checks this.
    ///
    /// Never completes if the job has ended in another way.
    ///
    /// ```
    /// use defer_core::{Job, JobContext, JobError, JobResult};
    ///
    /// struct Export;
    ///
    /// impl Job for Export {
    ///     async fn run(&self, cx: &JobContext) -> JobResult {
    ///         let write = async {
    /// #           tokio::task::yield_now().await;
    ///             // ..
    ///             Ok(())
    ///         };
    ///         tokio::select! {
    ///             written = write => written,
    ///             () = cx.cancelled() => {
    ///                 let _ = std::fs::remove_file("export.part");
    ///                 Err(JobError::msg("cancelled")) // it ends as cancelled, and is not tried again
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped, it loses nothing.
    pub async fn cancelled(&self) {
        match self.list.cancellation(self.job.id) {
            Some(cancellation) => cancellation.cancelled().await,
            None => pending().await,
        }
    }

    /// Reports the job's progress to callers of [`Runner::status`](crate::Runner::status) and
    /// [`Runner::watch`](crate::Runner::watch). The last value stays until the attempt ends.
    ///
    /// The value is serialized as JSON of at most 4 KiB: a number, a struct, a line of text. A runner that neither [keeps
    /// outcomes](crate::RunnerBuilder::keep_outcomes) nor has a queue that holds jobs ignores it, without serializing the
    /// value. Such a queue stores the progress of a durable job at its own pace: the queue of `defer-sqlx` at most once a
    /// second.
    ///
    /// Has no effect once the attempt has ended.
    ///
    /// ```
    /// use defer_core::{Job, JobContext, JobResult};
    ///
    /// struct Import {
    ///     lines: Vec<String>,
    /// }
    ///
    /// #[derive(serde::Serialize)]
    /// struct Done {
    ///     done: usize,
    ///     of: usize,
    /// }
    ///
    /// impl Job for Import {
    ///     async fn run(&self, cx: &JobContext) -> JobResult {
    ///         for (at, line) in self.lines.iter().enumerate() {
    ///             // ..
    ///             cx.set_progress(Done { done: at + 1, of: self.lines.len() })?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProgressError`] if the value cannot be serialized, or is too long. The previous value stays.
    pub fn set_progress(&self, value: impl Serialize) -> Result<(), ProgressError> {
        let engine = &self.list.engine;
        let (outcomes, stores) = (engine.outcomes(), self.list.stores_progress());
        if outcomes.is_none() && !stores {
            return Ok(());
        }
        let progress = Progress::of(&value)?;
        if stores {
            self.list.store_progress(self.job, &progress);
        }
        if let Some(outcomes) = outcomes {
            outcomes.progressed(self.job, progress);
        }
        Ok(())
    }

    /// Waits until the runner begins to shut down. Completes immediately if it has begun already.
    ///
    /// Use it in a long job, with `select!`, to stop at a point of your choice before the deadline stops the job at an
    /// arbitrary one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if dropped, it loses nothing.
    pub async fn shutting_down(&self) {
        self.list.engine.shutdown.begun().await;
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

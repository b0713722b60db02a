//! Builds a runner.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "metrics")]
use super::queue_gauges::QueueGauges;
use super::runner::Runner;
#[cfg(feature = "testing")]
use crate::list::recording::Recording;
#[cfg(feature = "metrics")]
use crate::observe::meter::{self, Meter};
#[cfg(feature = "opentelemetry")]
use crate::observe::span::SpanRelation;
use crate::{
    job::{
        context::JobContext,
        job::Deferrable,
        middleware::{Middleware, Next},
        watchdog::Watchdog,
    },
    list::{
        current::outside,
        engine::{Config, Overflow},
    },
    model::error::{GlobalRunnerExists, JobResult},
    observe::{
        event::JobEvent,
        hooks::{Hook, Observer},
        outcomes::Outcomes,
    },
    primitives::BoxFuture,
    run::batch::Batches,
    store::{OnQueueFailure, Queue},
};

impl Runner {
    /// Returns a builder, to set state, bounds and hooks.
    pub fn builder() -> RunnerBuilder {
        RunnerBuilder::default()
    }

    /// Adds a hook to an existing runner, like [`RunnerBuilder::on_event`]. The hook is called for all later events and lives
    /// as long as the runner. If it refers to a value that may end earlier, let it hold a [`Weak`] pointer.
    ///
    /// [`Weak`]: std::sync::Weak
    pub fn on_event(&self, hook: impl Fn(&JobEvent) + Send + Sync + 'static) {
        self.engine.config.hooks.add(isolated(hook));
    }

    /// Names a job type, like [`RunnerBuilder::job`], for a queue's worker.
    pub fn add_job<J: Deferrable>(&self) {
        #[cfg(feature = "metrics")]
        self.engine.config.types.add(J::NAME, J::POLICY.is_queued());
    }

    /// Adds a hook that costs little, for the dashboard.
    #[doc(hidden)]
    pub fn observe(&self, observer: impl Observer) {
        self.engine.config.hooks.add(Hook::Observer(Box::new(observer)));
    }
}

/// Calls a hook outside any scope. Inside one, a hook that defers a job at the end of each job would also receive the end of that
/// job, and would defer forever.
fn isolated(hook: impl Fn(&JobEvent) + Send + Sync + 'static) -> Hook {
    Hook::OnEvent(Box::new(move |event| outside(|| hook(event))))
}

impl Default for Runner {
    fn default() -> Self {
        Self::builder().build()
    }
}

/// Builds a [`Runner`].
#[derive(Default)]
pub struct RunnerBuilder {
    config: Config,
    middleware: Middleware,
}

impl RunnerBuilder {
    /// Adds a value that jobs access by its type, with [`JobContext::state`](crate::JobContext::state). A second value of the
    /// same type replaces the first.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.config.state.insert(value);
        self
    }

    /// Names a job type, so that its [metrics](crate::metrics) exist before its first job. Otherwise an alert may miss its
    /// first failure. A worker names the types that it takes. Does nothing without the feature `metrics`.
    ///
    /// ```
    /// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, Runner};
    /// # struct SendWelcome;
    /// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
    /// # impl Deferrable for SendWelcome { const NAME: &'static str = "SendWelcome"; const POLICY: Policy = Policy::new(); }
    /// let runner = Runner::builder().job::<SendWelcome>().build();
    /// ```
    #[must_use]
    pub fn job<J: Deferrable>(self) -> Self {
        #[cfg(feature = "metrics")]
        self.config.types.add(J::NAME, J::POLICY.is_queued());
        self
    }

    /// Sets how many jobs may run at the same time (1024 by default; at least 1). One request's jobs run one after another,
    /// so this also bounds how many requests have a running job.
    #[must_use]
    pub fn max_running(mut self, jobs: usize) -> Self {
        self.config.max_running = jobs.max(1);
        self
    }

    /// Sets how many jobs may wait (65,536 by default; at least 1): those whose response is over but that have not started,
    /// and those in the backoff between two attempts. A job that waits after [`retry_after`](crate::JobError::retry_after) or
    /// [`snooze`](crate::JobError::snooze) does not count.
    #[must_use]
    pub fn max_pending(mut self, jobs: usize) -> Self {
        self.config.max_pending = jobs.max(1);
        self
    }

    /// Sets what happens when `max_pending` jobs wait: [`Overflow::Wait`] by default.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.config.overflow = overflow;
        self
    }

    /// Adds a hook that is called for each event of each job, on the thread where it happens, so a slow hook delays the request
    /// or the job. [`Stuck`](crate::event::JobEventKind::Stuck) is reported from the watchdog's thread. Call it again to add
    /// another hook.
    ///
    /// A panic in a hook is logged and has no other effect. A job that a hook defers runs on [`Runner::global`].
    ///
    /// ```
    /// use defer_core::{Runner, event::JobEventKind};
    ///
    /// let runner = Runner::builder()
    ///     .on_event(|event| match event.kind() {
    ///         JobEventKind::Failed { error, .. } => eprintln!("{} {}: {error}", event.name(), event.id()),
    ///         JobEventKind::Skipped => println!("{} was skipped", event.name()),
    ///         _ => {}
    ///     })
    ///     .build();
    /// ```
    #[must_use]
    pub fn on_event(self, hook: impl Fn(&JobEvent) + Send + Sync + 'static) -> Self {
        self.config.hooks.add(isolated(hook));
        self
    }

    /// Wraps every attempt of every job in middleware, like middleware around a handler: to set up context, to measure, or to
    /// refuse to run. Call it again to add another one inside the first.
    ///
    /// `next.await` runs the job; without it, the job does not run. The attempt ends with the result that the middleware
    /// returns. A panic of the job arrives as an error with the panic's message, for which
    /// [`is_panic`](crate::JobError::is_panic) returns true. If you return that error, the attempt counts as panicked. The
    /// job's timeout includes the middleware, and a panic of the middleware counts as a panic of the attempt.
    ///
    /// Middleware does not wrap [`Job::failed`](crate::Job::failed). It costs some allocations for each attempt. A runner
    /// without middleware pays nothing.
    ///
    /// ```
    /// use defer_core::{Runner, defer_fn, scope};
    ///
    /// tokio::task_local! {
    ///     static LOCALE: &'static str;
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let runner = Runner::builder()
    ///     .around(|cx, next| Box::pin(async move {
    ///         let result = LOCALE.scope("de", next).await;
    ///         if let Err(error) = &result {
    ///             eprintln!("{}, attempt {}: {error}", cx.name(), cx.attempt());
    ///         }
    ///         result
    ///     }))
    ///     .build();
    /// scope(&runner, async { defer_fn(|_| async { assert_eq!(LOCALE.get(), "de") }); }).await;
    /// runner.idle().await;
    /// assert_eq!(runner.stats().succeeded, 1);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Its future is dropped together with the job's: when the attempt times out, and at the end of a shutdown.
    #[must_use]
    pub fn around(
        mut self,
        around: impl for<'a> Fn(&'a JobContext, Next<'a>) -> BoxFuture<'a, JobResult> + Send + Sync + 'static,
    ) -> Self {
        self.middleware.0.push(Box::new(around));
        self
    }

    /// Reports each job that blocks its thread for longer than this without yielding: with
    /// [`JobEventKind::Stuck`](crate::event::JobEventKind::Stuck) and a line in the log at the level WARN. Nothing can stop such a
    /// job, not even its timeout.
    ///
    /// A runner without this pays nothing. With it, each attempt allocates, each poll of a job takes a lock twice and reads the
    /// clock once, and a thread checks the jobs periodically. Jobs on the blocking pool may block and are not watched; neither
    /// is [`Job::failed`](crate::Job::failed).
    ///
    /// ```
    /// # use defer_core::Runner;
    /// # use std::time::Duration;
    /// let runner = Runner::builder().stuck_after(Duration::from_secs(5)).build();
    /// ```
    #[must_use]
    pub fn stuck_after(mut self, limit: Duration) -> Self {
        self.config.parts.insert(Arc::new(Watchdog::new(limit)));
        self.config.wraps_attempts = true;
        self
    }

    /// Keeps the status of each job that has not ended, and of this many ended jobs, for [`Runner::status`]. A runner without
    /// this pays nothing. Each ended job takes about 100 bytes, and up to 1 KiB more if it failed.
    #[must_use]
    pub fn keep_outcomes(mut self, ended: usize) -> Self {
        self.config.parts.insert(Arc::new(Outcomes::new(ended)));
        self
    }

    /// Makes the span of each job a child of its request's span in OpenTelemetry, instead of a linked trace of its own.
    /// Requires the feature `opentelemetry`.
    ///
    /// A sampler that follows the parent then keeps jobs together with their requests. A trace lasts longer than its request:
    /// it ends with the last job, which may be a durable one that another process runs tomorrow.
    #[cfg(feature = "opentelemetry")]
    #[must_use]
    pub fn child_spans(mut self) -> Self {
        self.config.span_relation = SpanRelation::Child;
        self
    }

    /// Sets the queue for jobs of `#[defer(queue)]` types.
    #[must_use]
    pub fn queue(mut self, queue: impl Queue) -> Self {
        self.config.queue = Some(Arc::new(queue));
        self
    }

    /// Sets how long a push to the queue may take: 5 s by default. Jobs whose push takes longer run in this process, and the
    /// response no longer waits for them.
    #[must_use]
    pub fn push_timeout(mut self, timeout: Duration) -> Self {
        self.config.push_timeout = timeout;
        self
    }

    /// Sets what happens to a request whose durable jobs cannot be stored: [`OnQueueFailure::RunHere`] by default.
    #[must_use]
    pub fn on_queue_failure(mut self, then: OnQueueFailure) -> Self {
        self.config.on_queue_failure = then;
        self
    }

    /// Makes the runner keep its lists in `recording` instead of running them.
    #[cfg(feature = "testing")]
    pub(crate) fn recording(mut self, recording: &Arc<Recording>) -> Self {
        self.config.parts.insert(Arc::downgrade(recording));
        self.config.is_recording = true;
        self
    }

    /// Builds the runner and installs it as [`Runner::global`]. Use it for jobs that need state and are deferred outside a
    /// request: in a timer, a message consumer, a callback or a thread. Call it once, before anything uses the global runner.
    ///
    /// ```
    /// use defer_core::{Runner, defer_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runner = Runner::builder().state(String::from("Ada")).install_global()?;
    /// // No request, no scope: it runs at once, on the runner above.
    /// defer_fn(|cx| async move {
    ///     println!("welcome, {}", cx.state::<String>()?);
    ///     Ok(())
    /// });
    /// runner.idle().await;
    /// assert_eq!(runner.stats().succeeded, 1);
    /// assert!(Runner::builder().install_global().is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`GlobalRunnerExists`] if there is a global runner already, installed or created by its first use. The builder
    /// is dropped.
    pub fn install_global(self) -> Result<Runner, GlobalRunnerExists> {
        let runner = self.build();
        if runner.install() { Ok(runner) } else { Err(GlobalRunnerExists) }
    }

    /// Builds the runner.
    pub fn build(self) -> Runner {
        let Self { mut config, middleware } = self;
        if let Some(outcomes) = config.parts.get::<Arc<Outcomes>>().cloned() {
            config.hooks.add(Hook::OnEvent(Box::new(move |event| outcomes.note(event))));
        }
        #[cfg(feature = "metrics")]
        {
            meter::describe();
            // Creates the series of types that were named before.
            config.types.create_again();
            config.hooks.add(Hook::Observer(Box::new(Isolated(Meter(config.types.clone())))));
            if config.queue.is_some() {
                config.parts.insert(Arc::new(QueueGauges::new(config.types.clone())));
            }
        }
        config.parts.insert(Batches::default());
        if !middleware.0.is_empty() {
            config.parts.insert(middleware);
            config.wraps_attempts = true;
        }
        Runner::new(config)
    }
}

/// Calls an observer outside any scope, because it calls user code.
#[cfg(feature = "metrics")]
struct Isolated<O>(O);

#[cfg(feature = "metrics")]
impl<O: Observer> Observer for Isolated<O> {
    fn observe(&self, report: &crate::observe::hooks::Report<'_>) {
        outside(|| self.0.observe(report));
    }
}

impl fmt::Debug for RunnerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerBuilder")
            .field("state", &self.config.state)
            .field("max_running", &self.config.max_running)
            .field("max_pending", &self.config.max_pending)
            .field("overflow", &self.config.overflow)
            .finish_non_exhaustive()
    }
}

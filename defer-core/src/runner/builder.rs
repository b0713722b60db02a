//! What a runner is made of.

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use slab::Slab;

#[cfg(feature = "testing")]
use super::batch::Batch;
use super::{
    Inner, Recorded, Runner,
    event::{Hook, JobEvent},
    gate::Gate,
    room::Room,
    stats::Counters,
};
use crate::{context::Drain, error::GlobalRunnerExists, queue::Queue, state::State};

/// What happens when `max_pending` jobs are waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The response that deferred jobs is held back until there is room for them: the clients wait, nothing is lost.
    ///
    /// Responses that are let through at the same time may together bring more jobs than there is room for; those that
    /// follow are held the longer. Of one request no more jobs count than there is room for, so that it does not keep the
    /// others out. A response to a request that a job makes in this process is never held, and neither
    /// is a scope that a job opens: the room could be the job's own. That is known by the scope, so run a future that
    /// a job gives to `tokio::spawn` in [`Defer::scope`](crate::Defer::scope). A job that calls this process over
    /// the network is not recognized.
    #[default]
    Wait,
    /// The jobs that find no room when their response is over are dropped, the newest first, each with an event.
    Shed,
}

/// Makes a [`Runner`].
pub struct RunnerBuilder {
    state: State,
    hooks: Vec<Hook>,
    queue: Option<Arc<dyn Queue>>,
    max_running: usize,
    max_pending: usize,
    overflow: Overflow,
    recorded: Option<Recorded>,
}

impl RunnerBuilder {
    /// Gives jobs a value that they find by its type, with [`JobContext::state`](crate::JobContext::state). A second
    /// value of the same type replaces the first.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state.insert(value);
        self
    }

    /// How many jobs run at the same time (1024 unless set; at least 1). A request's jobs run one after another, so
    /// this is also how many requests' jobs run at the same time.
    #[must_use]
    pub fn max_running(mut self, jobs: usize) -> Self {
        self.max_running = jobs.max(1);
        self
    }

    /// How many jobs wait (65,536 unless set; at least 1): those whose response is over and that have not started, and
    /// those between two attempts.
    #[must_use]
    pub fn max_pending(mut self, jobs: usize) -> Self {
        self.max_pending = jobs.max(1);
        self
    }

    /// What happens when `max_pending` jobs wait: [`Overflow::Wait`] unless set.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Calls `hook` at each step of each job, on the thread where it happens: a slow hook holds up the request or
    /// the job. May be given several times.
    ///
    /// A hook that panics is logged, and nothing else comes of it.
    ///
    /// ```
    /// use defer_core::{JobEventKind, Runner};
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
    pub fn on_event(mut self, hook: impl Fn(&JobEvent) + Send + Sync + 'static) -> Self {
        self.hooks.push(Box::new(hook));
        self
    }

    /// Where jobs of a `#[defer(queue)]` type go.
    #[must_use]
    pub fn queue(mut self, queue: impl Queue) -> Self {
        self.queue = Some(Arc::new(queue));
        self
    }

    #[cfg(feature = "testing")]
    pub(crate) fn recording(mut self, list: &Arc<Mutex<Vec<Arc<Batch>>>>) -> Self {
        self.recorded = Some(Arc::downgrade(list));
        self
    }

    /// Makes the runner, and installs it as [`Runner::global`]: for jobs that are deferred outside of a request, such as
    /// in a ticker, a consumer, a callback or on a thread, and that need state. Once, before the first use.
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
    /// [`GlobalRunnerExists`] if there is one, installed or made by its first use. The builder is dropped.
    pub fn install_global(self) -> Result<Runner, GlobalRunnerExists> {
        let runner = self.build();
        super::GLOBAL.set(runner.clone()).map_err(|_| GlobalRunnerExists)?;
        Ok(runner)
    }

    /// Makes the runner.
    pub fn build(self) -> Runner {
        Runner {
            inner: Arc::new(Inner {
                state: self.state,
                hooks: self.hooks,
                queue: self.queue,
                // A recorder keeps what finds no room.
                overflow: if self.recorded.is_some() { Overflow::Wait } else { self.overflow },
                gate: Gate::new(self.max_running),
                room: Room::new(self.max_pending),
                counters: Counters::default(),
                drain: Drain::new(),
                register: Mutex::new(Slab::new()),
                recorded: self.recorded,
                ushered: AtomicBool::new(false),
            }),
        }
    }
}

impl Default for RunnerBuilder {
    fn default() -> Self {
        Self {
            state: State::default(),
            hooks: Vec::new(),
            queue: None,
            max_running: 1024,
            max_pending: 65_536,
            overflow: Overflow::default(),
            recorded: None,
        }
    }
}

impl fmt::Debug for RunnerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerBuilder")
            .field("state", &self.state)
            .field("max_running", &self.max_running)
            .field("max_pending", &self.max_pending)
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}

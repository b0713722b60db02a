//! What a runner is made of.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use slab::Slab;

use super::{
    Inner, Runner,
    event::{Hook, JobEvent},
    limits::{Gate, Overflow, Room},
    stats::Counters,
};
use crate::{context::Drain, queue::Queue, state::State};

/// Makes a [`Runner`].
pub struct RunnerBuilder {
    state: State,
    hooks: Vec<Hook>,
    queue: Option<Arc<dyn Queue>>,
    max_running: usize,
    max_pending: usize,
    overflow: Overflow,
    recording: bool,
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

    /// How many jobs wait (65,536 unless set; at least 1): those whose response is under way or over and that have
    /// not started, and those between two tries.
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
    pub(crate) fn recording(mut self) -> Self {
        self.recording = true;
        self
    }

    /// Makes the runner.
    pub fn build(self) -> Runner {
        Runner {
            inner: Arc::new(Inner {
                state: self.state,
                hooks: self.hooks,
                queue: self.queue,
                overflow: self.overflow,
                gate: Gate::new(self.max_running),
                room: Room::new(self.max_pending),
                counters: Counters::default(),
                drain: Drain::new(),
                register: Mutex::new(Slab::new()),
                recorded: self.recording.then(Mutex::default),
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
            recording: false,
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

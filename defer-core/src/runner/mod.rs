//! The runner: runs the jobs of requests that are over.
//!
//! One request's jobs run one after another, in the order deferred; those of different requests at the same time,
//! up to [`max_running`](RunnerBuilder::max_running). An error, a panic or a time-out of one job touches no other.

mod admission;
mod attempt;
mod backoff;
mod batch;
mod builder;
mod event;
mod gate;
mod line;
mod room;
mod shutdown;
mod stats;
mod worker;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, Weak, atomic::AtomicBool},
};

use slab::Slab;

#[cfg(feature = "testing")]
pub(crate) use self::line::RecordedJob;
pub(crate) use self::{
    batch::{Batch, Origin},
    line::{AsyncJob, BlockingJob, Once, Work},
};
pub use self::{
    builder::{Overflow, RunnerBuilder},
    event::{JobEvent, JobEventKind},
    shutdown::{ShutdownReport, UnfinishedJob},
    stats::Stats,
};
use self::{event::Hook, gate::Gate, room::Room, stats::Counters};
use crate::{context::Drain, queue::Queue, state::State, sync::lock};

/// Runs deferred jobs: bounded, each isolated from the others' errors and panics, and every one accounted for.
///
/// A clone is the same runner. Jobs run on the Tokio runtime of the request that deferred them; the runner has no
/// threads or tasks of its own, and an idle one costs nothing.
///
/// Compared with `tokio::spawn` in a handler, a job here starts when the response is over, is known to
/// [`stats`](Self::stats) and [`on_event`](RunnerBuilder::on_event) from its deferral to its end, may be tried
/// again, and is waited for by [`shutdown`](Self::shutdown). Take `tokio::spawn` for work that the response itself
/// waits for, for work that is to start at once whatever the load, and for tasks that live as long as the process.
///
/// ```
/// use defer_core::{Runner, defer_fn, scope};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runner = Runner::builder().state(String::from("Ada")).build();
/// scope(&runner, async {
///     defer_fn(|cx| async move {
///         println!("welcome, {}", cx.state::<String>()?);
///         Ok(())
///     });
///     println!("this comes first");
/// })
/// .await;
/// runner.idle().await;
/// assert_eq!(runner.stats().succeeded, 1);
/// # }
/// ```
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

struct Inner {
    state: State,
    hooks: Vec<Hook>,
    queue: Option<Arc<dyn Queue>>,
    overflow: Overflow,
    gate: Gate<Arc<Batch>>,
    room: Room,
    counters: Counters,
    drain: Drain,
    /// Every batch there is, for a shutdown to find what is left.
    register: Mutex<Slab<Weak<Batch>>>,
    /// A recorder's: batches are kept and not run.
    recorded: Option<Recorded>,
    /// There is a task that lets held responses through.
    ushered: AtomicBool,
}

/// The batches that a recorder keeps. They know their runner, and so it is the recorder that keeps them alive.
type Recorded = Weak<Mutex<Vec<Arc<Batch>>>>;

static GLOBAL: OnceLock<Runner> = OnceLock::new();

impl Runner {
    /// A runner to be given state, bounds and hooks.
    pub fn builder() -> RunnerBuilder {
        RunnerBuilder::default()
    }

    /// The process-wide runner: what `DeferLayer::default()` and calls outside of a scope use. One without state, unless
    /// [`RunnerBuilder::install_global`] has installed another.
    pub fn global() -> Self {
        GLOBAL.get_or_init(Self::default).clone()
    }

    /// How many jobs are where.
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot()
    }

    /// Waits until every job deferred so far, and every one that those defer, has ended. A job of a request whose
    /// response is not over counts.
    ///
    /// Cancel safe.
    pub async fn idle(&self) {
        self.inner.counters.idle().await;
    }

    pub(crate) fn state(&self) -> &State {
        &self.inner.state
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.inner.overflow
    }

    pub(crate) fn drain(&self) -> &Drain {
        &self.inner.drain
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.inner.recorded.is_some()
    }

    fn gate(&self) -> &Gate<Arc<Batch>> {
        &self.inner.gate
    }

    fn room(&self) -> &Room {
        &self.inner.room
    }

    fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    fn hooks(&self) -> &[Hook] {
        &self.inner.hooks
    }

    fn has_hooks(&self) -> bool {
        !self.inner.hooks.is_empty()
    }

    fn queue(&self) -> Option<&dyn Queue> {
        self.inner.queue.as_deref()
    }

    /// Registers a batch, and returns where.
    fn register(&self, batch: &Arc<Batch>) -> usize {
        if let Some(recorded) = self.inner.recorded.as_ref().and_then(Weak::upgrade) {
            lock(&recorded).push(batch.clone());
        }
        let weak = Arc::downgrade(batch);
        lock(&self.inner.register).insert(weak)
    }

    fn unregister(&self, key: usize) {
        lock(&self.inner.register).try_remove(key);
    }

    fn batches(&self) -> Vec<Arc<Batch>> {
        let register = lock(&self.inner.register);
        register.iter().filter_map(|(_, batch)| batch.upgrade()).collect()
    }
}

impl Default for Runner {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("state", &self.inner.state)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

//! Many jobs that wait, and then all run.

use std::{fmt, future::Future, sync::Arc};

use defer_axum::{Runner, defer_fn, scope};
use tokio::{runtime::Runtime, sync::Notify};

use crate::{Case, Way, current_thread, job::Tally};

/// The origin of waiting jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// All are deferred in one scope.
    OneScope,
    /// Each is deferred in its own scope.
    ScopeEach,
    /// They are spawned, not deferred.
    Spawned,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 3] = [Self::OneScope, Self::ScopeEach, Self::Spawned];

    /// Returns this many jobs of this origin.
    pub const fn jobs(self, jobs: u64) -> Crowd {
        Crowd { origin: self, jobs }
    }
}

/// Jobs that will wait.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Their origin.
    pub origin: Origin,
    /// Their number.
    pub jobs: u64,
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.origin, self.jobs)
    }
}

/// A runtime of one thread, and a runner that holds jobs back until it is told to run them.
#[derive(Debug)]
pub struct Pending {
    runtime: Runtime,
    runner: Runner,
    crowd: Crowd,
    tally: &'static Tally,
    open: Arc<Notify>,
}

impl Pending {
    /// Creates the runner. No job is waiting yet.
    pub fn new(crowd: Crowd) -> Self {
        let runtime = current_thread();
        let runner = one_at_a_time(crowd.jobs);
        let open = Arc::new(Notify::new());
        let opened = open.clone();
        runtime.block_on(scope(&runner, async { hold(async move { opened.notified().await }) }));
        let tally = Tally::new();
        tally.expect(crowd.jobs);
        Self { runtime, runner, crowd, tally, open }
    }

    /// Defers or spawns the jobs. None of them runs.
    pub fn add(&mut self) {
        let Self { runtime, runner, crowd: Crowd { origin, jobs }, tally, .. } = self;
        let give = async |way, jobs| Case::new(way, jobs).give(tally);
        runtime.block_on(async {
            match origin {
                Origin::OneScope => scope(&*runner, give(Way::Defer, *jobs)).await,
                Origin::ScopeEach => {
                    for _ in 0..*jobs {
                        scope(&*runner, give(Way::Defer, 1)).await;
                    }
                }
                Origin::Spawned => give(Way::Spawn, *jobs).await,
            }
        });
    }

    /// Runs all waiting jobs.
    pub fn run_off(&mut self) {
        self.open.notify_one();
        self.runtime.block_on(self.tally.all_ran());
    }
}

impl Drop for Pending {
    /// A runner and its waiting jobs hold each other, so they must end first.
    fn drop(&mut self) {
        self.open.notify_one();
        self.runtime.block_on(self.runner.idle());
    }
}

/// Creates a runner with room for this many jobs besides the running one.
pub(crate) fn one_at_a_time(jobs: u64) -> Runner {
    let room = usize::try_from(jobs).unwrap_or(usize::MAX).saturating_add(1);
    Runner::builder().max_running(1).max_pending(room).build()
}

/// Defers the job that keeps the others waiting.
pub(crate) fn hold(until: impl Future<Output = ()> + Send + 'static) {
    defer_fn(|_cx| until);
}

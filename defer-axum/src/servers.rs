//! Keeps the runners that a server drains.
//!
//! A layer knows only the number of the server that polls it. The first request that reaches the layer registers its runner
//! with that server.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use defer_core::Runner;

/// The servers of this process, by their numbers.
static SERVERS: Mutex<Vec<(usize, Weak<Drained>)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runners that a server drains.
pub(crate) struct Drained {
    server: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runners: Vec<Runner>,
    is_announced: bool,
}

impl Drained {
    pub(crate) fn new() -> Arc<Self> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let server = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let drained = Arc::new(Self { server, state: Mutex::default() });
        lock(&SERVERS).push((server, Arc::downgrade(&drained)));
        drained
    }

    /// Returns the number of the server, which is unique in this process and never 0.
    pub(crate) fn server(&self) -> usize {
        self.server
    }

    pub(crate) fn add(&self, runner: Runner) {
        let mut state = lock(&self.state);
        if state.runners.iter().any(|known| known.key() == runner.key()) {
            return;
        }
        state.runners.push(runner.clone());
        let is_announced = state.is_announced;
        drop(state);
        if is_announced {
            runner.announce_shutdown();
        }
    }

    /// Announces the shutdown to all runners, including those added later.
    pub(crate) fn announce(&self) {
        lock(&self.state).is_announced = true;
        self.runners().iter().for_each(Runner::announce_shutdown);
    }

    /// Returns the runners, including the global one if anything has used it by now.
    pub(crate) fn runners(&self) -> Vec<Runner> {
        if let Some(runner) = Runner::global_if_used() {
            self.add(runner);
        }
        lock(&self.state).runners.clone()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        lock(&SERVERS).retain(|(server, _)| *server != self.server);
    }
}

impl fmt::Debug for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&lock(&self.state).runners).finish()
    }
}

/// The servers that know a layer's runner. Each slot keeps only the last one.
#[derive(Debug, Default)]
pub(crate) struct KnownBy([AtomicUsize; 4]);

impl KnownBy {
    /// Registers a layer's runner with a server, the first time.
    #[inline]
    pub(crate) fn tell(&self, server: usize, runner: &Runner) {
        let place = &self.0[server % self.0.len()];
        if server != 0 && place.load(Ordering::Relaxed) != server {
            // Before it is recorded: if two threads find out at once, both register it.
            tell(server, runner);
            place.store(server, Ordering::Relaxed);
        }
    }
}

#[cold]
fn tell(server: usize, runner: &Runner) {
    let drained = {
        let servers = lock(&SERVERS);
        servers.iter().find(|(number, _)| *number == server).and_then(|(_, drained)| drained.upgrade())
    };
    // Dropped after unlocking, because it may be the last reference.
    if let Some(drained) = drained {
        drained.add(runner.clone());
    }
}

//! Lets held responses through a few at a time.

use std::sync::atomic::Ordering;

use tokio::runtime::Handle;

use super::{capacity::Admitted, runner::Runner};

impl Runner {
    /// Gives back the room of this many jobs. `runtime` is where an usher would run.
    #[inline]
    pub(crate) fn give_back_room(&self, jobs: usize, runtime: &Handle) {
        self.usher(self.capacity().give_back(jobs), runtime);
    }

    /// Spawns an usher, if one is needed.
    #[inline]
    pub(crate) fn usher(&self, admitted: Admitted, runtime: &Handle) {
        if admitted == Admitted::MoreSoon {
            self.spawn_usher(runtime);
        }
    }

    #[cold]
    fn spawn_usher(&self, runtime: &Handle) {
        if !self.ushered().swap(true, Ordering::SeqCst) {
            let usher = Usher { runner: self.clone(), done: false };
            drop(runtime.spawn(usher.run()));
        }
    }
}

/// Lets responses through while there is room, with pauses in which the earlier ones can release their jobs.
struct Usher {
    runner: Runner,
    done: bool,
}

impl Usher {
    async fn run(mut self) {
        let runner = &self.runner;
        loop {
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            if runner.capacity().admit() == Admitted::MoreSoon {
                continue;
            }
            runner.ushered().store(false, Ordering::SeqCst);
            // A call may have relied on this usher since.
            if runner.capacity().admit() == Admitted::All || runner.ushered().swap(true, Ordering::SeqCst) {
                break;
            }
        }
        self.done = true;
    }
}

impl Drop for Usher {
    /// The runtime is gone, and the usher with it: lets the responses of other runtimes through all at once.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.runner.ushered().store(false, Ordering::SeqCst);
        while self.runner.capacity().admit() == Admitted::MoreSoon {}
    }
}

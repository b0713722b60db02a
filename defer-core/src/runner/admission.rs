//! Holds a response back until there is room for its jobs, and lets it go at once when they are gone.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use super::{
    Runner,
    batch::Batch,
    room::{Admitted, Place},
};

/// Completes when there is room for the jobs of a batch, when none is left that waits, and when its response is over.
///
/// Cancel safe: it takes no room, and leaves its place to others.
pub(crate) struct Admission {
    batch: Arc<Batch>,
    place: Place,
}

impl Admission {
    pub(crate) fn new(batch: Arc<Batch>) -> Self {
        Self { batch, place: Place::default() }
    }

    fn leave(&mut self) {
        let admitted = self.batch.runner().room().leave(&mut self.place);
        self.batch.ushers(admitted);
    }
}

impl Future for Admission {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let jobs = this.batch.hold(cx.waker());
        if jobs == 0 {
            this.leave();
            return Poll::Ready(());
        }
        let (polled, admitted) = this.batch.runner().room().poll(&mut this.place, jobs, cx);
        this.batch.ushers(admitted);
        polled
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.leave();
        drop(self.batch.let_go());
    }
}

impl Batch {
    /// Gives back the room of this many jobs.
    #[inline]
    pub(super) fn give_back_room(&self, jobs: usize) {
        self.ushers(self.runner().room().give_back(jobs));
    }

    /// Sees to it that those are let through who have to be later.
    #[inline]
    fn ushers(&self, admitted: Admitted) {
        if admitted == Admitted::MoreSoon {
            self.usher();
        }
    }

    #[cold]
    fn usher(&self) {
        if !self.runner().inner.ushered.swap(true, Ordering::SeqCst) {
            let usher = Usher { runner: self.runner().clone(), done: false };
            drop(self.runtime().spawn(usher.run()));
        }
    }
}

/// Lets responses through while there is room, a few at a time, so that those before them can release their jobs.
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
            if runner.room().admit() == Admitted::MoreSoon {
                continue;
            }
            runner.inner.ushered.store(false, Ordering::SeqCst);
            // Somebody may have relied on this usher since.
            if runner.room().admit() == Admitted::All || runner.inner.ushered.swap(true, Ordering::SeqCst) {
                break;
            }
        }
        self.done = true;
    }
}

impl Drop for Usher {
    /// Its runtime is gone, and nobody ushers any more: those of other runtimes are let through all at once.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.runner.inner.ushered.store(false, Ordering::SeqCst);
        while self.runner.room().admit() == Admitted::MoreSoon {}
    }
}

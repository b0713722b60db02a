//! Holds a response until there is room for its jobs, and lets it go at once when they are gone.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::StatusCode;

use super::{list::JobList, push::Pushed};
use crate::{
    attempt::is_in_job,
    runner::{Overflow, capacity::Place},
};

impl JobList {
    /// Does what [`admit`](Self::admit) does if there is nothing to wait for. Returns whether that was so.
    pub fn try_admit(&self) -> bool {
        if self.runner().queue().is_some() && !self.runner().is_recording() && self.has_due() {
            return false;
        }
        if !self.is_bounded() {
            return true;
        }
        let waiting = self.waiting();
        waiting == 0 || self.runner().capacity().has(waiting)
    }

    /// Waits until the queue has the jobs that are for it and the runner has room for the others. Hold the response back
    /// until then.
    ///
    /// `status` is the response's. It decides about jobs that run only after a success. Pass `None` if there will be no
    /// response: every job then runs.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a separate task pushes the jobs all the same.
    pub async fn admit(self: &Arc<Self>, status: Option<StatusCode>) {
        if !self.runner().is_recording() {
            if let Some(push) = self.begin_push(status.map_or(Pushed::AtEnd, Pushed::AtHead)) {
                // An error means that the runtime is stopping. By then the jobs are back in the list.
                let _ = push.await;
            }
        }
        if self.is_bounded() {
            Admission { list: self, place: Place::default() }.await;
        }
    }

    /// Returns whether any job waits to be pushed.
    fn has_due(&self) -> bool {
        self.lock().has_due()
    }

    /// Returns whether the response waits for room. Inside a job it does not, because that may be the very job that has to
    /// end first. Call it where the response is polled, which is inside the job.
    fn is_bounded(&self) -> bool {
        self.runner().overflow() == Overflow::Wait && !is_in_job() && !self.runner().is_recording()
    }
}

/// Completes when there is room for the jobs of a list, when none of them waits any more, or when its response is over.
///
/// Cancel safe: it takes no room, and gives up its place in the queue.
struct Admission<'a> {
    list: &'a JobList,
    place: Place,
}

impl Admission<'_> {
    fn leave(&mut self) {
        let admitted = self.list.runner().capacity().leave(&mut self.place);
        self.list.runner().usher(admitted, self.list.runtime());
    }
}

impl Future for Admission<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Cloned before the lock, and dropped after it.
        let waker = cx.waker().clone();
        let (waiting, _replaced) = this.list.lock().hold(waker);
        if waiting == 0 {
            this.leave();
            return Poll::Ready(());
        }
        let (polled, admitted) = this.list.runner().capacity().poll(&mut this.place, waiting, cx);
        this.list.runner().usher(admitted, this.list.runtime());
        polled
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.leave();
        let held = self.list.lock().let_go();
        drop(held);
    }
}

//! Holds a response until there is room for its jobs, and lets it go at once when they are gone.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::StatusCode;

use super::{
    batch::Hurry,
    push::{PushPoint, begin_push},
};
use crate::{
    limits::capacity::{Admitted, Ticket},
    list::{current::is_in_job, engine::Overflow, list::JobList},
    primitives::BoxFuture,
};

impl JobList {
    /// Admits the jobs like [`admit`](Self::admit), if there is nothing to wait for. Returns whether it did.
    pub fn try_admit(&self) -> bool {
        let engine = &self.engine;
        if engine.queue().is_some() && !engine.config.is_recording && self.lock().state.has_due() {
            return false;
        }
        if !self.waits_for_room() {
            return true;
        }
        let waiting = self.lock().state.waiting_for_room();
        waiting == 0 || engine.capacity.has(waiting)
    }

    /// Waits until the queue has stored the durable jobs and the runner has room for the others. Hold the response until then.
    ///
    /// `status` is the status of the response, which decides about jobs that run only after a success. Pass `None` if there
    /// will be no response: every job then runs.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a separate task pushes the jobs in any case.
    pub async fn admit(self: &Arc<Self>, status: Option<StatusCode>) {
        if !self.engine.config.is_recording {
            if let Some(push) = begin_push(self, status.map_or(PushPoint::End, PushPoint::Head)) {
                // An error means that the runtime is stopping. By then the jobs are back in the list.
                let _ = push.await;
            }
        }
        if self.waits_for_room() {
            Admission { list: self, ticket: Ticket::default(), hurry: None }.await;
        }
    }

    /// Begins to store the durable jobs that are not stored yet, if there are any: those that the body of this response
    /// deferred while it was polled. Hold the frame until the future completes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a separate task stores the jobs in any case.
    #[inline]
    pub fn store(self: &Arc<Self>, status: StatusCode) -> Option<BoxFuture<'static, ()>> {
        self.engine.queue()?;
        self.store_in_queue(status)
    }

    #[cold]
    fn store_in_queue(self: &Arc<Self>, status: StatusCode) -> Option<BoxFuture<'static, ()>> {
        if !self.is_stored() || !self.lock().state.has_due() {
            return None;
        }
        let stored = begin_push(self, PushPoint::Head(status))?;
        // An error means that the runtime is stopping.
        Some(Box::pin(async move { drop(stored.await) }))
    }

    /// Returns whether a queue stores the durable jobs of this list before they start.
    pub fn is_stored(&self) -> bool {
        self.engine.queue().is_some_and(|queue| queue.hold().is_some()) && !self.engine.config.is_recording
    }

    /// Returns whether to replace the response by 503 Service Unavailable, because durable jobs could not be stored. Call this
    /// after the jobs are [admitted](Self::admit).
    pub fn is_refused(&self) -> bool {
        self.lock().is_refused
    }

    /// Returns whether the response waits for room. Inside a job it does not, because that may be the very job that has to
    /// end first. Call it where the response is polled, which is inside the job.
    fn waits_for_room(&self) -> bool {
        let config = &self.engine.config;
        config.overflow == Overflow::Wait && !is_in_job() && !config.is_recording
    }
}

/// Completes when there is room for the jobs of a list, when none of them waits any more, or when its response is over.
///
/// Cancel safe: it takes no room, and gives up its place in the queue.
struct Admission<'a> {
    list: &'a JobList,
    ticket: Ticket,
    /// Jobs that wait for their batch take room.
    hurry: Option<Hurry>,
}

impl Admission<'_> {
    fn leave(&mut self) {
        let admitted = self.list.engine.capacity.leave(&mut self.ticket);
        self.refill(admitted);
    }

    fn refill(&self, admitted: Admitted) {
        self.list.engine.refill(admitted, &self.list.origin.runtime);
    }
}

impl Future for Admission<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Cloned before the lock, and dropped after it.
        let waker = cx.waker().clone();
        let (waiting, _replaced) = this.list.lock().state.hold(waker);
        if waiting == 0 {
            this.leave();
            return Poll::Ready(());
        }
        let (polled, admitted) = this.list.engine.capacity.poll(&mut this.ticket, waiting, cx);
        this.refill(admitted);
        if polled.is_pending() && this.hurry.is_none() {
            this.hurry = Some(Hurry::new(&this.list.engine));
        }
        polled
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.leave();
        let held = self.list.lock().state.let_go();
        drop(held);
    }
}

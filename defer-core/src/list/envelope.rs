//! Creates the envelope of a job for its queue.

use std::{mem, sync::Arc};

use http::StatusCode;

use super::{entry::JobState, list::JobList};
use crate::{
    model::{
        error::JobError,
        metadata::{Metadata, REQUEST_ID, ROUTE},
        request::RequestInfo,
        response::ResponseInfo,
    },
    observe::{event::JobEventKind, hooks::Times},
    store::{Envelope, Lease},
};

impl JobList {
    /// Returns what the queue stores of a job that is on its way there, after its condition was asked.
    pub(crate) fn envelope(self: &Arc<Self>, index: usize) -> Option<Envelope> {
        let question = self.lock().state.ask_push(index)?;
        if let Err(event) = question.map_or(Ok(()), |question| self.ask(question)) {
            self.end_with(&event, |locked, effects| {
                locked.state.end(index, |state| state == JobState::Pushing, effects);
            });
            return None;
        }
        self.passed_envelope(index)
    }

    /// Returns what the queue stores of a job that is on its way there, whose condition is true.
    pub(crate) fn passed_envelope(self: &Arc<Self>, index: usize) -> Option<Envelope> {
        let envelope = self.lock().state.pass_push(index)?;
        self.described(index, envelope)
    }

    /// Returns what the queue stores of a job that is on its way there before its response is over, with its condition.
    pub(crate) fn early_envelope(self: &Arc<Self>, index: usize, status: StatusCode) -> Option<Envelope> {
        let mut envelope = self.lock().state.pushed_envelope(index)?;
        envelope.status = Some(status);
        self.described(index, envelope)
    }

    /// Returns the status of the response, if it is over, for a queue that does not hold jobs. Others learn it by their leases.
    pub(crate) fn status_for_queue(&self) -> Option<StatusCode> {
        let queue = self.engine.queue().filter(|queue| queue.hold().is_none());
        queue.and(self.response()).and_then(ResponseInfo::status)
    }

    /// Adds what is known of the request. If that cannot be stored, the job runs here.
    fn described(self: &Arc<Self>, index: usize, mut envelope: Envelope) -> Option<Envelope> {
        if let Err(error) = self.add_metadata(&mut envelope) {
            // Without the extensions of its request it must not run anywhere else.
            self.push_failed(index, error, false, None);
            return None;
        }
        Some(envelope)
    }

    /// Adds what a queued job takes from its request to what is its own.
    pub(crate) fn add_metadata(&self, envelope: &mut Envelope) -> Result<(), JobError> {
        let own = mem::replace(&mut envelope.metadata, self.metadata()?);
        envelope.metadata.extend(own);
        Ok(())
    }

    fn metadata(&self) -> Result<Metadata, JobError> {
        // A job that a queued job defers comes from the same request.
        let mut metadata = self.origin.queued.as_deref().cloned().unwrap_or_default();
        self.origin.parent.write(&mut metadata);
        if let Some(request) = self.request() {
            metadata.insert(ROUTE.into(), request.route());
            if let Some(id) = request.request_id() {
                metadata.insert(REQUEST_ID.into(), id.into());
            }
        }
        let mut extensions = self.request().and_then(RequestInfo::extensions).cloned().unwrap_or_default();
        let from_handler = self.lock().extensions.as_deref().cloned();
        extensions.extend(from_handler.unwrap_or_default());
        extensions.write(|name, value| drop(metadata.insert(name, value)))?;
        Ok(metadata)
    }

    /// The queue did not take a job, or may not have: it runs in this process, and its lease is told its end.
    pub(crate) fn push_failed(
        self: &Arc<Self>,
        index: usize,
        error: JobError,
        unsure: bool,
        lease: Option<Arc<dyn Lease>>,
    ) {
        let failed = self.lock().state.fail_push(index, unsure, lease, self.bounds());
        let Some((job, returned)) = failed else { return };
        self.report(job, &JobEventKind::QueueFailed { error }, Times::default());
        if returned.is_released {
            // As is done with the others at the release.
            self.claim(index);
        }
        self.go_on(returned);
    }
}

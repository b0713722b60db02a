//! Reports about a list: events, and the state of its jobs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::Method;

use super::list::JobList;
use crate::{
    model::{
        id::JobId,
        job_type::JobRef,
        metadata::{Metadata, REQUEST_ID, ROUTE},
        request::RequestInfo,
        response::ResponseInfo,
    },
    observe::{
        event::{EventRequest, JobEventKind},
        hooks::Times,
        span::{self, JobSpan},
    },
    primitives::timestamp::Timestamp,
};

/// A running job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job's id.
    pub id: JobId,
    /// The job's name.
    pub name: &'static str,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// How long it has been running. `None` if its start was not recorded, because there was neither a hook, nor the feature
    /// `metrics`, nor a `tracing` subscriber for errors.
    pub elapsed: Option<Duration>,
    /// The request that deferred it, by its method and its route's pattern, such as `POST /signup`.
    pub route: Option<String>,
}

impl JobList {
    /// Logs an event and tells all hooks.
    #[inline]
    pub(crate) fn report(&self, job: JobRef, event: &JobEventKind, times: Times) {
        self.engine.config.hooks.report(job, event, times, &|| self.event_request());
    }

    /// Tells the hooks that want every event, of one that is not logged.
    #[cold]
    pub(crate) fn tell(&self, job: JobRef, event: &JobEventKind, wait: impl FnOnce() -> Option<Duration>) {
        self.engine.config.hooks.tell(job, event, wait, &|| self.event_request());
    }

    #[cold]
    fn event_request(&self) -> EventRequest {
        let (request, response) = (self.request(), self.response());
        let (method, matched_path) = match &self.origin.queued {
            Some(metadata) => queued_route(metadata),
            None => {
                (request.map(|request| request.method().clone()), request.and_then(RequestInfo::shared_path))
            }
        };
        EventRequest {
            method,
            matched_path,
            request_id: self.request_id(),
            status: response.and_then(ResponseInfo::status),
            delivery: response.map(ResponseInfo::delivery),
        }
    }

    /// Returns the time, if a hook may want to know how long jobs wait.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        (!self.engine.config.hooks.is_empty()).then(Timestamp::now)
    }

    /// Returns whether a hook or a subscriber may want to know how long an attempt took.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        !self.engine.config.hooks.is_empty() || tracing::enabled!(target: "defer", tracing::Level::ERROR)
    }

    /// Creates the span of an attempt, if anybody listens.
    #[inline]
    pub(crate) fn span(&self, job: JobRef) -> JobSpan {
        if !span::is_listened_to() {
            return JobSpan::NONE;
        }
        let relation = self.engine.config.span_relation;
        span::span_of(job, &self.origin.parent, relation, self.request(), self.origin.queued.as_deref())
    }

    /// Returns the method and the route of the request, such as `POST /signup`, if it is known.
    pub(super) fn route(&self) -> Option<String> {
        let queued = self.origin.queued.as_ref().and_then(|metadata| metadata.get(ROUTE)).cloned();
        queued.or_else(|| self.request().map(RequestInfo::route))
    }

    /// Returns the id of the request, if that header was captured.
    pub(super) fn request_id(&self) -> Option<String> {
        let queued = self.origin.queued.as_ref().and_then(|metadata| metadata.get(REQUEST_ID)).cloned();
        queued.or_else(|| self.request()?.request_id().map(str::to_owned))
    }

    /// Returns since when the oldest job that is ready has been ready.
    pub(crate) fn oldest_ready(&self, now: Timestamp) -> Option<Timestamp> {
        self.lock().state.oldest_ready(now)
    }

    /// Adds the jobs that run to these.
    pub(crate) fn add_running(&self, running: &mut Vec<RunningJob>) {
        // Many lists wait, and few of them have a job that runs.
        let in_attempt: Vec<_> = self.lock().state.in_attempt().collect();
        running.extend(in_attempt.into_iter().map(|(job, started)| RunningJob {
            id: job.id,
            name: job.name(),
            attempt: job.attempt,
            elapsed: started.map(Timestamp::elapsed),
            route: self.route(),
        }));
    }

    /// Counts the jobs that have not ended, by their names.
    pub(crate) fn count_by_name(&self, counts: &mut BTreeMap<&'static str, u64>) {
        self.lock().state.count_by_name(counts);
    }
}

/// Returns the method and the route of the request that a queued job comes from.
fn queued_route(metadata: &Metadata) -> (Option<Method>, Option<Arc<str>>) {
    let Some(route) = metadata.get(ROUTE) else { return (None, None) };
    let (method, path) =
        route.split_once(' ').map_or((&**route, None), |(method, path)| (method, Some(path)));
    (method.parse().ok(), path.map(Arc::from))
}

//! The span of an attempt, and its link to the span that its job comes from.

use std::sync::Arc;

use tracing::{
    Span,
    field::Empty,
    level_filters::LevelFilter,
    span::{Entered, Id},
};

#[cfg(feature = "opentelemetry")]
use super::opentelemetry;
use crate::model::{
    error::JobError,
    job_type::JobRef,
    metadata::{Metadata, REQUEST_ID, ROUTE},
    request::RequestInfo,
};

/// A job's span, if it is enabled. It is a pointer, because a worker always has room for it. Unlike a disabled span, its absence
/// costs one comparison each time, even with the feature `log` of `tracing`.
#[derive(Clone)]
pub(crate) struct JobSpan(Option<Arc<Span>>);

impl JobSpan {
    pub(crate) const NONE: Self = Self(None);

    fn new(span: Span) -> Self {
        Self((!span.is_disabled()).then(|| Arc::new(span)))
    }

    /// Returns the span, if there is one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&Span> {
        self.0.as_deref()
    }

    /// Enters the span until this is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        self.get().map(Span::enter)
    }

    /// Records how the attempt failed, for OpenTelemetry.
    pub(crate) fn record_failure(&self, how: &'static str, error: &JobError) {
        #[cfg(feature = "opentelemetry")]
        if let Some(span) = self.get() {
            opentelemetry::record_failure(span, how, error);
        }
        let _ = (how, error);
    }
}

/// The span in which a list was created, to which the spans of its jobs are linked.
#[derive(Clone, Default)]
pub(crate) struct ParentSpan {
    /// Its id. The span may no longer exist when a job runs, and a subscriber may use the id again: it is not kept open, so that
    /// it does not outlast the request.
    id: Option<Id>,
    /// Its OpenTelemetry context, which stays valid after the span is closed, and in other processes.
    #[cfg(feature = "opentelemetry")]
    context: opentelemetry::Link,
}

impl ParentSpan {
    /// Returns the thread's current span.
    pub(crate) fn current() -> Self {
        if LevelFilter::current() == LevelFilter::OFF {
            return Self::default();
        }
        let span = Span::current();
        Self {
            id: span.id(),
            #[cfg(feature = "opentelemetry")]
            context: opentelemetry::Link::of(&span),
        }
    }

    /// Returns the span that a queued job comes from.
    pub(crate) fn of_queued(metadata: &Metadata) -> Self {
        let _ = metadata;
        Self {
            id: None,
            #[cfg(feature = "opentelemetry")]
            context: opentelemetry::Link::read(metadata),
        }
    }

    /// Adds the data about the span that another process needs.
    pub(crate) fn write(&self, metadata: &mut Metadata) {
        let _ = metadata;
        #[cfg(feature = "opentelemetry")]
        self.context.write(metadata);
    }

    /// Links a span to this one, or makes it a child of it.
    fn link(&self, span: &Span, relation: SpanRelation) {
        #[cfg(feature = "opentelemetry")]
        let is_known = match relation {
            SpanRelation::Link => self.context.add_to(span),
            SpanRelation::Child => self.context.set_as_parent(span),
        };
        #[cfg(feature = "opentelemetry")]
        if is_known {
            return;
        }
        let _ = relation;
        span.follows_from(self.id.clone());
    }
}

/// The relation between the spans of jobs and those of their requests in OpenTelemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SpanRelation {
    /// Each job has its own trace, with a link to the request's span.
    #[default]
    Link,
    /// The job is part of the request's trace.
    #[cfg(feature = "opentelemetry")]
    Child,
}

/// Returns whether the span of an attempt may be enabled. Check this before creating it: with the feature `log` of `tracing`, the
/// macro creates a span for the `log` crate even if nothing is listening.
#[inline]
pub(crate) fn is_listened_to() -> bool {
    LevelFilter::current() >= LevelFilter::INFO
}

/// Creates the span of an attempt, if it is enabled.
#[inline(never)]
pub(crate) fn span_of(
    job: JobRef,
    parent: &ParentSpan,
    relation: SpanRelation,
    request: Option<&RequestInfo>,
    queued: Option<&Metadata>,
) -> JobSpan {
    let span = tracing::info_span!(
        target: "defer",
        "run",
        job = job.name(),
        id = %job.id,
        attempt = job.attempt,
        request = Empty,
        request_id = Empty,
    );
    let job_span = JobSpan::new(span);
    let Some(span) = job_span.get() else { return job_span };
    parent.link(span, relation);
    #[cfg(feature = "opentelemetry")]
    opentelemetry::describe(span, job);
    if let Some(request) = request {
        request.record(span);
    } else if let Some(metadata) = queued {
        for (field, key) in [("request", ROUTE), ("request_id", REQUEST_ID)] {
            if let Some(value) = metadata.get(key) {
                span.record(field, value.as_str());
            }
        }
    }
    job_span
}

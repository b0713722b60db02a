//! The span of an attempt.

use tracing::{Span, span::Entered};

/// A job's span, if anybody listens. Unlike a span that is disabled it costs one comparison each time, also with the feature
/// `log` of `tracing`.
#[derive(Clone)]
pub(crate) struct JobSpan(Option<Span>);

impl JobSpan {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn new(span: Span) -> Self {
        Self((!span.is_disabled()).then_some(span))
    }

    /// Returns the span, if there is one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&Span> {
        self.0.as_ref()
    }

    /// Enters the span until this is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        self.0.as_ref().map(Span::enter)
    }
}

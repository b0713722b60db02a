//! The span of an attempt.

use tracing::{Span, span::Entered};

/// A job's span, if anybody listens. Boxed, because a worker has room for it in any case. Unlike a span that is disabled it
/// costs one comparison each time, also with the feature `log` of `tracing`.
#[derive(Clone)]
pub(crate) struct JobSpan(Option<Box<Span>>);

impl JobSpan {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn new(span: Span) -> Self {
        Self((!span.is_disabled()).then(|| Box::new(span)))
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
}

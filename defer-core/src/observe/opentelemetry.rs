//! The parts of a span that only OpenTelemetry has. The attributes follow its conventions for messaging, which are not stable
//! yet.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::model::{
    error::{JobError, caught},
    job_type::JobRef,
    metadata::Metadata,
};

/// A span, which may be closed or in another process.
#[derive(Clone, Default)]
pub(super) struct Link(Option<Box<SpanContext>>);

impl Link {
    pub(super) fn of(span: &Span) -> Self {
        let context = span.context();
        let context = context.span().span_context().clone();
        Self(context.is_valid().then(|| Box::new(context)))
    }

    /// Reads `traceparent` and `tracestate` (W3C Trace Context, level 1). Ignores invalid values.
    pub(super) fn read(metadata: &Metadata) -> Self {
        let state = || metadata.get("tracestate")?.parse::<TraceState>().ok();
        let context = metadata.get("traceparent").and_then(|parent| read(parent, state));
        Self(context.map(Box::new))
    }

    pub(super) fn write(&self, metadata: &mut Metadata) {
        let Some(context) = &self.0 else { return };
        let parent = format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags() & TraceFlags::SAMPLED
        );
        metadata.insert("traceparent".into(), parent);
        let state = context.trace_state().header();
        if !state.is_empty() {
            metadata.insert("tracestate".into(), state);
        }
    }

    /// Returns whether there was a span to link to.
    pub(super) fn add_to(&self, span: &Span) -> bool {
        let Some(context) = &self.0 else { return false };
        span.add_link((**context).clone());
        true
    }

    /// Makes a span a child of this one. Returns whether there was one.
    pub(super) fn set_as_parent(&self, span: &Span) -> bool {
        let Some(context) = &self.0 else { return false };
        // This fails only if there is no OpenTelemetry layer, and then no parent is needed.
        let parent = Context::new().with_remote_span_context((**context).clone());
        let _ = OpenTelemetrySpanExt::set_parent(span, parent);
        true
    }
}

fn read(parent: &str, state: impl FnOnce() -> Option<TraceState>) -> Option<SpanContext> {
    let mut parts = parent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    };
    // A later version may have more parts.
    let known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    if !(known && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, state().unwrap_or_default());
    context.is_valid().then_some(context)
}

/// Sets the name and attributes of a span. Call it after the span was linked, because its name starts it (tracing-opentelemetry
/// 0.34). The fields `otel.name` and `otel.kind` are not used, because they would appear in every line of the log.
pub(super) fn describe(span: &Span, job: JobRef) {
    span.context().span().update_name(format!("process {}", job.name()));
    span.set_attribute("messaging.system", "defer");
    span.set_attribute("messaging.operation.name", "process");
    span.set_attribute("messaging.operation.type", "process");
    span.set_attribute("messaging.destination.name", job.name());
    span.set_attribute("messaging.message.id", job.id.to_string());
}

pub(super) fn record_failure(span: &Span, how: &'static str, error: &JobError) {
    span.set_attribute("error.type", how);
    // An error's `Display` is user code.
    span.set_status(Status::error(caught(|| error.to_string()).unwrap_or_default()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Texts from another process: a valid context, something close to one, or any text.
        #[test]
        fn any_trace_context_is_no_link_or_one_that_is_written_so(
            parent in prop_oneof![
                ".*",
                "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?",
                "(00|01|ff)-[0-9a-fA-F]{31,33}-[0-9a-f]{15,17}-[0-9a-g]{1,3}",
                "00-0{32}-[0-9a-f]{16}-01",
            ],
            state in prop_oneof![".*", "[a-z]{1,5}=[a-z]{1,5}(,[a-z]{1,5}=[a-z]{1,5})?"],
        ) {
            let given = Metadata::from([("traceparent".into(), parent.clone()), ("tracestate".into(), state)]);
            let link = Link::read(&given);
            let mut written = Metadata::new();
            link.write(&mut written);
            let Some(context) = &link.0 else {
                prop_assert!(written.is_empty());
                return Ok(());
            };
            prop_assert!(context.is_valid() && context.is_remote());
            // All except the version, the flags, and additional parts of a later version.
            prop_assert_eq!(&written["traceparent"][2..53], &parent[2..53]);
            let mut again = Metadata::new();
            Link::read(&written).write(&mut again);
            prop_assert_eq!(again, written);
        }
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn metadata(parent: &str) -> Metadata {
        Metadata::from([("traceparent".into(), parent.into()), ("tracestate".into(), "a=1,b=2".into())])
    }

    #[test]
    fn a_trace_context_is_written_as_it_was_read() {
        for flags in ["00", "01"] {
            let given = metadata(&format!("00-{TRACE}-b7ad6b7169203331-{flags}"));
            let mut written = Metadata::new();
            Link::read(&given).write(&mut written);
            assert_eq!(written, given);
        }
        let later = Link::read(&metadata(&format!("01-{TRACE}-b7ad6b7169203331-03-more")));
        assert!(later.0.is_some_and(|context| context.is_sampled() && context.is_remote()));
    }

    #[test]
    fn what_is_no_trace_context_is_no_link() {
        for parent in [
            "",
            "00",
            &format!("00-{TRACE}-b7ad6b7169203331"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("ff-{TRACE}-b7ad6b7169203331-01"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            &format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}-b7ad6b716920333é-01"),
        ] {
            assert!(Link::read(&metadata(parent)).0.is_none(), "{parent}");
        }
        let mut written = Metadata::new();
        Link::default().write(&mut written);
        assert!(written.is_empty());
    }
}

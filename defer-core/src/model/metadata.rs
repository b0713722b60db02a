//! The metadata that a queue stores with a job.

use std::collections::BTreeMap;

/// The metadata that a queue stores with a job. It comes from the job's request: `route` (the method and the route's pattern,
/// such as `POST /signup`); `request_id`, if that header was captured; the captured [extensions](crate::JobContext::extension),
/// as JSON; and with the feature `opentelemetry` `traceparent` and `tracestate`, which link the job's span to the request's.
pub type Metadata = BTreeMap<String, String>;

/// The key of the request's route.
pub(crate) const ROUTE: &str = "route";

/// The key of the request's id.
pub(crate) const REQUEST_ID: &str = "request_id";

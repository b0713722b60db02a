//! Records each request that may change something: the user, the request, and the response.
//!
//! | choice | reason |
//! |---|---|
//! | a job | the log may be slow or unreachable, and clients should not wait for it |
//! | a durable job | it is on disk before the client has its answer, so after `kill -9` every answered request still gets its entry |
//! | deferred by a middleware | the routes do not know about the log, and refused requests are recorded too |
//! | `cx.response()` | the job runs after the response, and knows its status, even after a crash |
//! | under any condition | `on = "success"` would skip refused requests |
//! | the job's id as key | a job that runs a second time after a crash finds that its entry exists |
//!
//! One limit remains. If the process dies between a change and its answer, the change may be stored without an entry. If that
//! must not happen, store the job in the transaction of the change, with `SqlxQueue::push_in`, as `examples/signup` does.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use defer_axum::{Deferrable, Job, JobContext, JobResult, ResponseInfo};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::{AuditLog, NewEntry};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The user who sent a request. Not an `Option<String>`: a job without its actor fails, instead of recording nobody.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Actor {
    Nobody,
    User(String),
}

impl Actor {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Nobody => None,
            Self::User(name) => Some(name),
        }
    }
}

/// Identifies the user, and gives the request an id if it has none. A real service would use a session or a token.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let user = request.headers().get("x-user").and_then(|name| name.to_str().ok());
    let actor = user.map_or(Actor::Nobody, |name| Actor::User(name.to_owned()));
    request.extensions_mut().insert(actor);

    let id = request.headers_mut().entry(REQUEST_ID).or_insert_with(new_id).clone();
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Defers an entry for each request, except for those that only read, whether or not it matches a route.
pub(crate) async fn record(request: Request, next: Next) -> Response {
    if !request.method().is_safe() {
        let id = request.headers().get(REQUEST_ID).map_or(&[][..], HeaderValue::as_bytes);
        WriteEntry::defer(now_ms(), request.uri().path(), String::from_utf8_lossy(id));
    }
    next.run(request).await
}

/// Writes one entry. Its fields do not contain the user, the request or the response: the job gets them from its context. A job
/// that is out of tries stays in `SqlxQueue::failed`, and can be retried.
#[derive(Clone, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 1000, backoff = "1s..1m", timeout = "10s")]
pub(crate) struct WriteEntry {
    /// When the request arrived, in milliseconds since the Unix epoch.
    at_ms: i64,
    path: String,
    request_id: String,
}

impl Job for WriteEntry {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let request = cx.request().ok_or("there is no entry without a request")?;
        let actor: Actor = cx.extension()?;
        let entry = NewEntry {
            at_ms: self.at_ms,
            user: actor.name(),
            method: request.method().as_str(),
            route: request.matched_path(),
            path: &self.path,
            status: cx.response().and_then(ResponseInfo::status).map(|status| status.as_u16()),
            request_id: &self.request_id,
        };
        cx.state::<AuditLog>()?.add(cx.id(), entry).await?;
        Ok(())
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn new_id() -> HeaderValue {
    HeaderValue::try_from(Uuid::new_v4().to_string()).expect("digits and dashes make a header")
}

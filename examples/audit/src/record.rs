//! Records each request that may change something: who asked for what, and how it was answered.
//!
//! | why | because |
//! |---|---|
//! | a job | the log may be slow or away, and no client needs to wait for it |
//! | on the queue | the response is held until the job is on disk: after `kill -9`, no answer is without its entry |
//! | deferred by a middleware | a job from a queue has no `cx.response()`: it takes the status along, which the handler gives |
//! | under any condition | `on = "success"` would leave out who was refused |
//! | the job's id as key | a queued job runs at least once, and its entry is there once |
//!
//! Two limits. If the process dies between a change and its answer, the change may be stored without an entry. Where that must
//! not be, store the job in the transaction of the change, with `ApalisQueue::push_in`, as `examples/signup` does. And if the
//! queue fails, or takes longer than its push timeout, the response goes out and the job runs in this process: a warning says
//! so, and a crash then loses the entry.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use defer_axum::{Deferrable, Job, JobContext, JobResult};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::AuditLog;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who sent a request. Not an `Option<String>`: a job that misses its actor fails, and never takes it for nobody.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Actor {
    Nobody,
    User(String),
}

/// Finds out who asks, and gives a request an id if it has none. In real life, a session or a token says who.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let user = request.headers().get("x-user").and_then(|name| name.to_str().ok());
    let actor = user.map_or(Actor::Nobody, |name| Actor::User(name.to_owned()));
    request.extensions_mut().insert(actor);

    let id = request.headers_mut().entry(REQUEST_ID).or_insert_with(new_id).clone();
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Defers an entry for each request but those that only read, whether or not it finds a route.
pub(crate) async fn record(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let id = request.headers().get(REQUEST_ID).map_or(&[][..], HeaderValue::as_bytes);
    let mut entry = DeferOnDrop(WriteEntry {
        at_ms: now_ms(),
        method: request.method().to_string(),
        route: request.extensions().get().map(|path: &MatchedPath| path.as_str().to_owned()),
        path: request.uri().path().to_owned(),
        status: None,
        request_id: String::from_utf8_lossy(id).into_owned(),
    });
    let response = next.run(request).await;
    entry.0.status = Some(response.status().as_u16());
    response
}

/// Defers its entry when it is dropped: also if the handler panics, or is cancelled because the client left. There is no status
/// then.
struct DeferOnDrop(WriteEntry);

impl Drop for DeferOnDrop {
    fn drop(&mut self) {
        if let Err(error) = defer_axum::try_defer(self.0.clone()) {
            tracing::error!(%error, path = self.0.path, "an entry was not written");
        }
    }
}

/// Writes one entry. Who asked is not in it: the job carries that over from its request. One that is out of tries stays in
/// `ApalisQueue::failed`, and can be tried again.
#[derive(Clone, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 1000, backoff = "1s..1m", timeout = "10s")]
pub(crate) struct WriteEntry {
    /// When the request came, in milliseconds of the Unix epoch.
    pub(crate) at_ms: i64,
    pub(crate) method: String,
    /// As in the router, such as `/documents/{name}`; `None` where none matched.
    pub(crate) route: Option<String>,
    pub(crate) path: String,
    pub(crate) status: Option<u16>,
    pub(crate) request_id: String,
}

impl Job for WriteEntry {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let user = match cx.extension()? {
            Actor::User(name) => Some(name),
            Actor::Nobody => None,
        };
        cx.state::<AuditLog>()?.add(cx.id(), user, self).await?;
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

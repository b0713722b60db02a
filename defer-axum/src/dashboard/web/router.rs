//! The dashboard and its routes.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::{OriginalUri, Query, State, rejection::QueryRejection},
    middleware::map_response,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use defer_core::Runner;
use http::{HeaderValue, header};

use super::{
    act::{self, Asked},
    broken::broken,
    root::root,
    site::Site,
    stream,
};
use crate::dashboard::{
    memory::journal::{Journal, Noting},
    sections::view::View,
};

/// The page needs no more than this. Scripts and styles are files, because an inline one could have been injected.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// A live page of a runner's jobs. Requires the feature `dashboard`.
///
/// Create it before the first job, and nest it at a path of your own, behind your own authentication. The
/// [module](crate::dashboard) describes what it shows and who can see it.
///
/// ```
/// use axum::Router;
/// use defer_axum::{Dashboard, Runner};
///
/// let runner = Runner::default();
/// let jobs = Dashboard::new(&runner).into_router();
/// let app: Router = Router::new().nest_service("/jobs", jobs);
/// ```
pub struct Dashboard {
    runner: Runner,
    journal: Arc<Journal>,
    version: Option<String>,
    has_actions: bool,
}

impl Dashboard {
    /// Creates a dashboard of this runner, and starts recording its jobs.
    pub fn new(runner: &Runner) -> Self {
        let journal = Arc::new(Journal::new());
        runner.observe(Noting(Arc::downgrade(&journal)));
        Self { runner: runner.clone(), journal, version: None, has_actions: false }
    }

    /// Leaves out the errors of jobs, which may contain personal data: they are neither shown nor kept.
    #[must_use]
    pub fn hide_errors(self) -> Self {
        self.journal.hide_errors();
        self
    }

    /// Sets the version of your service, which is shown beside its host and process id.
    ///
    /// ```
    /// # use defer_axum::{Dashboard, Runner};
    /// let jobs = Dashboard::new(&Runner::default()).version(env!("CARGO_PKG_VERSION"));
    /// ```
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Lets everyone who can see the page cancel jobs, retry and discard failed jobs of the queue, and pause and resume its job
    /// types. Each action is logged at INFO, with the name of the [`Operator`](crate::dashboard::Operator).
    ///
    /// Without this, the page is read-only.
    #[must_use]
    pub fn enable_actions(mut self) -> Self {
        self.has_actions = true;
        self
    }

    /// Returns the routes, to nest at a path.
    ///
    /// With `nest_service("/jobs", ..)`, the page is at `/jobs` and at `/jobs/`. With `nest("/jobs", ..)`, axum serves it only at
    /// `/jobs`.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let Self { runner, journal, version, has_actions } = self;
        let site = Site::new(runner, journal, version, has_actions);
        let router = Router::new()
            .route("/", get(show_page).post(act::act))
            .route("/data", get(show_data))
            .route("/events", get(show_events))
            .route("/style.css", get(style))
            .route("/narrow.css", get(narrow_style))
            .route("/script.js", get(script))
            .route("/act.js", get(act_script));
        router.with_state(site).layer(map_response(with_headers))
    }
}

impl<S: Clone + Send + Sync + 'static> From<Dashboard> for Router<S> {
    fn from(dashboard: Dashboard) -> Self {
        dashboard.into_router()
    }
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard")
            .field("runner", &self.runner)
            .field("has_actions", &self.has_actions)
            .finish_non_exhaustive()
    }
}

async fn show_page(
    State(site): State<Site>,
    OriginalUri(uri): OriginalUri,
    view: Result<Query<View>, QueryRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let (view, asked) = match (view, asked) {
        (Ok(Query(view)), Ok(Query(asked))) => (view, asked),
        (Err(rejection), _) | (_, Err(rejection)) => return refusal(&rejection),
    };
    if asked.verb.is_some() {
        return act::ask(&site, &uri, &asked).await;
    }
    site.refresh_queue(&view).await;
    match site.page(&view).whole(&root(&uri)) {
        Ok(page) => Html(page).into_response(),
        Err(error) => broken(&error),
    }
}

async fn show_data(State(site): State<Site>, view: Result<Query<View>, QueryRejection>) -> Response {
    let view = match view {
        Ok(Query(view)) => view,
        Err(rejection) => return refusal(&rejection),
    };
    site.refresh_queue(&view).await;
    match serde_json::to_vec(&site.snapshot(&view)) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => broken(&error),
    }
}

async fn show_events(State(site): State<Site>, view: Result<Query<View>, QueryRejection>) -> Response {
    match view {
        Ok(Query(view)) => {
            // nginx would buffer the lines.
            let headers = [("content-type", "application/x-ndjson"), ("x-accel-buffering", "no")];
            (headers, stream::changes(site, view)).into_response()
        }
        Err(rejection) => refusal(&rejection),
    }
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../assets/style.css"))
}

async fn narrow_style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../assets/narrow.css"))
}

async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../assets/script.js"))
}

async fn act_script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../assets/act.js"))
}

/// Sets the headers of all responses.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`, which would make a form's `Origin` `null`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn refusal(rejection: &QueryRejection) -> Response {
    (rejection.status(), format!("{}\n", rejection.body_text())).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        extract::Request,
    };
    use proptest::{collection::vec, prelude::*};
    use tower::ServiceExt;

    use super::*;
    use http::StatusCode;

    /// Queries and forms that any client may send: anything that a URI can contain, and variations
    /// of the page's own.
    fn queries() -> impl Strategy<Value = String> {
        let pair = prop_oneof![
            "(name|outcome|sort|order|filter|find|do|id|group)=[a-z0-9%<>_+]{0,12}"
                .prop_map(|pair| pair.replace(['<', '>'], "%3C")),
            "(outcome=failed|sort=ran|order=descending|name=%3Cscript%3E|name=%ff|do=retry&id=0{26}|do=pause&name=a|name)",
            "[!$-;=?-Z_a-z~]{0,20}",
        ];
        vec(pair, 0..5).prop_map(|pairs| pairs.join("&"))
    }

    /// Returns the status and the text of a dashboard's response.
    fn answer(request: Request) -> (StatusCode, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let router: Router = Dashboard::new(&Runner::default()).enable_actions().into_router();
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            // The changes never end.
            let is_page = response.headers()[header::CONTENT_TYPE] != "application/x-ndjson";
            let body = if is_page { response.into_body() } else { Body::empty() };
            let body = to_bytes(body, usize::MAX).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn whatever_is_asked_for_is_answered_or_refused_and_nothing_of_it_becomes_markup(
            query in queries(), path in prop_oneof![Just("/"), Just("/data"), Just("/events")],
        ) {
            let uri = format!("{path}?{query}");
            let (status, text) = answer(Request::get(uri).body(Body::empty()).unwrap());
            prop_assert!(matches!(status, StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY), "{}", status);
            prop_assert!(!text.contains("<script>"), "{}", text);
            if path == "/data" && status == StatusCode::OK {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap().is_object());
            }
        }

        #[test]
        fn whatever_a_form_says_is_refused_without_such_a_job(form in queries(), bytes in vec(any::<u8>(), 0..20)) {
            let body = [form.as_bytes(), &bytes].concat();
            let request = Request::post("/")
                .header("sec-fetch-site", "same-origin")
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from(body))
                .unwrap();
            let (status, text) = answer(request);
            prop_assert!(status.is_client_error() || status == StatusCode::BAD_GATEWAY, "{} {}", status, text);
        }
    }
}

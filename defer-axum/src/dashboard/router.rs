//! The dashboard, and what it answers.

use std::{fmt, sync::Arc};

use axum::{
    Form, Router,
    extract::{
        OriginalUri, Query, State,
        rejection::{FormRejection, QueryRejection},
    },
    middleware::map_response,
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use defer_core::{JobId, Runner};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;

use super::{
    journal::{Journal, Noting},
    origin,
    site::Site,
    snapshot::View,
    stream,
};

/// The page needs no more than this. Scripts and styles are files, because an inline one could be somebody else's.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// A live page of a runner's jobs. Requires the feature `dashboard`.
///
/// Create it before the first job, and nest it at a path of your own, behind your own authentication. The
/// [module](crate::dashboard) says what it shows, and to whom.
///
/// ```
/// use axum::Router;
/// use defer_axum::{Dashboard, Runner};
///
/// let runner = Runner::default();
/// let app: Router = Router::new().nest("/jobs", Dashboard::new(&runner).into());
/// ```
pub struct Dashboard {
    runner: Runner,
    journal: Arc<Journal>,
    has_actions: bool,
}

impl Dashboard {
    /// Creates a dashboard of this runner, and begins to remember its jobs.
    pub fn new(runner: &Runner) -> Self {
        let journal = Arc::new(Journal::new());
        runner.observe(Noting(Arc::downgrade(&journal)));
        Self { runner: runner.clone(), journal, has_actions: false }
    }

    /// Leaves out the errors of jobs, which may hold personal data. It neither shows nor keeps them.
    #[must_use]
    pub fn hide_errors(self) -> Self {
        self.journal.hide_errors();
        self
    }

    /// Lets whoever sees the page run failed jobs of the queue again.
    #[must_use]
    pub fn enable_actions(mut self) -> Self {
        self.has_actions = true;
        self
    }

    /// Returns the routes, to nest at a path.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let Self { runner, journal, has_actions } = self;
        let site = Site::new(runner, journal, has_actions);
        let router = Router::new()
            .route("/", get(show_page).post(retry))
            .route("/data", get(show_data))
            .route("/events", get(show_events))
            .route("/style.css", get(style))
            .route("/script.js", get(script));
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

type Asked = Result<Query<View>, QueryRejection>;

async fn show_page(State(site): State<Site>, OriginalUri(uri): OriginalUri, asked: Asked) -> Response {
    let view = match asked {
        Ok(Query(view)) => view,
        Err(rejection) => return refusal(&rejection),
    };
    site.refresh_queue().await;
    match site.page(&view).whole(&root(&uri)) {
        Ok(page) => Html(page).into_response(),
        Err(error) => broken(&error),
    }
}

async fn show_data(State(site): State<Site>, asked: Asked) -> Response {
    let view = match asked {
        Ok(Query(view)) => view,
        Err(rejection) => return refusal(&rejection),
    };
    site.refresh_queue().await;
    match serde_json::to_vec(&site.snapshot(&view)) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => broken(&error),
    }
}

async fn show_events(State(site): State<Site>, asked: Asked) -> Response {
    match asked {
        // nginx would keep events back to send them together.
        Ok(Query(view)) => ([("x-accel-buffering", "no")], stream::events(site, view)).into_response(),
        Err(rejection) => refusal(&rejection),
    }
}

#[derive(Deserialize)]
struct Retry {
    retry: JobId,
}

async fn retry(
    State(site): State<Site>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    asked: Result<Form<Retry>, FormRejection>,
) -> Response {
    if !site.has_actions() {
        let why = "actions are not enabled: see Dashboard::enable_actions\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    if !origin::is_same(&headers, &uri) {
        let why = "only the dashboard's own page may do this: the request has neither `Sec-Fetch-Site: same-origin` \
                   nor an `Origin` that is its host\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    let Form(Retry { retry: id }) = match asked {
        Ok(asked) => asked,
        Err(rejection) => {
            return (rejection.status(), format!("{}\n", rejection.body_text())).into_response();
        }
    };
    match site.retry(id).await {
        // The script has no use for the page, and could not tell it from that of a login.
        Ok(true) if headers.contains_key("x-dashboard-script") => StatusCode::NO_CONTENT.into_response(),
        // The page itself, whatever its path.
        Ok(true) => Redirect::to(&format!("?{}", uri.query().unwrap_or_default())).into_response(),
        Ok(false) => {
            (StatusCode::NOT_FOUND, "no job of this id has failed for good in the queue\n").into_response()
        }
        Err(why) => (StatusCode::BAD_GATEWAY, format!("{why}\n")).into_response(),
    }
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("assets/style.css"))
}

async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("assets/script.js"))
}

/// Sets the headers that all answers have.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: with that a form's `Origin` would be `null`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn refusal(rejection: &QueryRejection) -> Response {
    (rejection.status(), format!("{}\n", rejection.body_text())).into_response()
}

fn broken(error: &(impl fmt::Display + ?Sized)) -> Response {
    tracing::error!(target: "defer", %error, "the dashboard could not answer");
    (StatusCode::INTERNAL_SERVER_ERROR, "This did not work. The log says why.\n").into_response()
}

/// Returns what leads from the page to what is under it: relative, because a proxy may have changed what is before.
fn root(page: &Uri) -> String {
    match page.path().rsplit_once('/') {
        Some((_, last)) if !last.is_empty() => format!("./{last}/"),
        _ => "./".to_owned(),
    }
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

    /// What a browser, or anybody, may put behind the `?` or into a form: anything that a URI can have, and what is near to
    /// what the page has.
    fn queries() -> impl Strategy<Value = String> {
        let pair = prop_oneof![
            "(name|outcome|sort|order|retry)=[a-z0-9%<>_+]{0,12}"
                .prop_map(|pair| pair.replace(['<', '>'], "%3C")),
            "(outcome=failed|sort=ran|order=descending|name=%3Cscript%3E|name=%ff|retry=0{26}|name)",
            "[!$-;=?-Z_a-z~]{0,20}",
        ];
        vec(pair, 0..5).prop_map(|pairs| pairs.join("&"))
    }

    /// What a dashboard answers: the status and the text.
    fn answer(request: Request) -> (StatusCode, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let router: Router = Dashboard::new(&Runner::default()).enable_actions().into_router();
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            // Events have no end.
            let is_page = response.headers()[header::CONTENT_TYPE] != "text/event-stream";
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
            prop_assert!(matches!(status, StatusCode::OK | StatusCode::BAD_REQUEST), "{}", status);
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

        #[test]
        fn what_is_below_the_page_is_below_it_whatever_its_path(path in "/[a-z/._%0-9-]{0,20}") {
            let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
            let root = root(&uri);
            // Neither another host nor another scheme.
            prop_assert!(root.starts_with("./") && root.ends_with('/') && !root[2..].starts_with('/'), "{}", root);
        }
    }
}

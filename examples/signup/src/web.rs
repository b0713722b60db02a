use askama::Template;
use axum::{
    Json, Router,
    extract::{State, rejection::FormRejection},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY},
    },
    response::{
        Html, IntoResponse, Redirect, Response,
        sse::{KeepAlive, Sse},
    },
    routing::{get, post},
};
use defer_sqlx::SqlxQueue;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    Feed, NoteAnswer, SendWelcome, SignUps, StoreError,
    form::{Field, Form, Mistake},
    page::{Page, RECENT},
};

/// The style comes from the page's own sheet, except the lengths of the bars, which are in the rows.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

#[derive(Clone)]
struct Site {
    signups: SignUps,
    feed: Feed,
    queue: Option<SqlxQueue>,
    stop: CancellationToken,
}

/// The routes. They defer jobs, so they need a `DeferLayer` around them.
///
/// A `queue` in the sign-ups' own database gets the mail in the sign-up's transaction. Without one the mail is deferred, and
/// goes where the runner sends it. `stop` ends the event streams.
pub fn routes(signups: SignUps, feed: Feed, queue: Option<SqlxQueue>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/", get(show_page))
        .route("/signup", post(sign_up))
        .route("/events", get(events))
        .route("/style.css", get(style))
        .route("/page.js", get(script))
        .fallback(nothing_here)
        .with_state(Site { signups, feed, queue, stop })
}

async fn show_page(State(site): State<Site>) -> Result<Response, Broken> {
    site.page(Form::default(), Vec::new()).await
}

/// Answers with JSON if the client asks for it, as the page's script does. Otherwise answers with a
/// page or a redirect to one, so that the form works without a script.
async fn sign_up(
    State(site): State<Site>,
    headers: HeaderMap,
    form: Result<axum::Form<Form>, FormRejection>,
) -> Result<Response, Broken> {
    let wants_json = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    let (form, outcome) = match form {
        Ok(axum::Form(form)) => {
            let outcome = site.store(&form).await?;
            (form, outcome)
        }
        Err(rejection) => (Form::default(), Err(Refusal::from(rejection))),
    };
    let mut response = match outcome {
        Ok(id) if wants_json => (StatusCode::CREATED, Json(json!({ "id": id }))).into_response(),
        Ok(id) => Redirect::to(&format!("/#signup-{id}")).into_response(),
        Err(Refusal { status, mistakes }) if wants_json => {
            (status, Json(json!({ "errors": mistakes }))).into_response()
        }
        Err(Refusal { status, mistakes }) => {
            let mut page = site.page(form, mistakes).await?;
            *page.status_mut() = status;
            page
        }
    };
    response.headers_mut().insert(VARY, ACCEPT.into());
    Ok(response)
}

async fn events(State(site): State<Site>) -> Result<Response, Broken> {
    let rows = site.feed.rows(site.signups, site.stop).await?;
    Ok(Sse::new(rows).keep_alive(KeepAlive::default()).into_response())
}

async fn style() -> impl IntoResponse {
    asset("text/css; charset=utf-8", include_str!("../assets/style.css"))
}

async fn script() -> impl IntoResponse {
    asset("text/javascript; charset=utf-8", include_str!("../assets/page.js"))
}

fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")], text)
}

async fn nothing_here() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "There is nothing here. The sign-up form is at /\n")
}

impl Site {
    /// Stores the sign-up and defers its mail, or says why not.
    async fn store(&self, form: &Form) -> Result<Result<i64, Refusal>, Broken> {
        let new = match form.check() {
            Ok(new) => new,
            Err(mistakes) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Ok(Err(Refusal { status, mistakes }));
            }
        };
        let added = match &self.queue {
            // Stores both or neither.
            Some(queue) => self.signups.add_with_mail(queue, &new.name, new.email.as_ref()).await,
            None => self.signups.add(&new.name, new.email.as_ref()).await.inspect(|id| {
                SendWelcome::defer(*id, new.name, new.email.to_string());
            }),
        };
        match added {
            Ok(id) => {
                NoteAnswer::defer(id);
                Ok(Ok(id))
            }
            Err(error @ StoreError::Duplicate) => Ok(Err(Refusal {
                status: StatusCode::CONFLICT,
                mistakes: vec![Field::Email.mistake(sentence(&error.to_string()))],
            })),
            Err(error) => Err(error.into()),
        }
    }

    async fn page(&self, form: Form, mistakes: Vec<Mistake>) -> Result<Response, Broken> {
        let signups = self.signups.recent(RECENT).await?;
        let page = Page { form, mistakes, signups }.render()?;
        let headers = [(CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-store")];
        Ok((headers, Html(page)).into_response())
    }
}

/// The request is not acceptable. Nothing was stored and nothing deferred.
struct Refusal {
    status: StatusCode,
    mistakes: Vec<Mistake>,
}

impl From<FormRejection> for Refusal {
    fn from(rejection: FormRejection) -> Self {
        let message = match &rejection {
            FormRejection::InvalidFormContentType(_) => {
                "Please send the form as application/x-www-form-urlencoded, \
                 with the fields “name” and “email”."
                    .to_owned()
            }
            rejection if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                "This is too much for a sign-up form.".to_owned()
            }
            rejection => sentence(&rejection.body_text()),
        };
        Self { status: rejection.status(), mistakes: vec![Mistake { field: None, message }] }
    }
}

/// An internal error: a 500, with the cause in the log.
struct Broken(Box<dyn std::error::Error>);

impl<E: std::error::Error + 'static> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl IntoResponse for Broken {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "could not answer a request");
        let text = "Something went wrong on our side. Please try again later.\n";
        (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
    }
}

/// Formats an error as a sentence, with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str().trim_end_matches('.')),
        None => String::new(),
    }
}

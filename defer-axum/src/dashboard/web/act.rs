//! Questions and actions: parses a request, checks that it is allowed, and performs it.

use axum::{
    extract::{Form, OriginalUri, State, rejection::FormRejection},
    response::{Html, IntoResponse, Response},
};
use defer_core::JobId;
use http::{Extensions, HeaderMap, StatusCode, Uri};
use serde::Deserialize;

use super::{operator::Operator, origin, root::root, site::Site};
use crate::dashboard::{
    queue::action::{Action, Verb},
    sections::{button::outcome, page},
};

/// The query of the main page.
const BACK: &str = "?";

/// The requested action, from a form or a query.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    #[serde(rename = "do")]
    pub(super) verb: Option<Verb>,
    id: Option<JobId>,
    name: String,
    /// The key of a group.
    group: String,
}

/// The reason why nothing is done.
struct Refusal(StatusCode, &'static str);

impl Asked {
    async fn action(&self, site: &Site) -> Result<Action, Refusal> {
        let unfit = |why| Refusal(StatusCode::UNPROCESSABLE_ENTITY, why);
        let id = || self.id.ok_or_else(|| unfit("Which job? There is no `id`."));
        let group = async || {
            let gone = "There is no such group of failed jobs in the queue, or no longer.";
            site.group(&self.group).await.ok_or(Refusal(StatusCode::NOT_FOUND, gone))
        };
        let name = || {
            let name = Some(self.name.clone()).filter(|name| !name.is_empty());
            name.ok_or_else(|| unfit("Which job type? There is no `name`."))
        };
        Ok(match self.verb.ok_or_else(|| unfit("What is to be done? There is no `do`."))? {
            Verb::Retry => Action::Retry(id()?),
            Verb::Discard => Action::Discard(id()?),
            Verb::Cancel => Action::Cancel(id()?),
            Verb::RetryGroup => Action::RetryGroup(group().await?),
            Verb::DiscardGroup => Action::DiscardGroup(group().await?),
            Verb::Pause => Action::Pause(name()?),
            Verb::Resume => Action::Resume(name()?),
        })
    }
}

/// Asks whether to perform the action.
pub(super) async fn ask(site: &Site, uri: &Uri, asked: &Asked) -> Response {
    if !site.has_actions() {
        return READ_ONLY.page(uri);
    }
    match asked.action(site).await {
        Ok(action) => html(StatusCode::OK, page::question(&root(uri), BACK, &action, &asked.group)),
        Err(refusal) => refusal.page(uri),
    }
}

/// Performs the action, if the page itself requests it.
pub(super) async fn act(
    State(site): State<Site>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    extensions: Extensions,
    asked: Result<Form<Asked>, FormRejection>,
) -> Response {
    let done = perform(&site, &uri, &headers, &extensions, asked).await;
    let (status, text) = match &done {
        Ok(text) => (StatusCode::OK, Ok(&**text)),
        Err(Refusal(status, why)) => (*status, Err(*why)),
    };
    // The script does not need a page, and could not distinguish one from a login page.
    if headers.contains_key("x-dashboard-script") {
        let (Ok(text) | Err(text)) = text;
        return (status, text.to_owned()).into_response();
    }
    html(status, page::answer(&root(&uri), BACK, text))
}

async fn perform(
    site: &Site,
    uri: &Uri,
    headers: &HeaderMap,
    extensions: &Extensions,
    asked: Result<Form<Asked>, FormRejection>,
) -> Result<String, Refusal> {
    if !site.has_actions() {
        return Err(READ_ONLY);
    }
    if !origin::is_same(headers, uri) {
        let why = "Only the dashboard's own page may do this: the request has neither `Sec-Fetch-Site: same-origin` \
                   nor an `Origin` that is its host.";
        return Err(Refusal(StatusCode::FORBIDDEN, why));
    }
    let unfit = |rejection: FormRejection| Refusal(rejection.status(), "This form cannot be read.");
    let Form(asked) = asked.map_err(unfit)?;
    let action = asked.action(site).await?;
    let operator = extensions.get::<Operator>().map_or("unknown", |Operator(name)| name);
    let done = site.perform(&action, operator.to_owned()).await;
    let done = done.map_err(|why| Refusal(StatusCode::BAD_GATEWAY, why))?;
    outcome(action.verb(), done).map_err(|why| Refusal(StatusCode::NOT_FOUND, why))
}

const READ_ONLY: Refusal =
    Refusal(StatusCode::FORBIDDEN, "Actions are not enabled: see Dashboard::enable_actions.");

impl Refusal {
    fn page(self, uri: &Uri) -> Response {
        let Self(status, why) = self;
        html(status, page::answer(&root(uri), BACK, Err(why)))
    }
}

fn html(status: StatusCode, page: askama::Result<String>) -> Response {
    match page {
        Ok(page) => (status, Html(page)).into_response(),
        Err(error) => super::broken::broken(&error),
    }
}

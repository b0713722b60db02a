//! `/stats` and `/stats.json`: the statistics, as a page and as data.

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    page::Page,
    site,
    visits::{Filter, Visits},
};

/// The longest time to look back, in minutes: a week.
const LONGEST: u32 = 7 * 24 * 60;

/// The longest list of the latest visits.
const MOST_RECENT: u32 = 1000;

pub(crate) fn routes(visits: Visits) -> Router {
    Router::new().route("/stats", get(show)).route("/stats.json", get(show_json)).with_state(visits)
}

/// The query. An empty value counts as none, because the page's form sends empty values.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    minutes: String,
    route: String,
    recent: String,
}

type AskedOrNot = Result<Query<Asked>, QueryRejection>;

async fn show(State(visits): State<Visits>, asked: AskedOrNot) -> Result<Response, Problem> {
    let filter = filter(asked)?;
    let (counts, routes) = (visits.count(&filter).await?, visits.routes().await?);
    Ok(site::page(&Page { counts, filter, routes }))
}

async fn show_json(State(visits): State<Visits>, asked: AskedOrNot) -> Response {
    let counted = async { Ok::<_, Problem>(visits.count(&filter(asked)?).await?) };
    match counted.await {
        Ok(counts) => Json(counts).into_response(),
        Err(Problem { status, message }) => (status, Json(json!({ "error": message }))).into_response(),
    }
}

fn filter(asked: AskedOrNot) -> Result<Filter, Problem> {
    let Query(asked) = asked.map_err(|rejection| Problem::asked(rejection.body_text()))?;
    if !asked.route.is_empty() && !asked.route.starts_with('/') {
        return Err(Problem::asked(format!(
            "route={:?} is not usable: expected a route as it stands in the router, such as /hello/{{name}}",
            asked.route
        )));
    }
    Ok(Filter {
        minutes: number("minutes", &asked.minutes, LONGEST)?,
        route: Some(asked.route).filter(|route| !route.is_empty()),
        recent: number("recent", &asked.recent, MOST_RECENT)?.unwrap_or(10),
    })
}

fn number(name: &str, text: &str, most: u32) -> Result<Option<u32>, Problem> {
    match text.parse() {
        _ if text.is_empty() => Ok(None),
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        _ => Err(Problem::asked(format!(
            "{name}={text:?} is not usable: expected a whole number from 1 to {most}"
        ))),
    }
}

/// The reason why there are no statistics.
struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    fn asked(message: String) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, message }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "could not count the visits");
        let message = "the visits cannot be counted right now".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, format!("{}\n", self.message)).into_response()
    }
}

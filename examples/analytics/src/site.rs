//! The site itself, which does not know that its visits are counted.

use std::{convert::Infallible, time::Duration};

use askama::Template;
use axum::{
    Router,
    body::Body,
    extract::{Path, Query},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use serde::Deserialize;
use tokio::time::sleep;

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(home))
        .route("/hello/{name}", get(hello))
        .route("/search", get(search))
        .route("/download", get(download))
        .route("/countdown", get(countdown))
        .route("/basket", post(basket))
        .route("/teapot", get(teapot))
        .route("/broken", get(broken))
        .route("/style.css", get(style))
        .route("/page.js", get(script))
        .fallback(nothing_here)
}

/// Returns a page with the headers of every page of this site.
pub(crate) fn page(template: &impl Template) -> Response {
    const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; \
        img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    match template.render() {
        Ok(html) => {
            ([(CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-store")], Html(html)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "could not write a page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn home() -> Response {
    #[derive(Template)]
    #[template(path = "home.html")]
    struct Home;
    page(&Home)
}

async fn hello(Path(name): Path<String>) -> String {
    format!("Hello, {name}!\n")
}

#[derive(Deserialize)]
struct Search {
    q: String,
}

/// The longer the word, the longer the search.
async fn search(Query(Search { q }): Query<Search>) -> String {
    let letters = q.chars().take(40).count() as u32;
    sleep(Duration::from_millis(15) * letters).await;
    format!("Nothing is known about {q}.\n")
}

/// Two megabytes, so that most of the time is the client's.
async fn download() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/octet-stream")], vec![0_u8; 2_000_000])
}

/// A response that takes a second, line by line. It is recorded once the last line has been sent.
async fn countdown() -> impl IntoResponse {
    let lines = stream::unfold(10_u32, |left| async move {
        let next = left.checked_sub(1)?;
        sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, Infallible>(format!("{left}\n")), next))
    });
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(lines))
}

async fn basket() -> impl IntoResponse {
    (StatusCode::CREATED, "It is in your basket.\n")
}

async fn teapot() -> impl IntoResponse {
    (StatusCode::IM_A_TEAPOT, "I'm a teapot.\n")
}

async fn broken() -> &'static str {
    panic!("this route is broken, to show that its visits are recorded too")
}

async fn nothing_here() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "There is nothing here. See / for what there is.\n")
}

async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../assets/style.css"))
}

async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../assets/page.js"))
}

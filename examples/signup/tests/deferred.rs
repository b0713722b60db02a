//! Tests which jobs the routes defer, without a server or a mail: the recorder runs no jobs.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use defer_axum::testing::Recorder;
use signup::{Feed, SendWelcome, SignUps, routes};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

async fn app(recorder: &Recorder) -> Router {
    let signups = SignUps::open("sqlite::memory:".parse().unwrap()).await.unwrap();
    routes(signups, Feed::new(), None, CancellationToken::new()).layer(recorder.layer())
}

async fn post(app: &Router, form: &'static str) -> StatusCode {
    let request = Request::post("/signup")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(Body::from(form))
        .unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn a_sign_up_defers_its_welcome_mail() {
    let recorder = Recorder::new();
    let app = app(&recorder).await;
    let status = post(&app, "name=Ada+Lovelace&email=ada%40example.com").await;
    assert_eq!(status, StatusCode::CREATED);
    recorder.assert_deferred::<SendWelcome>(|job| {
        job.name == "Ada Lovelace" && job.to == "ada@example.com" && job.signup == 1
    });
}

#[tokio::test]
async fn a_refused_form_defers_nothing() {
    let recorder = Recorder::new();
    let app = app(&recorder).await;
    for form in ["", "name=Ada", "name=Ada&email=ada", "name=%0A&email=ada%40example.com"] {
        assert_eq!(post(&app, form).await, StatusCode::UNPROCESSABLE_ENTITY);
    }
    recorder.assert_nothing_deferred();
}

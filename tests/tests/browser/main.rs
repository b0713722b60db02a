//! The dashboard in a real browser: an operator's actions, what the page says, and where it leaves the focus.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

mod acting;
#[path = "../../../examples/signup/tests/support/browser.rs"]
mod browser;
mod finding;
mod login;
#[path = "../dashboard/queue.rs"]
mod queue;
mod support;

use std::sync::Arc;

use axum::Router;
use browser::Browser;
use defer_axum::{Dashboard, DeferLayer, Deferrable, Job, JobContext, JobError, JobResult, Runner};
use defer_tests::{By, Server};
use fantoccini::{Locator, key::Key};
use support::eventually::eventually;
use tokio::sync::Semaphore;

/// Ends when its runner's semaphore allows it: with the error, if there is one.
#[derive(Deferrable)]
#[defer(name = "SendWelcome", concurrent)]
struct Waits {
    error: Option<String>,
}

impl Job for Waits {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Arc<Semaphore>>()?.acquire().await?.forget();
        self.error.as_ref().map_or(Ok(()), |error| Err(JobError::msg(error.clone())))
    }
}

/// Succeeds.
#[derive(Deferrable)]
struct ResizeImage;

impl Job for ResizeImage {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

/// Opens a dashboard at `/jobs` in a browser, with live changes.
async fn open(runner: &Runner, dashboard: Dashboard) -> (Server, Browser) {
    let routes = Router::new().nest_service("/jobs", dashboard.into_router::<()>());
    open_app(runner, routes, "/jobs").await
}

/// Opens an app's dashboard in a browser, with live changes.
async fn open_app(runner: &Runner, routes: Router, path: &str) -> (Server, Browser) {
    let app = routes.layer(DeferLayer::new(runner.clone()));
    let server = By::Defer.serve_app(app, runner).await;
    let browser = Browser::start().await;
    browser.client.goto(&format!("http://{}{path}", server.addr)).await.unwrap();
    browser.live().await;
    (server, browser)
}

impl Browser {
    /// Waits until changes arrive.
    async fn live(&self) {
        self.text("#live[data-state=on]", "live").await;
    }

    /// Returns the result of a script.
    async fn run<T: serde::de::DeserializeOwned>(&self, script: &str) -> T {
        let value = self.client.execute(&format!("return {script}"), vec![]).await.unwrap();
        serde_json::from_value(value).unwrap()
    }

    /// Waits until this script expression is true.
    async fn until(&self, script: &str) {
        eventually(script, async || self.run::<bool>(script).await.then_some(())).await;
    }

    /// Clicks an element as soon as it exists.
    async fn click_when_there(&self, css: &str) {
        self.text(css, "").await;
        self.click(css).await;
    }

    async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.unwrap().len()
    }

    /// Types into the focused element.
    async fn type_keys(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    async fn press(&self, key: Key) {
        self.type_keys(&char::from(key).to_string()).await;
    }
}

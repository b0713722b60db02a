//! The page in a real browser.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

#[path = "../../signup/tests/support/browser.rs"]
mod browser;
mod support;

use browser::Browser;
use fantoccini::Locator;
use support::Service;

#[tokio::test]
async fn the_page_shows_how_far_the_import_is_and_how_it_ends() {
    let service = Service::start(0).await;
    let browser = Browser::start().await;
    browser.client.goto(&service.url).await.unwrap();
    browser.click("#form button").await;
    browser.text("#import[data-status=succeeded] #status", "Done.").await;
    browser.client.refresh().await.unwrap();
    browser.text("#import[data-status=succeeded] #status", "Done.").await;
}

#[tokio::test]
async fn a_button_cancels_the_import() {
    // The first line takes an hour, so timing does not matter.
    let service = Service::start(3_600_000).await;
    let browser = Browser::start().await;
    browser.client.goto(&service.url).await.unwrap();
    browser.click("#form button").await;
    browser.text("#import[data-status=running] #status", "0 of 4 lines").await;
    browser.click("#cancel").await;
    browser.text("#import[data-status=cancelled] #status", "Cancelled.").await;
    let disabled = browser.client.find(Locator::Id("cancel")).await.unwrap().attr("disabled").await;
    assert!(disabled.unwrap().is_some());
}

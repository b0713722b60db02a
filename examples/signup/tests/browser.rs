//! The page in a real browser.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

#[path = "support/browser.rs"]
mod browser;
mod support;

use browser::Browser;
use fantoccini::Locator;
use support::{Service, client, eventually::eventually, mail_server::MailServer};

impl Browser {
    async fn type_in(&self, field: &str, text: &str) {
        let field = self.client.find(Locator::Id(field)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    async fn submit(&self) {
        let button = self.client.find(Locator::Css("#form button")).await.unwrap();
        button.click().await.unwrap();
    }

    async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.unwrap().len()
    }
}

#[tokio::test]
async fn a_row_shows_the_answer_and_later_the_mail() {
    let mut server = MailServer::start().await;
    let service = Service::start(&[("SMTP_URL", &server.url)]).await;
    let browser = Browser::start().await;
    browser.client.goto(&service.url).await.unwrap();
    browser.text(".empty", "Nobody has signed up yet").await;
    browser.text("#live", "live").await;

    browser.type_in("name", "<i>Ada</i>").await;
    browser.type_in("email", "ada@example.com").await;
    browser.submit().await;

    // The mail server has not answered yet, so timing does not matter.
    let row = browser.text("#signup-1[data-mail=waiting]", "mail on its way").await;
    assert!(row.contains("answered in"), "{row}");
    assert!(row.contains("<i>Ada</i>"), "shown as it was typed: {row}");
    browser.text("#answer", "Welcome, <i>Ada</i>. Your browser waited").await;

    server.answer("250 ok");
    let row = browser.text("#signup-1[data-mail=sent]", "mail sent").await;
    assert!(row.contains("later"), "{row}");
    assert!(server.mail().await.contains("<ada@example.com>"));

    browser.type_in("name", "Ada again").await;
    browser.type_in("email", "ADA@example.com").await;
    browser.submit().await;
    browser.text("#email-mistake", "This address has signed up already.").await;

    browser.client.refresh().await.unwrap();
    browser.text("#signup-1[data-mail=sent]", "ada@example.com").await;
}

#[tokio::test]
async fn the_page_finds_back_to_a_service_that_starts_again() {
    let service = Service::start(&[]).await;
    let browser = Browser::start().await;
    browser.client.goto(&service.url).await.unwrap();
    browser.text("#live", "live").await;
    let port = service.url.rsplit_once(':').unwrap().1.to_owned();

    let folder = service.stop().await.folder;
    browser.text("#live", "not connected").await;
    let service = Service::start_in(folder, &[("PORT", &port)]).await;
    browser.text("#live", "live").await;

    service.sign_up("Ada", "ada@example.com").await;
    browser.text("#signup-1[data-mail=sent]", "mail sent").await;
}

#[tokio::test]
async fn the_page_of_the_jobs_shows_runs_as_they_happen_and_tries_a_failed_one_again() {
    let server = MailServer::start().await;
    let service = Service::start(&[("SMTP_URL", &server.url)]).await;
    let browser = Browser::start().await;
    browser.client.goto(&format!("{}/jobs", service.url)).await.unwrap();
    browser.text("#live", "live").await;
    browser.text("#types", "No job was deferred yet.").await;
    let styled =
        browser.client.execute("return getComputedStyle(document.querySelector('main')).display", vec![]);
    assert_eq!(styled.await.unwrap(), "grid", "the style is not refused");

    // The mail server has not answered yet, so timing does not matter.
    service.sign_up("Marker-4711", "marker@example.com").await;
    browser.text("#running li", "SendWelcome").await;
    browser.text("#types tr[data-key=SendWelcome]", "SendWelcome").await;
    browser.click("#types tr[data-key=SendWelcome] a").await;
    browser.text("#runs h2", "Latest runs of SendWelcome").await;
    browser.text("#runs", "No such run yet.").await;
    server.answer("250 ok");
    browser.text("#runs li.good", "attempt 1").await;

    service.sign_up("Marker-4712", "nobody@example.com").await;
    server.answer("550 no such mailbox");
    browser.text("#runs li.bad .error", "no such mailbox").await;
    browser.text("#failed li .error", "no such mailbox").await;
    browser.text("#failures li .error", "no such mailbox").await;
    assert!(!browser.client.source().await.unwrap().contains("Marker"));
    browser.click("#runs nav a[href*=failed]").await;
    browser.text("#runs nav a[aria-current]", "Failed").await;
    assert_eq!((browser.count("#runs li.bad").await, browser.count("#runs li.good").await), (1, 0));
    let address = browser.client.current_url().await.unwrap();
    assert_eq!(address.query(), Some("name=SendWelcome&outcome=failed"), "to bookmark, and to go back");
    browser.client.back().await.unwrap();
    browser.text("#runs nav a[aria-current]", "All").await;

    browser.click("#pause").await;
    browser.text("#live", "paused").await;
    service.sign_up("Ada", "ada@example.com").await;
    server.answer("250 ok");
    eventually("the second mail", async || {
        let data = client().get(format!("{}/jobs/data?name=SendWelcome", service.url)).send().await.unwrap();
        let data: serde_json::Value = data.json().await.unwrap();
        (data["runs"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
    assert_eq!(browser.count("#runs li").await, 2, "it does not change under the reader's eyes");
    browser.click("#pause").await;
    eventually("what was missed", async || (browser.count("#runs li").await == 3).then_some(())).await;

    browser.click("#failed li button[value=retry]").await;
    browser.text("#ask[open]", "Retry SendWelcome").await;
    browser.click("#ask[open] button[value=yes]").await;
    browser.text("#said", "1 job will run again.").await;
    server.answer("250 ok");
    eventually("the third mail", async || (browser.count("#runs li.good").await == 3).then_some(())).await;
    eventually("no failed job", async || (browser.count("#failed li").await == 0).then_some(())).await;
}

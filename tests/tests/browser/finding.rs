//! Finding a type, a job and its page.

use std::sync::Arc;

use defer_axum::{Dashboard, Runner, scope};
use fantoccini::key::Key;
use tokio::sync::Semaphore;

use crate::{ResizeImage, Waits, open};

#[tokio::test]
async fn typing_filters_the_types_and_keeps_the_focus() {
    let runner = Runner::builder().state(Arc::new(Semaphore::new(0))).build();
    let (_server, browser) = open(&runner, Dashboard::new(&runner)).await;
    scope(&runner, async {
        ResizeImage::defer();
        Waits::defer(None);
    })
    .await;
    browser.text("#types tr[data-key=ResizeImage]", "ResizeImage").await;
    browser.click("#filter-name").await;
    browser.type_keys("resize").await;
    browser.text("#filter", "1 of 2").await;
    assert_eq!(
        browser
            .run::<Vec<String>>(
                "[...document.querySelectorAll('#types tbody tr')].map((row) => row.dataset.key)"
            )
            .await,
        ["ResizeImage"]
    );
    assert_eq!(browser.run::<String>("document.activeElement.id").await, "filter-name");
    assert_eq!(browser.run::<String>("location.search").await, "?filter=resize", "to reload, and to share");
}

#[tokio::test]
async fn a_job_is_found_by_its_id_and_its_page_follows_it_to_its_end() {
    let may_end = Arc::new(Semaphore::new(0));
    let runner = Runner::builder().state(may_end.clone()).build();
    let (_server, browser) = open(&runner, Dashboard::new(&runner)).await;
    let id = scope(&runner, async { Waits::defer(Some("no such mailbox".to_owned())).id() }).await;
    browser.click("#find-id").await;
    browser.type_keys(&id.to_string()).await;
    browser.press(Key::Enter).await;
    browser.text("#found li", "SendWelcome").await;
    browser.text("#found li .outcome", "runs").await;
    browser.live().await;
    assert_eq!(browser.count("main section").await, 2, "its health and the job");

    may_end.add_permits(1);
    browser.text("#found li.bad .outcome", "failed").await;
    browser.text("#found li .error", "no such mailbox").await;
    browser.click("#found .back a").await;
    browser.text("#failures li", "no such mailbox").await;
    browser.click("#failures li small a").await;
    browser.text("#found li.bad", &id.to_string()).await;
}

#[tokio::test]
async fn selecting_a_type_leads_to_its_runs() {
    let runner = Runner::builder().state(Arc::new(Semaphore::new(0))).build();
    let (_server, browser) = open(&runner, Dashboard::new(&runner)).await;
    scope(&runner, async { drop(ResizeImage::defer()) }).await;
    browser.click_when_there("#types tr[data-key=ResizeImage] a").await;
    browser.text("#runs h2", "Latest runs of ResizeImage").await;
    browser.until("document.activeElement.id === 'runs-title'").await;
}

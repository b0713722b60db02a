//! An operator's actions: each asks for confirmation, reports its result, and keeps the focus.

use std::sync::Arc;

use defer_axum::{Dashboard, Runner, scope};
use fantoccini::key::Key;
use tokio::sync::Semaphore;

use crate::{
    Waits, open,
    queue::{Answers, Fake, NAME},
};

const GROUP: &str = "#failures li button[value=retry_group]";
const DISCARD_GROUP: &str = "#failures li button[value=discard_group]";

fn runner_with(queue: &Fake) -> Runner {
    Runner::builder().queue(queue.clone()).build()
}

#[tokio::test]
async fn a_group_is_retried_once_the_operator_agrees_and_the_page_says_so() {
    let queue = Fake::new(Answers::Well);
    let runner = runner_with(&queue);
    let (_server, browser) = open(&runner, Dashboard::new(&runner).enable_actions()).await;

    browser.click(GROUP).await;
    let question = browser.text("#ask[open]", "Retry 12 failed").await;
    assert!(question.contains("Send<Mail>"), "as it is named: {question}");
    browser.until("document.activeElement.value === 'no'").await;
    browser.press(Key::Escape).await;
    browser.until("document.activeElement.value === 'retry_group'").await;
    assert_eq!(queue.done(), [""; 0], "nothing is done without a yes");

    browser.click(GROUP).await;
    browser.click("#ask[open] button[value=yes]").await;
    browser.text("#said[role=status]", "12 jobs will run again.").await;
    assert_eq!(queue.done(), [format!("retry all {NAME}: mailbox <full>")]);
    browser.until("document.activeElement.value === 'retry_group'").await;
}

#[tokio::test]
async fn what_is_discarded_leaves_the_focus_to_the_title_of_its_section() {
    let queue = Fake::new(Answers::Well);
    let runner = runner_with(&queue);
    let (_server, browser) = open(&runner, Dashboard::new(&runner).enable_actions()).await;
    browser.click(DISCARD_GROUP).await;
    browser.text("#ask[open]", "Discard 12 failed").await;
    browser.click("#ask[open] button[value=yes]").await;
    browser.text("#said", "12 jobs discarded.").await;
    assert_eq!(queue.done(), [format!("discard all {NAME}: mailbox <full>")]);
    browser.until("document.activeElement.value === 'discard_group'").await;

    queue.forget_failures();
    browser.text("#failures .empty", "Nothing has failed.").await;
    browser.until("document.activeElement.id === 'failures-title'").await;
}

#[tokio::test]
async fn a_type_is_paused_and_resumed_without_leaving_the_page() {
    let queue = Fake::new(Answers::Well);
    let runner = runner_with(&queue);
    let (_server, browser) = open(&runner, Dashboard::new(&runner).enable_actions()).await;
    for (verb, other, says) in [("pause", "resume", "Paused."), ("resume", "pause", "Resumed.")] {
        browser.click(&format!("#queue li button[value={verb}]")).await;
        browser.click("#ask[open] button[value=yes]").await;
        browser.text("#said[data-state=done]", says).await;
        browser.text(&format!("#queue li button[value={other}]"), "").await;
        assert_eq!(queue.done().last(), Some(&format!("{verb} {NAME}")));
        // The button has turned into its opposite, and kept the focus.
        browser.until(&format!("document.activeElement.value === '{other}'")).await;
    }
}

#[tokio::test]
async fn a_job_that_runs_is_cancelled_and_leaves_the_page() {
    let runner = Runner::builder().state(Arc::new(Semaphore::new(0))).build();
    let (_server, browser) = open(&runner, Dashboard::new(&runner).enable_actions()).await;
    let id = scope(&runner, async { Waits::defer(None).id() }).await;
    browser.click_when_there(&format!("#running li[data-key='{id}'] button")).await;
    browser.text("#ask[open]", &id.to_string()).await;
    browser.click("#ask[open] button[value=yes]").await;
    browser.text("#said", "The job is running, and was told to stop.").await;
    browser.text("#running .empty", "Nothing is running.").await;
    browser.text("#runs li .outcome", "cancelled").await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_looks_it() {
    let queue = Fake::new(Answers::Well);
    let runner = runner_with(&queue);
    let (_server, browser) = open(&runner, Dashboard::new(&runner).enable_actions()).await;
    browser.click("#failed li button[value=retry]").await;
    browser.text("#ask[open]", "Retry").await;
    queue.turn(Answers::WithAnError);
    browser.click("#ask[open] button[value=yes]").await;
    browser.text("#said[data-state=failed]", "The queue could not be asked.").await;
}

#[tokio::test]
async fn a_read_only_page_has_nothing_to_press_but_its_own_view() {
    let queue = Fake::new(Answers::Well);
    let runner = runner_with(&queue);
    let (_server, browser) = open(&runner, Dashboard::new(&runner)).await;
    browser.text("#failures li", "mailbox <full>").await;
    let buttons: Vec<String> = browser
        .run("[...document.querySelectorAll('main button')].map((button) => button.textContent)")
        .await;
    assert_eq!(buttons, [""; 0]);
    assert_eq!(browser.count("form.act").await, 0);
}

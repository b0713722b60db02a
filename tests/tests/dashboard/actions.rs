//! An operator's actions, and clients that are not allowed to act.

use axum::Router;
use defer_axum::{Dashboard, Deferrable, Job, JobContext, JobResult, Runner, scope};
use defer_tests::{Reply, Server, Tcp, in_time};

use crate::{
    data, page, post,
    queue::{Answers, Fake, NAME},
    serve,
};

const SAME_ORIGIN: &str = "sec-fetch-site: same-origin\r\n";
const SCRIPT: &str = "sec-fetch-site: same-origin\r\nx-dashboard-script: \r\n";

async fn serve_with(queue: &Fake, dashboard: impl FnOnce(Dashboard) -> Dashboard) -> Server {
    let runner = Runner::builder().queue(queue.clone()).build();
    let dashboard = dashboard(Dashboard::new(&runner));
    serve(Router::new().nest("/jobs", dashboard.into()), &runner).await
}

/// Acts like the page's script.
async fn act(server: &Server, form: &str) -> Reply {
    post(server, "/jobs", form, SCRIPT).await
}

/// Returns the key of the queue's group of failed jobs.
async fn group(server: &Server) -> String {
    let data = data(server, "/jobs/data").await;
    data["failures"][0]["key"].as_str().expect("a key").to_owned()
}

#[tokio::test]
async fn there_are_buttons_only_where_actions_are_enabled() {
    let queue = Fake::new(Answers::Well);
    for has_actions in [false, true] {
        let server =
            serve_with(&queue, |dashboard| if has_actions { dashboard.enable_actions() } else { dashboard });
        let server = server.await;
        for path in ["/jobs".to_owned(), format!("/jobs?find={}", queue.failed)] {
            let html = page(&server, &path).await;
            assert_eq!(html.contains("name=\"do\" value=\"retry\""), has_actions, "{html}");
        }
        let retry = format!("do=retry&id={}", queue.failed);
        let expected = if has_actions { 200 } else { 403 };
        assert_eq!(Tcp::connect(server.addr).await.get(&format!("/jobs?{retry}")).await.status, expected);
        assert_eq!(post(&server, "/jobs", &retry, SAME_ORIGIN).await.status, expected);
    }
    assert_eq!(queue.done(), [format!("retry {}", queue.failed)], "only where actions are enabled");
}

#[tokio::test]
async fn each_action_is_done_and_what_it_did_is_said() {
    let queue = Fake::new(Answers::Well);
    let server = serve_with(&queue, Dashboard::enable_actions).await;
    let (failed, delayed, key) = (queue.failed, queue.delayed, group(&server).await);
    let name = "name=Send%3CMail%3E";
    for (form, done, says) in [
        (format!("do=retry&id={failed}"), format!("retry {failed}"), "1 job will run again."),
        (format!("do=discard&id={failed}"), format!("discard {failed}"), "1 job discarded."),
        (format!("do=cancel&id={delayed}"), format!("cancel {delayed}"), "The job is cancelled."),
        (
            format!("do=retry_group&group={key}"),
            format!("retry all {NAME}: mailbox <full>"),
            "12 jobs will run again.",
        ),
        (
            format!("do=discard_group&group={key}"),
            format!("discard all {NAME}: mailbox <full>"),
            "12 jobs discarded.",
        ),
        (format!("do=pause&{name}"), format!("pause {NAME}"), "Paused."),
        (format!("do=resume&{name}"), format!("resume {NAME}"), "Resumed."),
    ] {
        let reply = act(&server, &form).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, says), "{form}");
        assert_eq!(queue.done().last(), Some(&done));
    }
    act(&server, &format!("do=pause&{name}")).await;
    let html = page(&server, "/jobs").await;
    assert!(html.contains("Paused: Send&#60;Mail&#62;.") && html.contains("value=\"resume\""), "{html}");
}

#[tokio::test]
async fn without_a_script_a_page_asks_and_another_says_what_was_done() {
    let queue = Fake::new(Answers::Well);
    let server = serve_with(&queue, Dashboard::enable_actions).await;
    let key = group(&server).await;
    let asks = page(&server, &format!("/jobs?do=discard_group&group={key}")).await;
    assert!(asks.contains("Discard this group of failed Send&#60;Mail&#62;?"), "{asks}");
    assert!(asks.contains("<form method=\"post\">") && asks.contains(&key), "{asks}");
    assert_eq!(queue.done(), [""; 0], "a question does nothing");
    let form = format!("do=discard_group&group={key}");
    let reply = post(&server, &format!("/jobs?{form}"), &form, SAME_ORIGIN).await;
    assert!(
        reply.status == 200 && reply.text().contains("<p role=\"status\">12 jobs discarded."),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn another_site_cannot_act() {
    let queue = Fake::new(Answers::Well);
    let server = serve_with(&queue, Dashboard::enable_actions).await;
    let form = format!("do=retry&id={}", queue.failed);
    for headers in [
        "",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
        "sec-fetch-site: none\r\n",
        "origin: https://evil.example\r\n",
        "origin: null\r\n",
    ] {
        let reply = post(&server, "/jobs", &form, headers).await;
        assert_eq!(
            (reply.status, reply.text().contains("dashboard&#39;s own page")),
            (403, true),
            "{headers}"
        );
    }
    // A link, an image or a form can send only these without a script.
    assert_eq!(Tcp::connect(server.addr).await.get(&format!("/jobs?{form}")).await.status, 200);
    assert_eq!(queue.done().len(), 0);
    for headers in [SAME_ORIGIN, "origin: http://test\r\n"] {
        assert_eq!(post(&server, "/jobs", &form, headers).await.status, 200);
    }
    assert_eq!(queue.done().len(), 2);
}

#[tokio::test]
async fn bad_forms_and_a_queue_that_is_broken_are_answered_with_a_reason() {
    let queue = Fake::new(Answers::Well);
    let server = serve_with(&queue, Dashboard::enable_actions).await;
    let other = "01M8AK9CQWBNEDV6SC000000YB";
    for (form, status) in [
        (format!("do=retry&id={other}"), 404),
        (format!("do=cancel&id={other}"), 404),
        ("do=retry_group&group=0".into(), 404),
        ("do=retry".into(), 422),
        ("do=pause&name=".into(), 422),
        ("do=retry&id=1".into(), 422),
        ("do=nothing".into(), 422),
        ("".into(), 422),
    ] {
        let reply = act(&server, &form).await;
        assert_eq!(reply.status, status, "{form}: {}", reply.text());
    }
    for (answers, why) in [
        (Answers::WithAnError, "The queue could not be asked."),
        (Answers::WithAPanic, "The queue panicked."),
        (Answers::WithAPanicLater, "The queue panicked."),
    ] {
        queue.turn(Answers::Well);
        let server = serve_with(&queue, Dashboard::enable_actions).await;
        queue.turn(answers);
        let reply = act(&server, &format!("do=retry&id={other}")).await;
        assert_eq!(reply.status, 502);
        let html = in_time(page(&server, "/jobs")).await;
        for text in [reply.text(), html] {
            assert!(text.contains(why), "{answers:?}: {text}");
            assert!(!text.contains("password"), "what the queue says goes to the log only: {text}");
        }
    }
}

/// Never ends by itself.
#[derive(Deferrable)]
struct NeverEnds;

impl Job for NeverEnds {
    async fn run(&self, _: &JobContext) -> JobResult {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_job_of_this_process_is_cancelled_where_it_runs() {
    let runner = Runner::default();
    let dashboard: Router = Dashboard::new(&runner).enable_actions().into();
    let server = serve(Router::new().nest("/jobs", dashboard), &runner).await;
    let id = scope(&runner, async { NeverEnds::defer().id() }).await;
    in_time(async {
        while runner.running().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(page(&server, "/jobs").await.contains("value=\"cancel\""));
    let reply = act(&server, &format!("do=cancel&id={id}")).await;
    assert_eq!(reply.text(), "The job is running, and was told to stop.");
    in_time(runner.idle()).await;
    assert_eq!(runner.stats().cancelled, 1);
    assert_eq!(act(&server, &format!("do=cancel&id={id}")).await.status, 404);
}

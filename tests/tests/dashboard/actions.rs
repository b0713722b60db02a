//! The queue on the page, and retrying its failed jobs.

use std::sync::{Arc, Mutex};

use axum::Router;
use defer_axum::{
    BoxError, BoxFuture, Dashboard, JobId, JobStatus, Runner,
    queue::{Envelope, FailedJob, InspectQueue, Queue, QueueCounts},
};
use defer_tests::{Server, Tcp, in_time};

use crate::{data, page, post, serve};

/// How a queue answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Well,
    WithAnError,
    WithAPanic,
    WithAPanicLater,
}

/// A queue with a job that failed.
#[derive(Clone)]
struct Broken {
    failed: JobId,
    answers: Arc<Mutex<Answers>>,
    retried: Arc<Mutex<Vec<JobId>>>,
}

impl Broken {
    fn new(answers: Answers) -> Self {
        let failed = "01M8AK9CQWBNEDV6SC000000YA".parse().expect("an id");
        Self { failed, answers: Arc::new(Mutex::new(answers)), retried: Arc::default() }
    }

    fn answer<T: Send + 'static>(&self, answer: T) -> BoxFuture<'_, Result<T, BoxError>> {
        let answers = *self.answers.lock().expect("no panic");
        assert!(answers != Answers::WithAPanic, "on purpose");
        Box::pin(async move {
            match answers {
                Answers::Well => Ok(answer),
                Answers::WithAnError => Err("postgres://user:password@host refused".into()),
                _ => panic!("on purpose, later"),
            }
        })
    }
}

impl Queue for Broken {
    fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async { Err("nothing is pushed here".into()) })
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

impl InspectQueue for Broken {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        let mut counts = QueueCounts::default();
        (counts.pending, counts.failed) = (17, 1);
        self.answer(counts)
    }

    fn failed(&self, _limit: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        let error = format!("mailbox <full>{}", ".".repeat(100_000));
        self.answer(vec![FailedJob::new(self.failed, "Send<Mail>", 3, error); 100])
    }

    fn unclaimed(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        self.answer(vec!["Send<Sms>".to_owned(); 100])
    }

    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        self.answer((id == self.failed).then(|| JobStatus::failed("mailbox full")))
    }

    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        self.retried.lock().expect("no panic").push(id);
        self.answer(id == self.failed)
    }
}

const SAME_ORIGIN: &str = "sec-fetch-site: same-origin\r\n";

async fn serve_with(queue: &Broken, dashboard: impl FnOnce(Dashboard) -> Dashboard) -> Server {
    let runner = Runner::builder().queue(queue.clone()).build();
    let dashboard = dashboard(Dashboard::new(&runner));
    serve(Router::new().nest("/jobs", dashboard.into()), &runner).await
}

#[tokio::test]
async fn the_queue_is_shown_with_its_failed_jobs_and_a_button_only_where_actions_are_enabled() {
    let queue = Broken::new(Answers::Well);
    let form = format!("value=\"{}\"", queue.failed);
    for has_actions in [false, true] {
        let server =
            serve_with(&queue, |dashboard| if has_actions { dashboard.enable_actions() } else { dashboard });
        let server = server.await;
        let html = page(&server, "/jobs").await;
        assert!(html.contains("<dd>17</dd>") && html.contains("mailbox &#60;full&#62;"), "{html}");
        assert!(html.contains("Send&#60;Mail&#62;") && html.contains("after 3 attempts"), "{html}");
        assert!(html.contains("no worker takes it: <strong>Send&#60;Sms&#62;</strong>"), "{html}");
        assert_eq!(html.contains(&form), has_actions, "{html}");
        let queued = data(&server, "/jobs/data").await["queue"].clone();
        assert_eq!(queued["pending"], 17);
        assert_eq!(queued["failed_jobs"].as_array().map(Vec::len), Some(20));
        assert_eq!(queued["unclaimed"].as_array().map(Vec::len), Some(20));
        assert!(html.len() < 50_000, "{} bytes, whatever the queue says", html.len());
        let reply = post(&server, "/jobs", &format!("retry={}", queue.failed), SAME_ORIGIN).await;
        assert_eq!(reply.status, if has_actions { 303 } else { 403 }, "{}", reply.text());
    }
    assert_eq!(*queue.retried.lock().expect("no panic"), [queue.failed], "only where actions are enabled");
    let server = serve_with(&queue, Dashboard::hide_errors).await;
    for path in ["/jobs", "/jobs/data"] {
        let text = page(&server, path).await;
        assert!(text.contains("after 3 attempts") || path != "/jobs", "{text}");
        assert!(!text.contains("mailbox"), "{text}");
    }
}

#[tokio::test]
async fn another_site_cannot_act_and_a_reply_leads_back_to_the_same_view() {
    let queue = Broken::new(Answers::Well);
    let server = serve_with(&queue, Dashboard::enable_actions).await;
    let form = format!("retry={}", queue.failed);
    for headers in [
        "",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
        "sec-fetch-site: none\r\n",
        "origin: https://evil.example\r\n",
        "origin: null\r\n",
    ] {
        let reply = post(&server, "/jobs", &form, headers).await;
        assert_eq!((reply.status, reply.text().contains("dashboard's own page")), (403, true), "{headers}");
    }
    // A link, an image or a form without a script can only send one of these.
    assert_eq!(Tcp::connect(server.addr).await.get(&format!("/jobs?{form}")).await.status, 200);
    assert_eq!(queue.retried.lock().expect("no panic").len(), 0);

    for headers in [SAME_ORIGIN, "origin: http://test\r\n"] {
        let reply = post(&server, "/jobs?outcome=failed&sort=rate", &form, headers).await;
        assert_eq!(reply.status, 303);
        assert!(reply.head.contains("location: ?outcome=failed&sort=rate\r\n"), "{}", reply.head);
    }
    assert_eq!(queue.retried.lock().expect("no panic").len(), 2);
    // The script could not tell the page from one to log in.
    let reply = post(&server, "/jobs", &form, &format!("{SAME_ORIGIN}x-dashboard-script: \r\n")).await;
    assert_eq!(reply.status, 204);
}

#[tokio::test]
async fn bad_ids_and_a_queue_that_is_broken_are_answered_with_a_reason() {
    let queue = Broken::new(Answers::Well);
    let server = serve_with(&queue, Dashboard::enable_actions).await;
    let other = "01M8AK9CQWBNEDV6SC000000YB";
    for (form, status) in
        [(format!("retry={other}"), 404), ("retry=1".into(), 422), ("retry=".into(), 422), ("".into(), 422)]
    {
        let reply = post(&server, "/jobs", &form, SAME_ORIGIN).await;
        assert_eq!(reply.status, status, "{form}: {}", reply.text());
    }
    for (answers, why) in [
        (Answers::WithAnError, "The queue could not be asked."),
        (Answers::WithAPanic, "The queue panicked."),
        (Answers::WithAPanicLater, "The queue panicked."),
    ] {
        let queue = Broken::new(answers);
        let server = serve_with(&queue, Dashboard::enable_actions).await;
        let reply = post(&server, "/jobs", &format!("retry={other}"), SAME_ORIGIN).await;
        assert_eq!(reply.status, 502);
        let html = in_time(page(&server, "/jobs")).await;
        for text in [reply.text(), html] {
            assert!(text.contains(why), "{answers:?}: {text}");
            assert!(!text.contains("password"), "what the queue says goes to the log only: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_does_not_answer_keeps_the_page_waiting_for_five_seconds_only() {
    struct Silent;

    impl Queue for Silent {
        fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
            Box::pin(std::future::pending())
        }

        fn inspect(&self) -> Option<&dyn InspectQueue> {
            Some(self)
        }
    }

    impl InspectQueue for Silent {
        fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
            Box::pin(std::future::pending())
        }

        fn failed(&self, _: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
            Box::pin(std::future::pending())
        }

        fn status(&self, _: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
            Box::pin(std::future::pending())
        }

        fn retry(&self, _: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
            Box::pin(std::future::pending())
        }
    }

    let runner = Runner::builder().queue(Silent).build();
    let router: Router = Router::new().nest("/jobs", Dashboard::new(&runner).into());
    let began = tokio::time::Instant::now();
    let response = defer_tests::ask(&router, "/jobs").await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let html = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a page");
    let html = String::from_utf8_lossy(&html);
    assert!(html.contains("The queue did not answer within 5 s."), "{html}");
    assert!(html.contains("Nothing runs right now."), "the rest of the page is there: {html}");
}

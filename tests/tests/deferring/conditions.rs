//! Jobs that run only after some responses.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::Path, response::Response, routing::get};
use defer_axum::{Deferrable, Delivery, Job, JobContext, JobResult, Runner, defer_fn, event::JobEventKind};
use defer_tests::{By, Feed, Log, Note, Tcp, runner};
use http::StatusCode;

/// A note that is only written after a success.
#[derive(Deferrable)]
#[defer(on = "success")]
struct Receipt {
    line: String,
}

impl Job for Receipt {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.add(self.line.as_str());
        Ok(())
    }
}

/// Returns what a handler's jobs write after a response with this status, and the number of skipped jobs.
async fn log_and_skipped(by: By, handler: fn(), status: u16) -> (Vec<String>, u64) {
    let log = Log::new();
    let runner = runner(&log);
    let handler = async move |Path(status): Path<u16>| {
        handler();
        StatusCode::from_u16(status).expect("a status in the path")
    };
    let server = by.serve(Router::new().route("/{status}", get(handler)), &runner).await;
    assert_eq!(Tcp::connect(server.addr).await.get(&format!("/{status}")).await.status, status);
    runner.idle().await;
    let stats = runner.stats();
    assert_eq!(stats.succeeded + stats.skipped, stats.deferred, "{by:?}");
    (log.lines(), stats.skipped)
}

#[tokio::test]
async fn on_success_is_a_status_below_400() {
    fn handler() {
        Note::defer("whatever");
        Note::defer("by the handle").on_success();
        Receipt::defer("by the type");
        Receipt::defer("by the type and the handle").on_success();
        Receipt::defer("always").always();
        Note::defer("the last condition").on_success().always();
    }
    let all = [
        "whatever",
        "by the handle",
        "by the type",
        "by the type and the handle",
        "always",
        "the last condition",
    ];
    let unconditional = ["whatever", "always", "the last condition"];
    for by in By::BOTH {
        for status in [200, 204, 302, 399] {
            assert_eq!(
                log_and_skipped(by, handler, status).await,
                (all.map(String::from).into(), 0),
                "{by:?}"
            );
        }
        for status in [400, 404, 500] {
            let expected = (unconditional.map(String::from).into(), 3);
            assert_eq!(log_and_skipped(by, handler, status).await, expected, "{by:?} {status}");
        }
    }
}

#[tokio::test]
async fn a_predicate_decides_by_the_response() {
    fn handler() {
        Note::defer("not found").when(|response| response.status() == Some(StatusCode::NOT_FOUND));
        Note::defer("sent").when(|response| {
            matches!(response.delivery(), Delivery::Sent | Delivery::Finished) && response.bytes_sent() == 0
        });
        Note::defer("never").when(|_| false);
        Receipt::defer("instead of its type's").when(|_| true);
        Note::defer("the last condition").when(|_| false).always();
        Note::defer("the last predicate").when(|_| false).when(|_| true);
    }
    let rest = ["sent", "instead of its type's", "the last condition", "the last predicate"];
    for by in By::BOTH {
        let (log, skipped) = log_and_skipped(by, handler, 404).await;
        assert_eq!((log[0].as_str(), skipped), ("not found", 1), "{by:?}");
        assert_eq!(log[1..], rest, "{by:?}");
        let (log, skipped) = log_and_skipped(by, handler, 500).await;
        assert_eq!(skipped, 2, "{by:?}");
        assert_eq!(log, rest, "{by:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_the_body_does_not_make_it_a_failure() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let handler = async move || {
            Receipt::defer("bought");
            Note::defer("delivered").when(|response| response.delivery() != Delivery::Disconnected);
            Note::defer("last");
            body.take()
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        feed.send("hello");
        client.send_get("/").await;
        client.read_until("hello").await;
        drop(client);
        assert_eq!(log.wait_for(2).await, ["bought", "last"], "{by:?}");
    }
}

#[tokio::test]
async fn a_panic_of_the_handler_is_no_success() {
    async fn handler() -> Response {
        Receipt::defer("bought");
        Note::defer("last");
        panic!("the handler's panic");
    }
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        while client.fill().await {}
        runner.idle().await;
        assert_eq!(log.lines(), ["last"], "{by:?}");
        assert_eq!(runner.stats().skipped, 1, "{by:?}");
    }
}

#[tokio::test]
async fn a_job_that_is_skipped_is_an_event() {
    async fn handler() -> StatusCode {
        Receipt::defer("bought");
        Note::defer("asked").when(|_| false);
        defer_fn(|_| async {}).on_success();
        Note::defer("runs");
        StatusCode::BAD_REQUEST
    }
    for by in By::BOTH {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        let runner = Runner::builder().state(Log::new()).on_event(move |event| {
            let kind = match event.kind() {
                JobEventKind::Skipped => "skipped",
                JobEventKind::Started => "started",
                _ => return,
            };
            seen.lock().expect("no panic").push((event.name(), kind, event.attempt()));
        });
        let runner = runner.build();
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        Tcp::connect(server.addr).await.get("/").await;
        runner.idle().await;
        let events = events.lock().expect("no panic");
        assert_eq!(events[..2], [("Receipt", "skipped", 0), ("Note", "skipped", 0)], "{by:?}");
        assert!(events[2].0.contains("handler"), "{by:?}: a closure is named after its function: {events:?}");
        assert_eq!((events[2].1, events[3]), ("skipped", ("Note", "started", 1)), "{by:?}");
    }
}

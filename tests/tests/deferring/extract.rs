//! The extractor: with the layer, without it, and far from the handler.

use std::sync::Arc;

use axum::{Router, routing::get};
use defer_axum::{Defer, DeferLayer, JobContext, JobResult, Runner, defer_fn};
use defer_tests::{By, Log, Note, NoteEnding, Tcp, runner};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{log, note};

async fn extracts(defer: Defer) -> String {
    format!("{} jobs", defer.len())
}

async fn may_extract(defer: Option<Defer>) -> String {
    format!("{:?} jobs", defer.map(|defer| defer.len()))
}

#[tokio::test]
async fn what_is_pushed_joins_what_is_deferred() {
    async fn handler(pushed: Defer, optional: Option<Defer>) {
        Note::defer("deferred");
        pushed.push(note("pushed"));
        pushed.push_fn(|cx: JobContext| async move {
            cx.state::<Log>()?.add("closure");
            JobResult::Ok(())
        });
        optional.expect("a layer").push(note("pushed to the same list"));
        Defer::current().expect("a layer").push(NoteEnding);
    }
    for by in By::BOTH {
        let whole = format!("{:?} 200 0", by.whole());
        let expected = ["deferred", "pushed", "closure", "pushed to the same list", &whole];
        assert_eq!(log(by, handler).await, expected, "{by:?}");
    }
}

#[tokio::test]
async fn without_the_layer_it_answers_500_and_says_what_was_forgotten() {
    for by in By::BOTH {
        let runner = Runner::default();
        let app = Router::new()
            .route("/before", get(extracts))
            .layer(DeferLayer::new(runner.clone()))
            .route("/after", get(extracts));
        let server = by.serve_app(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        let reply = client.get("/before").await;
        assert_eq!((reply.status, &*reply.text()), (200, "0 jobs"), "{by:?}");
        let reply = client.get("/after").await;
        assert_eq!(reply.status, 500, "{by:?}");
        for part in ["`Defer`", "`.layer(DeferLayer::new(runner))`", "add this route to the router after it"]
        {
            assert!(reply.text().contains(part), "{by:?}: {part} in {}", reply.text());
        }

        let server = by.serve_app(Router::new().route("/", get(extracts)), &runner).await;
        let reply = Tcp::connect(server.addr).await.get("/").await;
        assert_eq!(reply.status, 500, "{by:?}");
        assert!(reply.text().contains("DeferLayer"), "{by:?}: {}", reply.text());
    }
}

#[tokio::test]
async fn an_optional_one_is_none_without_the_layer() {
    for by in By::BOTH {
        let runner = Runner::default();
        let app = Router::new()
            .route("/before", get(may_extract))
            .layer(DeferLayer::new(runner.clone()))
            .route("/after", get(may_extract));
        let server = by.serve_app(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        assert_eq!(client.get("/before").await.text(), "Some(0) jobs", "{by:?}");
        let reply = client.get("/after").await;
        assert_eq!((reply.status, &*reply.text()), (200, "None jobs"), "{by:?}");
    }
}

#[tokio::test]
async fn a_task_of_ones_own_can_push_to_the_request() {
    async fn handler(defer: Defer) {
        Note::defer("before");
        let elsewhere = defer.clone();
        let task = tokio::spawn(async move {
            assert!(Defer::current().is_none(), "a task has no scope of its own");
            elsewhere.push(note("from the task"));
        });
        task.await.expect("the task does not panic");
        Note::defer("after");
    }
    for by in By::BOTH {
        assert_eq!(log(by, handler).await, ["before", "from the task", "after"], "{by:?}");
    }
}

#[tokio::test]
async fn a_task_with_the_scope_defers_to_the_request() {
    async fn handler(defer: Defer) {
        Note::defer("before");
        let task = tokio::spawn(defer.scope(async {
            Note::defer("from the task");
            tokio::task::yield_now().await;
            Defer::current().expect("the request's scope").push(NoteEnding);
        }));
        task.await.expect("the task does not panic");
        Note::defer("after");
    }
    for by in By::BOTH {
        let whole = format!("{:?} 200 0", by.whole());
        assert_eq!(log(by, handler).await, ["before", "from the task", &whole, "after"], "{by:?}");
    }
}

#[tokio::test]
async fn a_thread_can_push_to_the_request() {
    async fn handler(defer: Defer) {
        Note::defer("before");
        let (done, ended) = oneshot::channel();
        std::thread::spawn(move || {
            assert!(tokio::runtime::Handle::try_current().is_err(), "the thread is not Tokio's");
            defer.push(note("from the thread"));
            done.send(()).expect("the handler waits");
        });
        ended.await.expect("the thread does not panic");
        Note::defer("after");
    }
    for by in By::BOTH {
        assert_eq!(log(by, handler).await, ["before", "from the thread", "after"], "{by:?}");
    }
}

#[tokio::test]
async fn what_is_pushed_after_the_response_runs_at_once() {
    for by in By::BOTH {
        for job_before in [false, true] {
            let log = Log::new();
            let (defers, mut given) = mpsc::unbounded_channel();
            let handler = async move |defer: Defer| {
                if job_before {
                    Note::defer("in time");
                }
                defers.send(defer).expect("the test waits");
                "hello"
            };
            let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
            let mut client = Tcp::connect(server.addr).await;
            client.get("/").await;
            let mut lines = 0;
            if job_before {
                lines += 1;
                assert_eq!(log.wait_for(lines).await, ["in time"]);
            }
            // The end of a request without jobs becomes visible with the next request on its connection.
            client.get("/nothing").await;

            let late = given.recv().await.expect("the handler sent it");
            late.push(note("late"));
            lines += 1;
            assert_eq!(log.wait_for(lines).await[lines - 1], "late", "{by:?} {job_before}");

            late.scope(async { NoteEnding::defer() }).await;
            lines += 1;
            let whole = format!("{:?} 200 5", by.whole());
            assert_eq!(log.wait_for(lines).await[lines - 1], whole, "{by:?} {job_before}");

            std::thread::spawn(move || late.push(note("late from a thread")));
            lines += 1;
            assert_eq!(log.wait_for(lines).await[lines - 1], "late from a thread", "{by:?} {job_before}");
        }
    }
}

#[tokio::test]
async fn a_job_that_is_pushed_late_waits_for_the_running_one() {
    for by in By::BOTH {
        let (log, gate) = (Log::new(), Arc::new(Notify::new()));
        let (defers, mut given) = mpsc::unbounded_channel();
        let held = gate.clone();
        let handler = async move |defer: Defer| {
            defer_fn(|cx: JobContext| async move {
                cx.state::<Log>()?.add("begins");
                held.notified().await;
                cx.state::<Log>()?.add("ends");
                JobResult::Ok(())
            });
            defers.send(defer).expect("the test waits");
        };
        let routes = Router::new().route("/", get(handler)).route(
            "/other",
            get(|| async {
                Note::defer("other");
            }),
        );
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/").await;
        log.wait_for(1).await;
        given.recv().await.expect("the handler sent it").push(note("late"));
        client.get("/other").await;
        log.wait_for(2).await;
        gate.notify_one();
        assert_eq!(log.wait_for(4).await, ["begins", "other", "ends", "late"], "{by:?}");
    }
}

//! Nested layers, middleware that defers, jobs that defer jobs, and concurrent requests.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, Request},
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use defer_axum::{Defer, DeferLayer, Deferrable, Job, JobContext, JobResult, Runner, defer_fn};
use defer_tests::{By, Feed, Log, Note, NoteEnding, Tcp, runner};
use tokio::{sync::Barrier, task::JoinSet};

/// A handler with a job that writes to the log of the runner that runs it.
async fn hello() -> &'static str {
    Note::defer("handler");
    NoteEnding::defer();
    "hello"
}

/// A middleware that defers before the handler and after it.
async fn around(request: Request, next: Next) -> Response {
    Note::defer("before");
    let response = next.run(request).await;
    Note::defer("after");
    response
}

#[tokio::test]
async fn the_innermost_layer_collects_and_its_runner_runs() {
    for by in By::BOTH {
        let (outer, inner) = (Log::new(), Log::new());
        let (outer_runner, inner_runner) = (runner(&outer), runner(&inner));
        let app = Router::new()
            .route("/inner", get(hello))
            .layer(DeferLayer::new(inner_runner.clone()))
            .route("/outer", get(hello))
            .layer(DeferLayer::new(outer_runner.clone()));
        let server = by.serve_app(app, &outer_runner).await;
        let mut client = Tcp::connect(server.addr).await;
        let ran = ["handler".to_owned(), format!("{:?} 200 5", by.whole())];
        client.get("/inner").await;
        assert_eq!(inner.wait_for(2).await, ran, "{by:?}");
        assert_eq!(outer_runner.stats().deferred, 0, "{by:?}");
        client.get("/outer").await;
        assert_eq!(outer.wait_for(2).await, ran, "{by:?}");
        assert_eq!(inner_runner.stats().deferred, 2, "{by:?}");
    }
}

#[tokio::test]
async fn a_nested_router_may_have_a_layer_and_a_runner_of_its_own() {
    for by in By::BOTH {
        let (shop, admin) = (Log::new(), Log::new());
        let (shop_runner, admin_runner) = (runner(&shop), runner(&admin));
        let nested = Router::new()
            .route("/users/{id}", get(hello))
            .fallback(hello)
            .layer(DeferLayer::new(admin_runner.clone()));
        let app = Router::new()
            .route("/", get(hello))
            .nest("/admin", nested)
            .layer(DeferLayer::new(shop_runner.clone()));
        let server = by.serve_app(app, &shop_runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/").await;
        shop.wait_for(2).await;
        client.get("/admin/users/7").await;
        admin.wait_for(2).await;
        client.get("/admin/nothing").await;
        let ending = format!("{:?} 200 5", by.whole());
        let ran = ["handler", &ending];
        assert_eq!(admin.wait_for(4).await, [ran, ran].concat(), "{by:?}");
        assert_eq!(shop.lines(), ran, "{by:?}");
    }
}

#[tokio::test]
async fn a_middleware_between_two_layers_defers_to_the_outer_one() {
    for by in By::BOTH {
        let (outer, inner) = (Log::new(), Log::new());
        let outer_runner = runner(&outer);
        let app = Router::new()
            .route("/", get(hello))
            .layer(DeferLayer::new(runner(&inner)))
            .layer(from_fn(around))
            .layer(DeferLayer::new(outer_runner.clone()));
        let server = by.serve_app(app, &outer_runner).await;
        Tcp::connect(server.addr).await.get("/").await;
        assert_eq!(outer.wait_for(2).await, ["before", "after"], "{by:?}");
        let ran = ["handler".to_owned(), format!("{:?} 200 5", by.whole())];
        assert_eq!(inner.wait_for(2).await, ran, "{by:?}");
    }
}

#[tokio::test]
async fn the_jobs_of_each_layer_wait_for_the_end_of_the_body() {
    for by in By::BOTH {
        let (outer, inner) = (Log::new(), Log::new());
        let outer_runner = runner(&outer);
        let (feed, body) = Feed::new();
        let handler = async move || {
            NoteEnding::defer();
            body.take()
        };
        async fn ending(request: Request, next: Next) -> Response {
            NoteEnding::defer();
            next.run(request).await
        }
        let app = Router::new()
            .route("/", get(handler))
            .layer(DeferLayer::new(runner(&inner)))
            .route("/other", get(async || Note::defer("other").id().to_string()))
            .layer(from_fn(ending))
            .layer(DeferLayer::new(outer_runner.clone()));
        let server = by.serve_app(app, &outer_runner).await;
        let mut client = Tcp::connect(server.addr).await;
        feed.send("hello");
        client.send_get("/").await;
        client.read_until("hello").await;
        Tcp::connect(server.addr).await.get("/other").await;
        outer.wait_for(2).await;
        assert_eq!(inner.lines().len(), 0, "{by:?}");
        drop(feed);
        let whole = format!("{:?} 200 5", by.whole());
        assert_eq!(inner.wait_for(1).await, std::slice::from_ref(&whole), "{by:?}");
        assert_eq!(outer.wait_for(3).await[1..], ["other".to_owned(), whole], "{by:?}");
    }
}

#[tokio::test]
async fn a_middleware_inside_of_the_layer_defers_before_and_after_the_handler() {
    for by in By::BOTH {
        let log = Log::new();
        let routes = Router::new().route("/", get(hello)).layer(from_fn(around));
        let server = by.serve(routes, &runner(&log)).await;
        Tcp::connect(server.addr).await.get("/").await;
        let whole = format!("{:?} 200 5", by.whole());
        assert_eq!(log.wait_for(4).await, ["before", "handler", &whole, "after"], "{by:?}");
    }
}

#[tokio::test]
async fn a_middleware_that_answers_itself_may_defer() {
    async fn gatekeeper(_: Request, _: Next) -> &'static str {
        Note::defer("kept out");
        "no"
    }
    for by in By::BOTH {
        let log = Log::new();
        let routes = Router::new().route("/", get(hello)).layer(from_fn(gatekeeper));
        let server = by.serve(routes, &runner(&log)).await;
        assert_eq!(Tcp::connect(server.addr).await.get("/").await.text(), "no");
        assert_eq!(log.wait_for(1).await, ["kept out"], "{by:?}");
    }
}

/// A job that defers this many more jobs.
#[derive(Deferrable)]
struct Defers {
    more: usize,
}

impl Job for Defers {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let request = cx.request().expect("a request's job");
        cx.state::<Log>()?.add(format!("{} {}", request.uri(), self.more));
        if self.more > 0 {
            Defers::defer(self.more - 1);
            tokio::task::yield_now().await;
            Note::defer(format!("note of {}", self.more));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_job_deferred_by_a_job_joins_the_end_of_its_requests_list() {
    async fn handler() {
        Defers::defer(2_usize);
        Note::defer("second");
        NoteEnding::defer();
    }
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let server = by.serve(Router::new().route("/path", get(handler)), &runner).await;
        Tcp::connect(server.addr).await.get("/path").await;
        runner.idle().await;
        let whole = format!("{:?} 200 0", by.whole());
        let expected = ["/path 2", "second", &whole, "/path 1", "note of 2", "/path 0", "note of 1"];
        assert_eq!(log.lines(), expected, "{by:?}");
    }
}

#[tokio::test]
async fn a_closure_deferred_by_a_closure_may_know_its_response_too() {
    async fn handler() {
        defer_fn(|_| async {
            defer_fn(|_| async {
                NoteEnding::defer();
            });
            // A job's list is that of its request.
            let defer = Defer::current().expect("the request's scope");
            defer.push(Note { line: format!("with {} before it", defer.len()) });
        });
    }
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        Tcp::connect(server.addr).await.get("/").await;
        let whole = format!("{:?} 200 0", by.whole());
        assert_eq!(log.wait_for(2).await, ["with 1 before it", &whole], "{by:?}");
    }
}

/// A job that blocks its thread.
#[derive(Deferrable)]
#[defer(blocking)]
struct Blocks {
    line: String,
}

impl Job for Blocks {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let (written, wait) = std::sync::mpsc::channel();
        let (log, line) = (cx.state::<Log>()?.clone(), self.line.clone());
        // On the only worker thread of a runtime, this task would never run.
        tokio::spawn(async move {
            log.add(line);
            written.send(())
        });
        wait.recv_timeout(Duration::from_secs(30))?;
        Note::defer("deferred on the blocking pool");
        NoteEnding::defer();
        Ok(())
    }
}

#[tokio::test]
async fn a_blocking_job_may_defer() {
    async fn handler() {
        Blocks::defer("blocking");
        Note::defer("second");
    }
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        Tcp::connect(server.addr).await.get("/").await;
        let whole = format!("{:?} 200 0", by.whole());
        let expected = ["blocking", "second", "deferred on the blocking pool", &whole];
        assert_eq!(log.wait_for(4).await, expected, "{by:?}");
    }
}

/// Runs requests whose handlers overlap, and checks what the jobs of each write.
async fn requests_at_the_same_time(by: By) {
    const REQUESTS: usize = 16;
    let (log, barrier) = (Log::new(), Arc::new(Barrier::new(REQUESTS)));
    let handler = async move |Path(id): Path<String>| {
        for step in 0..3 {
            barrier.wait().await;
            let id = id.clone();
            defer_fn(move |cx: JobContext| async move {
                let path = cx.request().expect("a request's job").uri().path().to_owned();
                tokio::task::yield_now().await;
                cx.state::<Log>()?.add(format!("{path} has /{id} {step}"));
                JobResult::Ok(())
            });
        }
        barrier.wait().await;
        Defer::current().map_or(0, |defer| defer.len()).to_string()
    };
    let runner = runner(&log);
    let server = by.serve(Router::new().route("/{id}", get(handler)), &runner).await;
    let addr = server.addr;
    let mut clients = JoinSet::new();
    for id in 0..REQUESTS {
        clients.spawn(async move { Tcp::connect(addr).await.get(&format!("/{id}")).await.text() });
    }
    assert_eq!(clients.join_all().await, vec!["3"; REQUESTS], "{by:?}: each has its own jobs");
    runner.idle().await;
    let log = log.lines();
    assert_eq!(log.len(), 3 * REQUESTS, "{by:?}");
    for id in 0..REQUESTS {
        let prefix = format!("/{id} ");
        let own: Vec<_> = log.iter().filter(|line| line.starts_with(&prefix)).cloned().collect();
        let expected: Vec<_> = (0..3).map(|step| format!("/{id} has /{id} {step}")).collect();
        assert_eq!(own, expected, "{by:?}");
    }
}

#[tokio::test]
async fn requests_at_the_same_time_on_one_thread_do_not_mix() {
    for by in By::BOTH {
        requests_at_the_same_time(by).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_at_the_same_time_on_several_threads_do_not_mix() {
    for by in By::BOTH {
        requests_at_the_same_time(by).await;
    }
}

#[tokio::test]
async fn the_default_layer_has_the_global_runner() {
    for by in By::BOTH {
        let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
        let handler = async move || {
            defer_fn(|cx| async move {
                told.send(cx.request().is_some()).expect("the test waits");
            });
        };
        let runner = Runner::global();
        let app = Router::new().route("/", get(handler)).layer(DeferLayer::default());
        let server = by.serve_app(app, &runner).await;
        let before = runner.stats().deferred;
        Tcp::connect(server.addr).await.get("/").await;
        assert_eq!(tells.recv().await, Some(true), "{by:?}");
        // Nothing else in this process uses this runner.
        assert_eq!(runner.stats().deferred, before + 1, "{by:?}");
    }
}

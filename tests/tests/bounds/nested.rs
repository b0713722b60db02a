//! `Overflow::Wait` holds responses without deadlocks: no response keeps room that others need while it is waiting.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use defer_axum::{DeferLayer, JobResult, Runner, defer_fn, scope};
use defer_tests::{By, Log, Note, Tcp};
use tokio::{sync::Barrier, task::JoinSet};

use defer_tests::{all_have_run, ask, in_time, read};

fn runner(log: &Log, max_running: usize, max_pending: usize) -> Runner {
    Runner::builder().state(log.clone()).max_running(max_running).max_pending(max_pending).build()
}

/// Routes whose `/inner` defers, under a layer of this runner.
fn inner(runner: &Runner) -> Router {
    let handler = async || {
        Note::defer("inner");
        "inner"
    };
    Router::new().route("/inner", get(handler)).layer(DeferLayer::new(runner.clone()))
}

async fn between(request: Request, next: Next) -> Response {
    Note::defer("between");
    let response = next.run(request).await;
    // The inner layers of the other requests run before the outer layer of this one.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    response
}

/// Requests this path many times at once, and waits until all jobs have ended. Returns the number of jobs.
async fn all_are_answered(by: By, app: Router, runner: &Runner, path: &'static str, times: usize) -> u64 {
    let server = by.serve_app(app, runner).await;
    let addr = server.addr;
    let mut clients = JoinSet::new();
    for _ in 0..times {
        clients.spawn(async move { Tcp::connect(addr).await.get(path).await.status });
    }
    assert_eq!(in_time(clients.join_all()).await, vec![200; times], "{by:?}");
    all_have_run(runner).await
}

async fn two_layers_on_one_runner(by: By, max_pending: usize, requests: usize) {
    let (runner, barrier) = (runner(&Log::new(), 1024, max_pending), Arc::new(Barrier::new(requests)));
    let handler = async move || {
        Note::defer("handler");
        barrier.wait().await;
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(DeferLayer::new(runner.clone()))
        .layer(from_fn(between))
        .layer(DeferLayer::new(runner.clone()));
    let jobs = all_are_answered(by, app, &runner, "/", requests).await;
    assert_eq!(jobs, 2 * requests as u64, "{by:?}");
}

#[tokio::test]
async fn one_request_goes_through_two_layers_on_a_runner_with_room_for_one() {
    for by in By::BOTH {
        two_layers_on_one_runner(by, 1, 1).await;
    }
}

#[tokio::test]
async fn eight_requests_go_through_two_layers_on_a_runner_with_room_for_eight() {
    for by in By::BOTH {
        two_layers_on_one_runner(by, 8, 8).await;
    }
}

#[tokio::test]
async fn a_handler_that_makes_two_requests_and_reads_each_is_answered() {
    for by in By::BOTH {
        let runner = runner(&Log::new(), 1024, 1);
        let inner = inner(&runner);
        let handler = async move || {
            Note::defer("outer");
            (read(ask(&inner, "/inner").await).await + read(ask(&inner, "/inner").await).await).to_string()
        };
        let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()));
        assert_eq!(all_are_answered(by, app, &runner, "/", 4).await, 12, "{by:?}");
    }
}

#[tokio::test]
async fn a_handler_that_makes_two_requests_and_keeps_both_is_answered() {
    for by in By::BOTH {
        let runner = runner(&Log::new(), 1024, 1);
        let inner = inner(&runner);
        let handler = async move || {
            let (one, other) = (ask(&inner, "/inner").await, ask(&inner, "/inner").await);
            Note::defer("outer");
            (read(one).await + read(other).await).to_string()
        };
        let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()));
        assert_eq!(all_are_answered(by, app, &runner, "/", 4).await, 12, "{by:?}");
    }
}

#[tokio::test]
async fn a_handler_that_makes_two_requests_at_once_and_drops_the_answers_is_answered() {
    for by in By::BOTH {
        let runner = runner(&Log::new(), 1024, 1);
        let inner = inner(&runner);
        let handler = async move || {
            drop(tokio::join!(ask(&inner, "/inner"), ask(&inner, "/inner")));
            Note::defer("outer");
        };
        let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()));
        assert_eq!(all_are_answered(by, app, &runner, "/", 4).await, 12, "{by:?}");
    }
}

#[tokio::test]
async fn a_job_that_opens_scopes_on_its_own_runner_ends() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log, 1, 1);
        let scopes = runner.clone();
        let handler = async move || {
            defer_fn(|_| async move {
                for _ in 0..2 {
                    scope(&scopes, async {
                        Note::defer("in a scope");
                        Note::defer("in a scope");
                    })
                    .await;
                }
                Note::defer("after the scopes");
            });
            Note::defer("beside");
        };
        let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()));
        assert_eq!(all_are_answered(by, app, &runner, "/", 2).await, 14, "{by:?}");
        assert_eq!(log.lines().iter().filter(|line| *line == "in a scope").count(), 8, "{by:?}");
    }
}

#[tokio::test]
async fn a_job_that_makes_requests_on_its_own_runner_ends() {
    for by in By::BOTH {
        let runner = runner(&Log::new(), 1, 1);
        let inner = inner(&runner);
        let handler = async move || {
            defer_fn(|_| async move {
                read(ask(&inner, "/inner").await).await;
                drop(ask(&inner, "/inner").await);
                let (one, other) = (ask(&inner, "/inner").await, ask(&inner, "/inner").await);
                read(one).await;
                read(other).await;
                JobResult::Ok(())
            });
            Note::defer("beside");
        };
        let app = Router::new().route("/", get(handler)).layer(DeferLayer::new(runner.clone()));
        assert_eq!(all_are_answered(by, app, &runner, "/", 2).await, 12, "{by:?}");
    }
}
